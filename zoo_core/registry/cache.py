"""The cache of listings: ZOO_HOME/listings, one JSON file for each entry point of each environment.

A cached listing is used while the distribution's version and the times and sizes of its files are what they
were. A cached load error is also dropped when something is installed or removed, which may have fixed it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from zoo_core.errors import UsageError
from zoo_core.home import home
from zoo_core.machine.files import read_bounded
from zoo_core.registry.listing import SCHEMA, Listing, from_json, to_json
from zoo_core.registry.spec import API_VERSION

MAX_FILES = 20_000
"""Files of one distribution that are looked at."""
MAX_BYTES = 4 << 20
"""Size of a cached listing, bytes."""
SOURCES = (".py", ".so", ".pyd")


def fingerprint(entry_point: EntryPoint) -> str:
    """Return a hash of a distribution's name, version and files (path, times, size), read without importing.

    The files are those that the distribution records. Where the entry point's module is not among them, as in
    an editable install, they are also the modules and packages in the folder that holds it.
    """
    facts: list[Any] = [SCHEMA, API_VERSION, sys.version_info[:3], entry_point.name, entry_point.value]
    distribution = entry_point.dist
    recorded: set[str] = set()
    if distribution is not None:
        with contextlib.suppress(Exception):  # damaged metadata is reported where it is read
            facts += [distribution.name, distribution.version]
            for file in (distribution.files or ())[: 4 * MAX_FILES]:
                if file.suffix in SOURCES:
                    recorded.add(str(distribution.locate_file(file)))
    files = set(sorted(recorded)[:MAX_FILES])
    for place in _places(entry_point.value.partition(":")[0].partition(".")[0]):
        inside = list(_sources(place))
        files |= set(inside)
        if not recorded & set(inside):
            files |= set(_siblings(place.parent))
    for path in sorted(files)[:MAX_FILES]:
        with contextlib.suppress(OSError):
            stat = os.stat(path)
            facts.append((path, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def read(entry_point: EntryPoint, key: str) -> Listing | None:
    """Return the cached listing under a fingerprint, or None where there is none that can be used."""
    try:
        path = _path(entry_point)
        document = json.loads(read_bounded(path, MAX_BYTES))
        if document["key"] != key:
            return None
        listing = from_json(document["listing"])
    except (OSError, UsageError, RuntimeError, ValueError, KeyError, TypeError):
        return None
    broken = listing.failure or listing.problems
    return None if broken and document.get("installed") != _installed() else listing


def write(entry_point: EntryPoint, key: str, listing: Listing) -> None:
    """Keep a listing; a home that can't be written, or none, keeps nothing."""
    document = {"key": key, "installed": _installed(), "listing": to_json(listing)}
    with contextlib.suppress(OSError, RuntimeError):
        path = _path(entry_point)
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(document), encoding="utf-8")
        os.replace(scratch, path)


def clear() -> None:
    """Drop every cached listing, so that each plugin is listed again."""
    with contextlib.suppress(OSError, RuntimeError):
        for path in (home() / "listings").glob("*.json"):
            path.unlink()


def _path(entry_point: EntryPoint) -> Path:
    name = entry_point.dist.name if entry_point.dist else ""
    text = "\n".join((sys.prefix, name or "", entry_point.name, entry_point.value))
    return home() / "listings" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def _installed() -> list[int]:
    """Return when something was last installed into or removed from this environment, ns."""
    folders = [p for p in sys.path if p.rstrip(os.sep).endswith(("site-packages", "dist-packages"))]
    times = []
    for folder in folders:
        with contextlib.suppress(OSError):
            times.append(os.stat(folder).st_mtime_ns)
    return times


def _places(top: str) -> list[Path]:
    """Return the file or folders of a top-level module, which is found and not imported."""
    try:
        spec = importlib.util.find_spec(top)
    except Exception:
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(place) for place in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin else []


def _sources(place: Path) -> Iterator[str]:
    """Yield the source files of a module or package."""
    if not place.is_dir():
        yield str(place)
        return
    seen = 0
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(f for f in folders if f != "__pycache__" and not f.startswith("."))
        for name in sorted(names):
            seen += 1
            if seen > MAX_FILES:
                return
            if name.endswith(SOURCES):
                yield os.path.join(folder, name)


def _siblings(folder: Path) -> Iterator[str]:
    """Yield the sources of the modules and packages beside an editable install's module."""
    if folder.name in ("site-packages", "dist-packages"):
        return
    with contextlib.suppress(OSError):
        for place in sorted(folder.iterdir())[:MAX_FILES]:
            if place.suffix in SOURCES or (place / "__init__.py").is_file():
                yield from _sources(place)
