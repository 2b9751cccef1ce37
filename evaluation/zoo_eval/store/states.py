"""How far a result is verified: recorded by the sha256 of its file, outside every folder that it can come
from.

A file beside a result proves nothing, because whoever wrote the result can write it too. `zoo verify`
records in the user's own store, under ZOO_HOME/verdicts. The states of the results that are committed with
the code are shipped in `verified.json`, which `ci/verified.py` checks.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from zoo_core.config import strict_json
from zoo_core.errors import ZooError
from zoo_core.home import home
from zoo_core.machine.files import write_atomic
from zoo_core.results import Reexecution

STATES = ("reported", "resampled", "reproduced", "consistent", "audited")
"""From the least to the most verified."""
TIERS = STATES[:3]
"""States that order rows, from the least: what is verified beyond `reproduced` is ordered with it."""
SHIPPED = "verified.json"
LARGEST = 1 << 16
"""Bytes of a recorded verdict."""

_NAME = re.compile(r"([0-9a-f]{64})\.json")


def tier_of(state: str) -> str:
    """Return the one of `TIERS` that files of a state belong to."""
    return state if state in TIERS else TIERS[-1]


@dataclass(frozen=True)
class Verdict:
    """What verifying one result file found.

    Attributes:
        state: one of `STATES`.
        findings: what agrees and what does not, one line each.
        refuted: whether something that the file says was found to be wrong.
        file_sha256: of the file that was verified.
        time: in UTC.
        training: what executing segments of the training again found; None where that was not asked for.
    """

    state: str
    findings: tuple[str, ...]
    refuted: bool
    file_sha256: str
    time: str
    training: Reexecution | None = None


def verdicts_folder() -> Path:
    """Return the folder of the user's own verdicts; it may not exist."""
    return home() / "verdicts"


def record(verdict: Verdict) -> str:
    """Record a verdict in the user's own store and return the state that is recorded there.

    A better verdict on the same bytes stays: what was reproduced once does not become less true. Of two
    audits the one with more segments is the better one.

    Raises:
        MachineError: where it can't be written.
    """
    path = verdicts_folder() / f"{verdict.file_sha256}.json"
    before = _strength(path, verdict.file_sha256)
    executed = 0 if verdict.training is None else len(verdict.training.executed)
    if before is not None and before > (STATES.index(verdict.state), executed):
        return STATES[before[0]]
    write_atomic(path, json.dumps(asdict(verdict), indent=1).encode(), parents=True)
    return verdict.state


@cache
def shipped() -> Mapping[str, str]:
    """Return sha256 -> state of the results that are committed with the code."""
    listed = json.loads(files("zoo_eval.store").joinpath(SHIPPED).read_text(encoding="utf-8"))
    return {sha256: state for state in STATES[1:] for sha256 in listed[state]}


def recorded_states() -> dict[str, str]:
    """Return sha256 -> state of every file that was verified by the user, or is listed with the code."""
    found = dict(shipped())
    for sha256, state in _own():
        found[sha256] = max(state, found.get(sha256, state), key=STATES.index)
    return found


def _own() -> Iterator[tuple[str, str]]:
    try:
        names = os.listdir(verdicts_folder())
    except OSError:
        return
    for name in names:
        match = _NAME.fullmatch(name)
        found = _strength(verdicts_folder() / name, match[1]) if match else None
        if match and found is not None:
            yield match[1], STATES[found[0]]


def _strength(path: Path, sha256: str) -> tuple[int, int] | None:
    """Return the index of a recorded verdict's state and how many segments of training it executed.

    None for a damaged file or a verdict on another one.
    """
    try:
        verdict = strict_json.read(path, LARGEST)
        state = verdict["state"] if verdict["file_sha256"] == sha256 else None
        training = verdict.get("training")
        executed = 0 if training is None else len(training["executed"])
    except (ZooError, KeyError, TypeError, AttributeError):
        return None
    return (STATES.index(state), executed) if state in STATES else None
