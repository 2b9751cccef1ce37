"""Result files under a folder, read in one pass: each is bounded, validated once and reduced to what tables
need.

A file that is not a result is listed with its reason and never stops the others.
"""

from __future__ import annotations

import gc
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern
from typing import NamedTuple

from zoo_core.errors import UsageError
from zoo_core.home import runs_root
from zoo_core.machine.files import read_bounded
from zoo_core.results import Result
from zoo_core.results.files import LARGEST_READ, parse_result
from zoo_core.results.result import DataRecord, ProtocolRecord
from zoo_eval.store.limits import problem
from zoo_eval.store.states import STATES, recorded_states

_RUN_FILE = re.compile(r"result(-[0-9a-f]{12}){0,2}\.json")
_RUN_FOLDER = re.compile(r"[0-9a-f-]{12,}-s\d+")
_COSTS = (
    "train_seconds", "images_seen", "steps", "parameters", "train_flops", "train_peak_bytes",
    "sample_seconds", "seconds_per_sample", "sample_flops", "sample_peak_bytes", "nfe", "search_seconds",
)  # fmt: skip


class Score(NamedTuple):
    """A value of one column in one file.

    Attributes:
        value: the value.
        ends: 95 % interval over the samples of the run; None where the metric has none.
        bound: "exact", "upper" or "lower".
        unranked: why it is shown and not ranked; "" where it may be ranked.
    """

    value: float
    ends: tuple[float, float] | None
    bound: str
    unranked: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What tables need of one result file; `read_result(entry.path)` gives the rest.

    Attributes:
        path: of the file.
        sha256: of its bytes.
        source: the folder that vouches for it; see `source_of`.
        state: one of `STATES`, as recorded outside the file.
        plugin, family, config_hash, seed, data, protocol: as in `Result`.
        scores: by column.
        cost: what is known of it, by name.
        selected: how its options were selected, in words; "" where no search did that.
    """

    path: Path
    sha256: str
    source: str
    state: str
    plugin: str
    family: str
    config_hash: str
    seed: int
    data: DataRecord
    protocol: ProtocolRecord
    scores: Mapping[str, Score]
    cost: Mapping[str, float]
    selected: str = ""


class Bad(NamedTuple):
    """A file that is not a result, and why, in one line."""

    path: Path
    reason: str


class Collection(NamedTuple):
    """What was found: results, and files that are none."""

    entries: list[Entry]
    bad: list[Bad]


def source_of(path: Path) -> Path:
    """Return the folder that a result belongs to: files of one folder come from one author.

    A run's own folder (`<config hash>-s<seed>`, or one with a config.yaml) belongs to the folder that holds
    it, so that the seeds of a configuration have one source.
    """
    folder = path.parent
    if _RUN_FILE.fullmatch(path.name) and (
        _RUN_FOLDER.fullmatch(folder.name) or (folder / "config.yaml").is_file()
    ):
        return folder.parent
    return folder


@dataclass
class Reader:
    """Reads files one after the other; equal names, protocols and data share their memory.

    Attributes:
        states: sha256 of a file -> its state, as `recorded_states` gives them.
    """

    states: Mapping[str, str]
    _protocols: dict[str, ProtocolRecord] = field(default_factory=dict)
    _data: dict[DataRecord, DataRecord] = field(default_factory=dict)

    def read(self, path: Path) -> Entry | Bad:
        """Return what tables need of the result in a file, or why it is not a result."""
        try:
            text = read_bounded(path, LARGEST_READ)
            result = parse_result(text)
        except UsageError as error:
            return Bad(path, error.what)
        except ValueError as error:
            return Bad(path, str(error))
        reason = problem(result)
        if reason is not None:
            return Bad(path, reason)
        protocol = self._protocols.setdefault(result.protocol.hash, result.protocol)
        if protocol.fields != result.protocol.fields:
            return Bad(path, f"protocol {protocol.hash} has other fields in this file than in others")
        return self._entry(path, result, hashlib.sha256(text).hexdigest(), protocol)

    def _entry(self, path: Path, result: Result, sha256: str, protocol: ProtocolRecord) -> Entry:
        scores = {
            intern(column): Score(
                cell.value,
                None if cell.interval is None else (cell.interval.low, cell.interval.high),
                cell.bound,
                intern(cell.unranked),
            )
            for column, cell in result.metrics.items()
        }
        cost = {name: float(value) for name in _COSTS if (value := getattr(result.cost, name)) is not None}
        return Entry(
            path=path,
            sha256=sha256,
            source=intern(str(source_of(path))),
            state=self.states.get(sha256, STATES[0]),
            plugin=intern(result.plugin),
            family=intern(result.family),
            config_hash=intern(result.config_hash),
            seed=result.seed,
            data=self._data.setdefault(result.data, result.data),
            protocol=protocol,
            scores=scores,
            cost=cost,
            selected="" if result.selection is None else intern(result.selection.line),
        )


def result_files(root: Path) -> list[Path]:
    """Return every result*.json under a folder, in order; links to folders are not followed."""
    if not root.is_dir():
        return [root]
    found: list[str] = []
    folders = [str(root)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.name.startswith("result") and entry.name.endswith(".json"):
                        found.append(entry.path)
        except OSError:
            continue  # a folder that may not be read, or is gone
    return [Path(name) for name in sorted(found)]


def chosen_roots(roots: Sequence[Path]) -> Sequence[Path]:
    """Return the folders that results are looked for in: those that are named, or the runs here and results/.

    Raises:
        UsageError: where one that is named is not there.
    """
    for root in roots:
        if not root.exists():
            raise UsageError(
                f"no file or folder {str(root)!r}", "expected: a folder of runs, or a result file"
            )
    return roots or [root for root in (runs_root(), Path("results")) if root.exists()]


def collect(roots: Iterable[Path]) -> Collection:
    """Return the results in every result*.json under the roots; of one source, equal bytes count once.

    Equal bytes of several sources are all returned: a copy must not take the place of the file it was made
    of. `separate` leaves out rows that are copies.
    """
    reader = Reader(recorded_states())
    entries: list[Entry] = []
    bad: list[Bad] = []
    seen: set[tuple[str, str]] = set()
    with _without_collector():
        for path in (path for root in roots for path in result_files(root)):
            one = reader.read(path)
            if isinstance(one, Bad):
                bad.append(one)
            elif (one.source, one.sha256) not in seen:
                seen.add((one.source, one.sha256))
                entries.append(one)
    return Collection(entries, bad)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Switch the garbage collector off in the block: records have no cycles, and it would visit each."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
