"""What the folder of a run says about it, read without importing its plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_core.config import flatten, strict_json, strict_yaml
from zoo_core.errors import NotFoundError, UsageError, ZooError
from zoo_core.registry.metrics import direction
from zoo_core.results import Result, Value, read_result
from zoo_core.runs.known import known
from zoo_core.runs.lock import held

STATES = ("running", "finished", "interrupted", "stopped", "diverged", "failed", "pulled", "new")
"""`stopped` was running when its process ended without a word; `new` has not been started."""


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder records it.

    Attributes:
        folder: of the run.
        options: by dotted name.
        state: one of `STATES`.
        time: UTC time of the state, "2025-01-31T12:00:00Z"; "" where none is recorded.
        result: the content of result.json; None for a run without scores.
    """

    folder: Path
    options: Mapping[str, Any]
    state: str
    time: str
    result: Result | None

    @property
    def plugin(self) -> str:
        return str(self.options.get("plugin", ""))

    @property
    def data(self) -> str:
        return str(self.options.get("data.name", ""))

    @property
    def seed(self) -> int:
        seed = self.options.get("seed", 0)
        return seed if isinstance(seed, int) else 0

    @property
    def name(self) -> str:
        """Plugin, data and seed: "wgan on digits, seed 0"."""
        return f"{self.plugin} on {self.data}, seed {self.seed}"

    def score(self, column: str = "") -> tuple[str, Value] | None:
        """Return a column and its value; the first ranked column of the result where none is named."""
        metrics = {} if self.result is None else self.result.metrics
        if column:
            return (column, metrics[column]) if column in metrics else None
        return next(((name, value) for name, value in metrics.items() if direction(name)), None)


def record_of(folder: Path) -> RunRecord:
    """Return the record of the run in a folder.

    Raises:
        NotFoundError: where the folder holds no run.
        UsageError: where its config can't be read.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise NotFoundError(
            f"no run in {str(folder)!r}", "expected: a folder with config.yaml; see: zoo runs"
        )
    document = strict_yaml.read(path)
    if not isinstance(document, Mapping):
        raise UsageError(f"{path} contains no config", "expected: a mapping of options")
    try:
        result = read_result(folder / "result.json")
    except ZooError:
        result = None
    status = strict_json.mapping_or_empty(folder / "run.json")
    time = status.get("time")
    return RunRecord(
        folder, flatten(document), _state(folder, status), time if isinstance(time, str) else "", result
    )


def _state(folder: Path, status: Mapping[str, Any]) -> str:
    if held(folder):
        return "running"
    state = status.get("state")
    if state == "running":
        return "stopped"
    if isinstance(state, str) and state in STATES:
        return state
    return "pulled" if (folder / "origin.json").is_file() else "new"


def all_records() -> tuple[list[RunRecord], list[str]]:
    """Return the records of all known runs, and a line for each folder that can't be read."""
    records, problems = [], []
    for folder in known():
        try:
            records.append(record_of(folder))
        except (ZooError, OSError, ValueError) as error:
            problems.append(f"left out: {folder}: {str(error).splitlines()[0]}")
    return records, problems


def same_configuration(record: RunRecord, records: list[RunRecord]) -> list[Result]:
    """Return the results of a run's configuration and protocol, one per training seed, its own first."""
    if record.result is None:
        return []
    own = record.result
    found = {own.seed: own}
    for other in records:
        result = other.result
        if result is not None and _alike(result, own):
            found.setdefault(result.seed, result)
    return list(found.values())


def _alike(one: Result, other: Result) -> bool:
    return (one.plugin, one.config_hash, one.protocol.hash, one.data) == (
        other.plugin,
        other.config_hash,
        other.protocol.hash,
        other.data,
    )
