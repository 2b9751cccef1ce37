"""Checkpoints that survive a kill, a full disk and a flipped bit.

A checkpoint is a folder: safetensors for weights, `state.pt` (loadable with weights_only) for the rest, and
a manifest of SHA-256 sums, because both formats load a flipped bit without a word. It is written beside its
final name, synced, then renamed; the last two are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core import strict_json
from zoo_core.errors import MachineError, ZooError
from zoo_core.files import open_regular

KEEP = 2
MANIFEST = "manifest.json"
FILES = ("weights.safetensors", "ema.safetensors", "state.pt")


@dataclass(frozen=True)
class Checkpoint:
    """What one checkpoint holds.

    Attributes:
        weights: the recipe's state dict.
        ema: submodule name -> the tensors beside it.
        state: counters, optimisers, random states: numbers, strings, tensors and containers of them.
    """

    weights: dict[str, Tensor]
    ema: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, sync it, and rename it: never half a file.

    Raises:
        MachineError: where the disk is full or the folder can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, len(data), error) from error


def cannot_write(path: Path, size: int, error: OSError) -> MachineError:
    """Return the error for a write that the machine refused."""
    return MachineError(
        f"can't write {path}: {error.strerror or error}",
        f"needed: {size:,} bytes; free there: {_free(path):,} bytes",
        "next: free some space, then run the same command again; it resumes from the last checkpoint",
    )


def _free(path: Path) -> int:
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


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


def _writers(checkpoint: Checkpoint, metadata: Mapping[str, str]) -> dict[str, Callable[[Path], Any]]:
    from safetensors.torch import save_file

    # One key: safetensors writes several in an order that changes from run to run.
    header = {"zoo": json.dumps(metadata, sort_keys=True)}
    flat = {f"{name}/{key}": t for name, state in checkpoint.ema.items() for key, t in state.items()}
    return {
        "weights.safetensors": lambda p: save_file(_independent(checkpoint.weights), p, header),
        "ema.safetensors": lambda p: save_file(_independent(flat), p, header),
        "state.pt": lambda p: torch.save(checkpoint.state, p),
    }


def save(root: Path, step: int, checkpoint: Checkpoint, metadata: Mapping[str, str]) -> Path:
    """Write a checkpoint as `root/step-NNNNNNNN` and drop all but the last two.

    Args:
        root: folder of the run's checkpoints.
        step: steps done, over all stages; names the folder and orders it.
        checkpoint: what to keep.
        metadata: text pairs stored in the safetensors headers.

    Raises:
        MachineError: where the machine refuses; earlier checkpoints stay.
    """
    root.mkdir(parents=True, exist_ok=True)
    final = root / f"step-{step:08d}"
    if final.exists():
        return final
    for stale in root.glob(".step-*"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary = root / f".step-{step:08d}.{os.getpid()}"
    size = sum(t.numel() * t.element_size() for t in checkpoint.weights.values())
    try:
        temporary.mkdir()
        manifest = {}
        for name, write in _writers(checkpoint, metadata).items():
            write(temporary / name)
            sync(temporary / name)
            manifest[name] = sha256_of(temporary / name)
        (temporary / MANIFEST).write_text(json.dumps({"step": step, "sha256": manifest}, indent=1))
        sync(temporary / MANIFEST)
        sync(temporary)
        os.rename(temporary, final)
        sync(root)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error):
            raise
        cause = error if isinstance(error, OSError) else OSError(28, "No space left on device")
        raise cannot_write(final, size, cause) from error
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if type(error).__name__ == "SafetensorError":
            raise cannot_write(final, size, OSError(28, str(error))) from error
        raise
    for old in listed(root)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return final


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
            if sha256_of(path / name) != sums[name]:
                raise MachineError(
                    f"checkpoint file {path / name} is corrupt: its SHA-256 differs from the manifest's"
                )
    except MachineError:
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
        weights = load_file(path / "weights.safetensors")
        for key, tensor in load_file(path / "ema.safetensors").items():
            name, _, parameter = key.partition("/")
            ema.setdefault(name, {})[parameter] = tensor
        state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"state.pt holds a {type(state).__name__}, not a dict")
    except Exception as error:  # the sums may be right and the content anything: a reader may raise anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise MachineError(
            f"checkpoint {path} is not readable: {reason}",
            "next: was it written by zoo? see its manifest.json",
        ) from error
    return Checkpoint(weights, ema, state)


def check_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights whose names, shapes or types differ: torch converts another type without a word.

    Args:
        expected: of the model.
        given: of the checkpoint.
        what: name of the model, for the message.

    Raises:
        MachineError: with the first differences.
    """
    wrong = [f"{name} is missing" for name in expected if name not in given]
    wrong += [f"{name} is not part of the model" for name in given if name not in expected]
    for name in expected.keys() & given.keys():
        want, found = expected[name], given[name]
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
        say: told, loudly, of each one that was passed over.

    Raises:
        MachineError: where there are checkpoints and every one is corrupt.
    """
    found = listed(root)
    for path in reversed(found):
        try:
            return path, load(path)
        except MachineError as error:
            say(f"warning: {error}; falling back to the one before it")
    if found:
        raise MachineError(
            f"every checkpoint under {root} is corrupt", "next: start again with another run_dir=..."
        )
    return None
