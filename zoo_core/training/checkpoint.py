"""Checkpoints that survive a kill, a full disk and a flipped bit.

A checkpoint is a folder: `weights.safetensors` holds the raw weights, `ema.safetensors` the EMA weights,
`state.pt` (loadable with weights_only) the rest, and a manifest the SHA-256 of each, because both formats
load a flipped bit without an error. It is serialized to memory, written beside its final name, synced, then
renamed; the last ones are kept. One that turns out corrupt is renamed to `corrupt-step-N`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import strict_json
from zoo_core.errors import Interrupted, MachineError, ZooError
from zoo_core.machine.files import cannot_write, sha256_of, sync, write_synced
from zoo_core.training.recipe import fits_data_sized

KEEP = 2
MANIFEST = "manifest.json"
LARGEST = 1 << 36
"""Bytes of a file of a checkpoint; a larger one is not read."""
END = "end"
"""Key of a finished run's state: what its last stage held before it ended, to train the run further."""
WEIGHTS, EMA, STATE = FILES = ("weights.safetensors", "ema.safetensors", "state.pt")


@dataclass(frozen=True)
class Checkpoint:
    """What one checkpoint holds.

    Attributes:
        weights: the recipe's state dict with raw weights.
        ema: submodule name -> its EMA weights by parameter name.
        state: counters, optimizers, random states: numbers, strings, tensors and containers of them.
    """

    weights: dict[str, Tensor]
    ema: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def _independent(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors that share no memory: safetensors refuses tied weights."""
    seen: set[int] = set()
    made: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.numel() and tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        made[name] = tensor
    return made


def _serialized(checkpoint: Checkpoint, metadata: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files of a checkpoint: in memory, because libraries report a full disk in various ways."""
    from safetensors.torch import save as to_bytes

    # One key: safetensors writes several in an order that changes from run to run.
    header = {"zoo": json.dumps(metadata, sort_keys=True)}
    flat = {f"{name}/{key}": t for name, state in checkpoint.ema.items() for key, t in state.items()}
    state = io.BytesIO()
    torch.save(checkpoint.state, state)
    return {
        WEIGHTS: to_bytes(_independent(checkpoint.weights), header),
        EMA: to_bytes(_independent(flat), header),
        STATE: state.getvalue(),
    }


def save(
    root: Path,
    step: int,
    checkpoint: Checkpoint,
    metadata: Mapping[str, str],
    keep: int = KEEP,
    run: Mapping[str, str | int] | None = None,
) -> Path:
    """Write a checkpoint as `root/step-NNNNNNNN` and drop all but the last ones.

    Args:
        root: folder of the run's checkpoints.
        step: steps done, over all stages; names the folder and orders it.
        checkpoint: what to save.
        metadata: text pairs stored in the safetensors headers.
        keep: how many stay.
        run: what tells its run from others; see `check_run`.

    Raises:
        MachineError: where the machine refuses; earlier checkpoints stay.
    """
    final = root / f"step-{step:08d}"
    temporary = root / f".step-{step:08d}.{os.getpid()}"
    size = 0
    try:
        root.mkdir(parents=True, exist_ok=True)
        if final.exists():
            try:
                verify(final)
                return final
            except MachineError:
                set_aside(final)
        for stale in root.glob(".step-*"):
            shutil.rmtree(stale, ignore_errors=True)
        files = _serialized(checkpoint, metadata)
        size = sum(map(len, files.values()))
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        manifest = {"step": step, **({"run": dict(run)} if run else {}), "sha256": sums}
        files[MANIFEST] = json.dumps(manifest, indent=1).encode()
        temporary.mkdir()
        for name, data in files.items():
            write_synced(temporary / name, data)
        sync(temporary)
        os.rename(temporary, final)
        sync(root)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise cannot_write(final, size, error) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in listed(root)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def set_aside(path: Path) -> Path:
    """Rename a corrupt checkpoint to `corrupt-step-N`, so that it is not read and not in the way.

    Raises:
        OSError: where the folder cannot be renamed.
    """
    aside = path.with_name(f"corrupt-{path.name}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"corrupt-{path.name}-{number}")
    os.rename(path, aside)
    return aside


def listed(root: Path) -> list[Path]:
    """Return the checkpoints under `root`, oldest first, by step and never by the clock."""
    return sorted(p for p in root.glob("step-*") if p.is_dir())


def verify(path: Path) -> dict[str, str]:
    """Check a checkpoint against its manifest and return the sums by file name.

    Raises:
        MachineError: where a file is missing or differs.
    """
    try:
        sums = strict_json.read(path / MANIFEST)["sha256"]
        if set(sums) != set(FILES):
            raise MachineError(f"checkpoint {path} is incomplete: its manifest lists other files")
        for name in FILES:
            if (path / name).stat().st_size > LARGEST:
                raise MachineError(f"checkpoint file {path / name} is larger than {LARGEST >> 30} GiB")
            if sha256_of(path / name) != sums[name]:
                raise MachineError(
                    f"checkpoint file {path / name} is corrupt: its SHA-256 differs from the manifest's"
                )
    except (MachineError, Interrupted):
        raise
    except (OSError, ZooError, KeyError, TypeError) as error:
        raise MachineError(f"checkpoint {path} is incomplete: {error}") from error
    return dict(sums)


def load(path: Path) -> Checkpoint:
    """Verify a checkpoint, then read it on the CPU.

    Raises:
        MachineError: where it is incomplete, corrupt or of other content; nothing is parsed before its sum
            is checked.
    """
    from safetensors.torch import load_file

    verify(path)
    ema: dict[str, dict[str, Tensor]] = {}
    try:
        weights = load_file(path / WEIGHTS)
        for key, tensor in load_file(path / EMA).items():
            name, _, parameter = key.partition("/")
            ema.setdefault(name, {})[parameter] = tensor
        state = torch.load(path / STATE, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"state.pt holds a {type(state).__name__}, not a dict")
    except Interrupted:
        raise
    except Exception as error:  # the sums may be right and the content anything: a reader may raise anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise MachineError(
            f"checkpoint {path} is not readable: {reason}",
            "next: was it written by zoo? see its manifest.json",
        ) from error
    return Checkpoint(weights, ema, state)


def check_run(path: Path, run: Mapping[str, str | int]) -> None:
    """Refuse a checkpoint that another run has written: of the same model it would load without an error.

    Args:
        path: of the checkpoint; one that does not say whose it is, as of version 0.1, passes.
        run: what tells the run from others, as it is given to `save`.

    Raises:
        MachineError: naming what differs.
    """
    said = strict_json.mapping_or_empty(path / MANIFEST).get("run")
    if not isinstance(said, dict):
        return
    differs = [f"{key}={said.get(key)}, not {value}" for key, value in run.items() if said.get(key) != value]
    if differs:
        raise MachineError(
            f"checkpoint {path} is of another run: {', '.join(differs)}",
            "next: move it out of this run's folder, or restore the run's own",
        )


def check_fit(
    expected: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    what: str,
    data_sized: Collection[str] = (),
) -> None:
    """Refuse weights whose names, shapes or types differ: torch converts another type without a word.

    Args:
        expected: of the model.
        given: of the checkpoint.
        what: name of the model, for the message.
        data_sized: keys of the model's buffers that may differ in the length of their first axis.

    Raises:
        MachineError: with the first differences.
    """
    wrong = [f"{name} is missing" for name in expected if name not in given]
    wrong += [f"{name} is not part of the model" for name in given if name not in expected]
    for name in expected.keys() & given.keys():
        want, found = expected[name], given[name]
        if name in data_sized and fits_data_sized(want, found):
            continue
        if (want.shape, want.dtype) != (found.shape, found.dtype):
            wrong.append(
                f"{name} is {found.dtype} {tuple(found.shape)}, expected {want.dtype} {tuple(want.shape)}"
            )
    if wrong:
        raise MachineError(
            f"the checkpoint and {what} do not fit together: {len(wrong)} of the weights differ",
            *(line[:200] for line in sorted(wrong)[:4]),
            "next: was the run made with another version of the plugin? see its provenance.json",
        )


def latest(root: Path, say: Callable[[str], None]) -> tuple[Path, Checkpoint] | None:
    """Return the newest checkpoint that verifies, or None where there is none at all.

    Args:
        root: folder of the run's checkpoints.
        say: told of each one that was passed over.

    Raises:
        MachineError: where there are checkpoints and every one is corrupt.
    """
    saved = listed(root)
    for path in reversed(saved):
        try:
            return path, load(path)
        except MachineError as error:
            say(f"warning: {error}; falling back to the one before it")
    if saved:
        raise MachineError(
            f"every checkpoint under {root} is corrupt", "next: start again with another run_dir=..."
        )
    return None


def recover(root: Path, say: Callable[[str], None]) -> tuple[tuple[Path, Checkpoint] | None, list[str]]:
    """Return the newest checkpoint that verifies, with every newer one set aside, to train on from it.

    Only the process that holds the run's folder may call it: another's checkpoint may be half deleted.

    Args:
        root: folder of the run's checkpoints.
        say: told of each one that was set aside.

    Returns:
        (path and checkpoint, or None where none is left; what was set aside and why).

    Raises:
        MachineError: where a corrupt checkpoint cannot be renamed.
    """
    reasons: list[str] = []
    for path in reversed(listed(root)):
        try:
            return (path, load(path)), reasons
        except MachineError as error:
            try:
                aside = set_aside(path)
            except OSError as refused:
                raise cannot_write(path, 0, refused) from error
            reasons.append(f"{error.what}; set aside as {aside.name}")
            say(f"warning: {reasons[-1]}; going back to the checkpoint before it")
    if reasons:
        say("warning: no checkpoint is left; training starts from step 0")
    return None, reasons


def scored_and_raw(saved: Checkpoint) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return (state dict with EMA weights where there are any, raw weights by "module/parameter")."""
    scored, raw = dict(saved.weights), {}
    for name, weights in saved.ema.items():
        for parameter, tensor in weights.items():
            full = f"{name}.{parameter}" if name else parameter
            raw[f"{name}/{parameter}"] = scored[full]
            scored[full] = tensor
    return scored, raw


def unscored(scored: Mapping[str, Tensor], raw: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], ...]:
    """Return (raw state dict, EMA weights by "module/parameter"): the inverse of `scored_and_raw`.

    Raises:
        KeyError: where `raw` holds a parameter that `scored` does not have.
    """
    weights, ema = dict(scored), {}
    for key, tensor in raw.items():
        name, _, parameter = key.partition("/")
        full = f"{name}.{parameter}" if name else parameter
        ema[key] = weights[full]
        weights[full] = tensor
    return weights, ema
