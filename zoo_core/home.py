"""Where the zoo keeps what outlives a run: downloads, statistics, weights."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return the folder named by the environment variable ZOO_HOME, else ~/.cache/zoo; it may not exist."""
    named = os.environ.get("ZOO_HOME")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "zoo"


def runs_root() -> Path:
    """Return the folder that runs are made in: ZOO_HOME/runs where ZOO_HOME is set, else ./runs."""
    given = os.environ.get("ZOO_HOME")
    return Path(given).expanduser() / "runs" if given else Path("runs")
