"""The folders of all runs of a user, wherever they are: a list in ZOO_HOME."""

from __future__ import annotations

import os
from pathlib import Path

from zoo_core.home import home, runs_root

LIST = "runs.txt"
"""File in ZOO_HOME: one absolute path per line."""


def remember(folder: Path) -> None:
    """Add a run's folder to the list of runs, unless it is in the list.

    Raises:
        OSError: where the list can't be written.
    """
    append_line(LIST, str(folder.absolute()))


def append_line(name: str, line: str) -> None:
    """Add a line to a list in ZOO_HOME, unless it is in the list.

    Raises:
        OSError: where the list can't be written.
    """
    if "\n" in line or line in lines(name):
        return
    home().mkdir(parents=True, exist_ok=True)
    # One write of one line in append mode: lines of two processes do not mix.
    descriptor = os.open(home() / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"{line}\n")


def lines(name: str) -> list[str]:
    """Return the lines of a list in ZOO_HOME; none where it can't be read."""
    try:
        text = (home() / name).read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return []
    return [line for line in text.split("\n") if line]


def known() -> list[Path]:
    """Return the folders of all runs that exist: those under the default folder, and those in the list."""
    here = sorted(path.parent for path in runs_root().glob("*/*/*/config.yaml"))
    found: dict[Path, Path] = {}
    for folder in [*here, *map(Path, lines(LIST))]:
        try:
            if (folder / "config.yaml").is_file():
                found.setdefault(folder.resolve(), folder)
        except (OSError, RuntimeError, ValueError):
            continue
    return list(found.values())
