"""A bundle as a run: checked, then put among the runs in one rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from zoo_core.config import strict_json, strict_yaml
from zoo_core.data.dataset import Dataset
from zoo_core.data.identity import RECORD, stored
from zoo_core.errors import MachineError, Mistakes, NotFoundError, UsageError, ZooError
from zoo_core.home import runs_root
from zoo_core.hub.bundle import Manifest, take
from zoo_core.hub.compact import whole
from zoo_core.hub.privacy import portable
from zoo_core.machine.files import cannot_write, open_regular, sha256_of
from zoo_core.registry.index import load_index
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import config_hash, plain, resolve
from zoo_core.results.attachments import GRID
from zoo_core.training import checkpoint
from zoo_core.training.randomness import random_states

REPORTED = "reported.json"
"""The figures that came with the weights. They are not a result of this machine; `zoo eval` makes one."""


def unpack(source: Path, origin: Mapping[str, Any], to: Path | None = None) -> Path:
    """Check the bundle in a folder and make a run of it.

    The same bundle gives the same folder, so one that is there already is only returned.

    Args:
        source: folder of the bundle.
        origin: where it came from, recorded in origin.json.
        to: folder of the run; None for one of its own among the runs.

    Returns:
        The run's folder.

    Raises:
        NotFoundError: where there is no bundle, or its plugin is not installed: which distribution brings it.
        UsageError, MachineError: as `take`; and where the config does not fit the installed plugin.
    """
    workspace = to.parent if to is not None else runs_root()
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".pull-", dir=workspace))
    except OSError as error:
        raise cannot_write(workspace, 0, error) from error
    try:
        taken, made = temporary / "bundle", temporary / "run"
        taken.mkdir()
        manifest = take(source, taken)
        config = _config(taken, manifest)
        name = hashlib.sha256(json.dumps(manifest.model_dump(), sort_keys=True).encode()).hexdigest()
        final = to or (
            workspace
            / config["data"]["name"]
            / config["plugin"]
            / f"{config_hash(resolve(config))}-s{config['seed']}-pulled-{name[:8]}"
        )
        if final.exists() and (to is None or not final.is_dir() or any(final.iterdir())):
            return _there_already(final, name)
        _arrange(taken, made, config, manifest, {**origin, "manifest_sha256": name})
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(made, final)
        return final
    except OSError as error:
        raise cannot_write(workspace, 0, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _there_already(final: Path, name: str) -> Path:
    try:
        same = strict_json.read(final / "origin.json")["manifest_sha256"] == name
    except (ZooError, LookupError, TypeError):
        same = False
    if not same:
        raise UsageError(f"{final} is not empty", "next: choose another folder with --to")
    return final


def _config(taken: Path, manifest: Manifest) -> dict[str, Any]:
    """Return the plain config of a bundle, resolved by the plugin that is installed here."""
    document = strict_yaml.read(taken / "config.yaml")
    if not isinstance(document, Mapping) or not isinstance(document.get("plugin"), str):
        raise UsageError("config.yaml of the bundle names no plugin")
    _check_installed(document["plugin"], manifest.package)
    try:
        return portable(plain(resolve(portable(document))))
    except Mistakes as error:
        made_with = (
            strict_json.read(taken / "provenance.json") if (taken / "provenance.json").exists() else {}
        )
        versions = made_with.get("versions", {}) if isinstance(made_with, dict) else {}
        theirs = versions.get(manifest.package, "an unknown version") if isinstance(versions, dict) else ""
        raise UsageError(
            f"the bundle's config does not fit the plugin {document['plugin']!r} that is installed here",
            *[line for mistake in error.mistakes for line in str(mistake).splitlines()],
            f"made with: {manifest.package} {theirs!s:.40}",
        ) from error


def _check_installed(plugin: str, claimed: str) -> None:
    try:
        manager().find("plugin", plugin)
    except NotFoundError as error:
        entry = load_index().entry(plugin)
        if entry is not None:
            raise NotFoundError(
                f"the bundle needs the plugin {plugin!r}, which is not installed",
                f"registry.yaml: it comes with {entry.package}",
                f"next: pip install {entry.package}",
            ) from error
        # What a third party's bundle names is a claim; installing a distribution runs its code.
        raise NotFoundError(
            f"the bundle needs the plugin {plugin!r:.80}, which is not installed",
            f"registry.yaml does not know it; the bundle says that it comes with {claimed!r:.80}",
            "next: find out who publishes that before you install it; `zoo list` shows what is here",
        ) from error


def _arrange(
    taken: Path, made: Path, config: Mapping[str, Any], manifest: Manifest, origin: Mapping[str, Any]
) -> None:
    """Lay the files of a bundle out as a run's folder."""
    from safetensors.torch import save_file

    (made / "plots").mkdir(parents=True)
    point = made / "checkpoints" / f"step-{manifest.step:08d}"
    point.mkdir(parents=True)
    for path in sorted(taken.glob("*.safetensors")):
        check_weights(path)
    state = _state(taken)
    weights, averages, header = _weights(taken, state.get("compact"))
    save_file(weights, point / checkpoint.WEIGHTS, header)
    save_file(averages, point / checkpoint.EMA, header)
    torch.save(state, point / checkpoint.STATE)  # written here, of plain numbers: nothing of it is executed
    sums = {path.name: sha256_of(path) for path in sorted(point.iterdir())}
    (point / checkpoint.MANIFEST).write_text(json.dumps({"step": manifest.step, "sha256": sums}, indent=1))
    (made / "config.yaml").write_text(strict_yaml.dump(config), encoding="utf-8")
    if (taken / "samples.png").exists():
        os.replace(taken / "samples.png", made / "plots" / GRID)
    for name, kept in (("result.json", REPORTED), ("provenance.json", "provenance.json")):
        if (taken / name).exists():
            strict_json.read(taken / name)
            os.replace(taken / name, made / kept)
    if (taken / RECORD).exists():
        os.replace(taken / RECORD, made / RECORD)
        _check_record(made)
    (made / "origin.json").write_text(json.dumps(origin, indent=1))


def _state(taken: Path) -> dict[str, Any]:
    """Return a bundle's state; a compact one's is completed, because it has nothing to train on with.

    Raises:
        UsageError: where it is not readable.
    """
    from zoo_core.runs.packing import decoded

    try:
        state: dict[str, Any] = decoded(strict_json.read(taken / "state.json"))
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}, not an object")
        if "compact" in state:
            state |= {"optimizers": {}, "rngs": {}, "random": random_states(torch.device("cpu"))}
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError, AttributeError) as error:
        if isinstance(error, ZooError):
            raise
        raise UsageError(f"state.json of the bundle is not readable: {error}"[:200]) from error
    return state


def _weights(
    taken: Path, compact: Any
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, str] | None]:
    """Return a bundle's raw weights, its EMA weights by "module/parameter", and the header of its file.

    Raises:
        UsageError: where a name in it is unknown.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    path, other = taken / "weights.safetensors", taken / "raw.safetensors"
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    scored, raw = load_file(path), load_file(other) if other.exists() else {}
    try:
        if compact is not None:  # the raw weights are not kept: both are the averages
            scored = whole(scored, compact["half"])
            names = [(name, one) for name, its in compact["averaged"].items() for one in its]
            raw = {f"{name}/{one}": scored[f"{name}.{one}" if name else one] for name, one in names}
        weights, averages = checkpoint.unscored(scored, raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"the bundle's averages are of unknown weights: {error!s:.80}") from error
    return weights, averages, header


def _check_record(made: Path) -> None:
    """Refuse a record of data that is damaged or claims impossible sizes.

    Raises:
        UsageError: what is wrong.
    """

    def unread() -> Dataset:
        raise AssertionError("no data are read while a bundle is checked")

    try:
        stored(made, unread)
    except MachineError as error:
        reason = error.what.partition(" is damaged: ")[2] or error.what
        raise UsageError(f"{RECORD} of the bundle is not readable: {reason}"[:300]) from error


def check_weights(path: Path) -> None:
    """Refuse a safetensors file that is damaged, or holds a weight that is not finite.

    Raises:
        UsageError: which weight, or what is wrong with the file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with open_regular(path):  # safe_open maps whatever it is given
            pass
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a mapping
                tensor = file.get_tensor(key)
                if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                    raise UsageError(f"{path.name}: {key!r:.80} is not finite")
    except (
        SafetensorError,
        OSError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
        MemoryError,  # a file that claims more than can be mapped
    ) as error:
        raise UsageError(f"{path.name} is not a safetensors file: {error}"[:200]) from error
