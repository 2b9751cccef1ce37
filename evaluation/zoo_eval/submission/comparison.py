"""A result's claims beside what its run says, and beside the same run scored again."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo_core.config import DEFAULT_METRICS, flatten
from zoo_core.config.privacy import public
from zoo_core.registry.manager import manager
from zoo_core.registry.metrics import base_name
from zoo_core.registry.resolution import deciding, plain
from zoo_core.results import Result, Value
from zoo_core.results.records import config_record
from zoo_eval.store.states import STATES
from zoo_eval.verdicts import memorizes

if TYPE_CHECKING:  # a file alone is checked without torch
    from zoo_core.interfaces import EvaluatedRun

TOLERANCE = 1e-6
"""Relative, of values of the same samples."""
ROUNDING = 0.01
"""Relative, of a value without an interval where another machine rounded the samples otherwise."""
COUNTS = ("parameters", "images_seen", "nfe")
"""Costs that are counted again; seconds and memory are the reporter's word."""
NOISE_VERSION = "noise_version"
"""Field of `SamplingRecord`: samples of another version can't be drawn again by this one."""
PRECISION = "sampling.precision"
"""Statement that earlier results make of `train.precision`."""
LATER = ("FD to train part", "FID to train part", "generalization gap")
"""Base names of unranked columns that the first results of metrics version 3 do not have: computing them is
no disagreement with such a result."""
MEMORIZATION = "memorization"
"""The metric that is computed of every result, whichever it was scored by."""


class Repeated(NamedTuple):
    """What sampling and scoring again found: see `Verdict`."""

    state: str
    refuted: bool
    findings: list[str]


def misstatements(result: Result, run: EvaluatedRun) -> list[str]:
    """Return a line for each fact that a result states otherwise than its run.

    The facts are family, options, data and sampling, which the hash of no protocol covers. Earlier results
    have the precision of training as that of sampling: it is not counted against them.
    """
    from zoo_eval.pipeline import data_record
    from zoo_eval.rescoring import identity_of

    own = identity_of(run)
    claimed, known = {"family": result.family}, {"family": own.family}
    for name, theirs, ours in (
        ("data", result.data, data_record(run.data, run.config)),
        ("sampling", result.sampling, own.sampling),
    ):
        left_out = {"clipped", NOISE_VERSION}  # found by sampling
        claimed |= flatten({name: theirs.model_dump(exclude=left_out)})
        known |= flatten({name: ours.model_dump(exclude=left_out)})
    if claimed[PRECISION] == run.config.train.precision:
        known.pop(PRECISION)
    options = config_record(deciding(plain(run.config)))
    for key in options.keys() & result.config.keys():
        known[f"config.{key}"] = public(options[key], key.rpartition(".")[2])
        claimed[f"config.{key}"] = public(result.config[key], key.rpartition(".")[2])
    return [
        f"{name}: {claimed[name]!r} claimed, {value!r} in the run"
        for name, value in sorted(known.items())
        if claimed[name] != value
    ]


def compare(claimed: Result, again: Result) -> Repeated:
    """Return what a result's claims are worth beside the same run scored again."""
    same = again.samples_sha256 == claimed.samples_sha256
    wrong = disagreements(claimed, again, exactly=same)
    drawn = "bit for bit the same" if same else "not the same bits (another machine rounds differently)"
    findings = [f"samples: drawn again, {drawn}", *wrong]
    if wrong:
        return Repeated(STATES[0], True, findings)
    theirs, ours = values(claimed), values(again)
    compared = [width for name, (_, width) in ours.items() if name in theirs]
    if same:
        agree = f"values: {len(compared)} computed again, all agree to {TOLERANCE:g}"
        return Repeated(STATES[2], False, [*findings, agree])
    count = Counter("none" if width is None else "some" if width else "equal" for width in compared)
    agree = (
        f"values: {len(compared)} computed again: {count['some']} within the intervals computed here, "
        f"{count['none']} without an interval within {ROUNDING:.0%}, {count['equal']} equal"
    )
    return Repeated(STATES[1], False, [*findings, agree])


def values(result: Result) -> dict[str, tuple[float, float | None]]:
    """Return name -> (value, half its interval's width or None) of all that is computed again."""
    found: dict[str, tuple[float, float | None]] = {}
    for name, cell in result.metrics.items():
        if cell.interval is not None:
            width: float | None = (cell.interval.high - cell.interval.low) / 2
        elif base_name(name) == "noise floor":
            width = 0.0  # of real images: the samples do not move it
        else:
            width = None if cell.standard_error is None else 2 * cell.standard_error
        found[name] = (cell.value, width)
    counts = {name: getattr(result.cost, name) for name in COUNTS}
    return found | {name: (float(count), 0.0) for name, count in counts.items() if count is not None}


def asked_metrics(result: Result) -> list[str] | None:
    """Return the installed metrics that a result was scored by, and `MEMORIZATION`; None for the default."""
    names = result.config.get("eval.metrics")
    if not isinstance(names, list):
        return None
    here = {DEFAULT_METRICS, *(entry.spec.name for entry in manager().entries("metric"))}
    return [str(name) for name in dict.fromkeys([*names, MEMORIZATION]) if name in here]


def disagreements(claimed: Result, again: Result, *, exactly: bool) -> list[str]:
    """Return a line for each value that was claimed and not found again.

    Args:
        exactly: whether the samples were the same, so that the values and their intervals must be.
    """
    theirs, ours = values(claimed), values(again)
    added = {*LATER, *_added(claimed)}
    lines = []
    for name in sorted({*theirs, *ours}):
        if name not in theirs and base_name(name) in added:
            continue
        if name not in theirs or name not in ours:
            lines.append(f"{name}: {'claimed' if name in theirs else 'computed'} only")
            continue
        (value, _), (found, width) = theirs[name], ours[name]
        allowed = TOLERANCE * max(abs(found), TOLERANCE)
        if not exactly:
            allowed = max(allowed, ROUNDING * abs(found) if width is None else width)
        if not math.isclose(value, found, rel_tol=0, abs_tol=allowed):
            lines.append(f"{name}: {value:.9g} claimed, {found:.9g} computed again")
    before, after = memorizes(claimed), memorizes(again)
    if before != after and (after or MEMORIZATION not in added):
        lines.append(f"memorizes: {before} claimed, {after} computed again")
    for column in claimed.metrics.keys() & again.metrics.keys():
        one, other = claimed.metrics[column], again.metrics[column]
        lines += [
            f"{column}: {name}={getattr(one, name)!r} claimed; {getattr(other, name)!r}"
            for name in ("bound", "unranked", "n")
            if getattr(one, name) != getattr(other, name)
        ]
        lines += [f"{column}: {line}" for line in _spread_disagreements(one, other)] if exactly else []
    return lines


def _added(claimed: Result) -> set[str]:
    """Return the base names of columns that are computed although a result was not scored by their metric."""
    names: Any = claimed.config.get("eval.metrics")
    if not isinstance(names, list) or not {MEMORIZATION, DEFAULT_METRICS}.isdisjoint(map(str, names)):
        return set()
    specs = (entry.spec for entry in manager().entries("metric"))
    return {base for spec in specs if spec.name == MEMORIZATION for base in spec.directions}


def _spread_disagreements(claimed: Value, again: Value) -> list[str]:
    """Return a line for each end of an interval, or standard error, that differs; of the same samples."""
    theirs, ours = _spread(claimed), _spread(again)
    allowed = TOLERANCE * max(abs(again.value), *map(abs, ours.values()), TOLERANCE)
    return [
        f"{name}={theirs.get(name)} claimed, {ours.get(name)} computed again"
        for name in sorted({*theirs, *ours})
        if not (name in theirs and name in ours and abs(theirs[name] - ours[name]) <= allowed)
    ]


def _spread(cell: Value) -> dict[str, float]:
    ends = {} if cell.interval is None else {"low": cell.interval.low, "high": cell.interval.high}
    return ends if cell.standard_error is None else {**ends, "standard_error": cell.standard_error}
