"""Where the zoo keeps what outlives a run: downloads, statistics, weights."""

from __future__ import annotations

import os
from pathlib import Path

from zoo_core.errors import MachineError


def expanded(path: Path) -> Path:
    """Return a path with `~` replaced.

    Raises:
        MachineError: where this user has no home directory.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise MachineError(
            "this user has no home directory: neither HOME nor the system's user list names one",
            "next: set the environment variable ZOO_HOME to a folder that you may write to",
        ) from error


def home() -> Path:
    """Return the folder named by the environment variable ZOO_HOME, else ~/.cache/zoo; it may not exist.

    Raises:
        MachineError: where neither can be found.
    """
    named = os.environ.get("ZOO_HOME")
    return expanded(Path(named or "~/.cache/zoo"))


def runs_root() -> Path:
    """Return the folder that runs are made in: ZOO_HOME/runs where ZOO_HOME is set, else ./runs."""
    given = os.environ.get("ZOO_HOME")
    return expanded(Path(given)) / "runs" if given else Path("runs")


OURS = "genzoo"
"""Name of our own distribution."""
