"""Push and pull: bundles between a run's folder and a place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoo_core.errors import MachineError, UsageError
from zoo_core.home import expanded
from zoo_core.hub import hub
from zoo_core.hub.address import Hub, Shipped, is_address, parse
from zoo_core.hub.bundle import MANIFEST, Manifest
from zoo_core.hub.compact import Compaction
from zoo_core.hub.shipped import shipped_folder
from zoo_core.machine.files import cannot_write, sha256_of


def push(
    run: str | Path,
    address: str,
    *,
    private: bool = False,
    license_: str = "",
    compact: Compaction | None = None,
    say: Callable[[str], None] = print,
) -> str:
    """Share a finished run, and return where it lies now: a folder, or hf://user/name@commit.

    Args:
        run: its folder.
        address: `hf://user/name`, or a folder that is empty or not there yet.
        private: make the hub's repository private, where it is a new one.
        license_: SPDX name of the weights' license, for the card.
        compact: as `packing.pack` takes it.
        say: told what goes on.

    Raises:
        UsageError, MachineError: as `packing.pack` and `hub.upload`; and where the folder is not empty.
    """
    from zoo_core.runs.packing import pack

    place = parse(address)
    if isinstance(place, Shipped):
        raise UsageError(f"{place} comes with a package", "expected: hf://user/name, or a folder")
    if isinstance(place, Hub):
        with tempfile.TemporaryDirectory(prefix="zoo-push-") as workspace:
            manifest = pack(Path(run), Path(workspace), license_=license_, compact=compact, say=say)
            say(listing(manifest))
            return str(place._replace(revision=hub.upload(Path(workspace), place, private=private)))
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UsageError(f"{place} is not empty", "next: choose a new folder")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".push-", dir=place.parent))
    except OSError as error:
        raise cannot_write(place, 0, error) from error
    try:
        say(listing(pack(Path(run), made, license_=license_, compact=compact, say=say)))
        made.chmod(0o755)
        os.replace(made, place)
    except OSError as error:
        raise cannot_write(place, 0, error) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return str(place)


def listing(manifest: Manifest) -> str:
    """Return the files of a bundle with their sizes, one a line."""
    return "\n".join(f"{file.bytes:>13,}  {name}" for name, file in manifest.files.items())


def pull(address: str, to: Path | None = None) -> Path:
    """Fetch a bundle, check it, and return the folder of the run that it became.

    Args:
        address: `hf://user/name[@revision]`, `zoo://data/name`, or a folder that holds a bundle.
        to: folder of the run; None for one among the runs here.

    Raises:
        NotFoundError, UsageError, MachineError: as `unpacking.unpack` and `hub.download`.
    """
    from zoo_core.runs.unpacking import unpack

    place = parse(address)
    if isinstance(place, Path):
        return unpack(place, {"folder": place.name}, to)
    if isinstance(place, Shipped):
        folder = shipped_folder(place)
        _check_pinned(str(place), folder / "weights.safetensors")
        return unpack(folder, {"weights": str(place)}, to)
    with tempfile.TemporaryDirectory(prefix="zoo-pull-") as workspace:
        commit = hub.download(place, Path(workspace))
        _check_pinned(str(place._replace(revision=commit)), Path(workspace) / "weights.safetensors")
        return unpack(Path(workspace), {"repo": place.repo, "revision": commit}, to)


def _check_pinned(place: str, weights: Path) -> None:
    """Hold the weights against registry.yaml, where it lists this very address."""
    from zoo_core.registry.index import load_index

    listed: list[Any] = [w for entry in load_index().plugins for w in entry.weights if w.uri == place]
    if listed and weights.is_file() and sha256_of(weights) != listed[0].sha256:
        raise MachineError(
            f"the weights of {place} are not those that registry.yaml lists", "nothing was taken"
        )


def run_folder(address: str) -> Path:
    """Return the run's folder that is named, or the one that the bundle at an address is pulled into."""
    here = expanded(Path(address))
    if is_address(address) or ((here / MANIFEST).is_file() and not _is_of_run(here)):
        return pull(address)
    return here


def _is_of_run(folder: Path) -> bool:
    """Return whether a folder is a run, or one of its checkpoints, which have a manifest of their own."""
    return (folder / "checkpoints").exists() or folder.absolute().parent.name == "checkpoints"
