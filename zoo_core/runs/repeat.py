"""A finished run asked for again: the options that differ, the code that changed, and setting it aside."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from zoo_core.config import RunConfig, before_later, strict_json
from zoo_core.errors import MachineError
from zoo_core.registry.manager import Entry
from zoo_core.registry.resolution import deciding, plain

MAX_SOURCE_BYTES = 64 << 20
"""Bytes of a plugin's sources that are hashed."""


def changed_options(saved: RunConfig, asked: RunConfig) -> list[str]:
    """Return a line for each option that decides the model and is another one than in the saved run."""
    before, now = (
        {"seed": config.seed} | deciding(plain(config), before_later(type(config)))
        for config in (saved, asked)
    )
    return [
        f"{key}: {before.get(key, 'default')!r} there, {now.get(key, 'default')!r} asked for"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def code_of(entry: Entry) -> dict[str, str]:
    """Return the distribution and version of a plugin, and the sha256 of the sources of its package."""
    try:
        installed = version(entry.distribution)
    except (PackageNotFoundError, ValueError):
        installed = ""
    sha256 = sources_sha256(entry.spec.target.partition(":")[0].partition(".")[0])
    return {"distribution": entry.distribution, "version": installed, "sha256": sha256}


def add_current_folder() -> None:
    """Let Python find modules of the current folder: `zoo` is a script, whose own folder it would search."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def sources_sha256(top: str) -> str:
    """Return the sha256 of the Python sources of a top-level module, which is not imported."""
    digest = hashlib.sha256()
    left = MAX_SOURCE_BYTES
    for name, path in _sources(top):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        left -= len(content)
        if left < 0:
            break
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def changed_since(folder: Path, entry: Entry, device: str) -> list[str]:
    """Return a line for each way in which a run made now could differ from the finished one in a folder.

    Args:
        folder: of the finished run; what its provenance.json does not record is not compared.
        entry: the plugin as it is installed.
        device: as asked for; "auto" accepts any.
    """
    record = strict_json.mapping_or_empty(folder / "provenance.json")
    before, hardware = record.get("plugin_code"), record.get("hardware")
    lines = []
    if isinstance(before, Mapping):
        now = code_of(entry)
        if before.get("version") != now["version"]:
            lines.append(f"{now['distribution']} was {before.get('version')} and is {now['version']} now")
        elif before.get("sha256") != now["sha256"]:
            lines.append(f"the sources of {now['distribution']} have changed since")
    parts = record.get("parts")
    net = parts.get("net") if isinstance(parts, Mapping) else None
    if isinstance(net, Mapping) and "module_sha256" in net:
        add_current_folder()
        module = str(net.get("name")).partition(":")[0].partition(".")[0]
        if sources_sha256(module) not in (net["module_sha256"], hashlib.sha256().hexdigest()):
            lines.append(f"the sources of {module} have changed since")
    trained = hardware.get("device") if isinstance(hardware, Mapping) else None
    if isinstance(trained, str) and device != "auto" and (device == "cpu") != (trained == "cpu"):
        lines.append(f"it was trained on {trained}; device={device} was asked for")
    return [f"note: {line}; --rerun trains it again" for line in lines]


def set_aside(folder: Path) -> Path | None:
    """Rename a run's folder, so that the run can be made again, and return its new place; None without a run.

    Raises:
        MachineError: where it can't be renamed.
    """
    if not (folder / "config.yaml").exists():
        return None
    place = next(
        place
        for n in range(1, 10**6)
        if not (place := folder.with_name(f"{folder.name}.before-{n}")).exists()
    )
    try:
        return folder.rename(place)
    except OSError as error:
        raise MachineError(f"can't rename {folder}: {error.strerror}", "next: run_dir=...") from error


def _sources(top: str) -> Iterator[tuple[str, Path]]:
    """Yield (relative name, file) of the Python sources of a top-level module, which is not imported."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return
    if spec is None:
        return
    if spec.submodule_search_locations is None:
        if spec.origin:
            yield top, Path(spec.origin)
        return
    for place in map(Path, spec.submodule_search_locations):
        for path in sorted(place.rglob("*.py")):
            yield path.relative_to(place).as_posix(), path
