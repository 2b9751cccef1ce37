"""Verifying a result: sampling and scoring its run again.

A result says what somebody reports. Who has the checkpoint draws the samples again from their seeds and
scores them again; the verdict is recorded in the user's own store (`zoo_eval.store.states`) and holds for
those very bytes only.

- reproduced: the samples are the same, bit for bit, and every value agrees to 1e-6 of it.
- resampled: the samples are the same, and their protocol can't be repeated here (a network's weights are
  missing, or the metrics have another version); or they differ by another machine's rounding, and every
  value lies within the interval of the value computed here (within 1 % where it has none).
- reported: all else.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from zoo_core.config import RunConfig
from zoo_core.errors import MachineError, UsageError, ZooError
from zoo_core.registry.metrics import base_name
from zoo_core.results import Result, read_result
from zoo_core.results.result import Scalar
from zoo_eval.store.limits import problem
from zoo_eval.store.states import STATES, Verdict, record
from zoo_eval.submission.data import check_data
from zoo_eval.verdicts import memorizes

TOLERANCE = 1e-6
"""Relative, of values of the same samples."""
ROUNDING = 0.01
"""Relative, of a value without an interval where another machine rounded the samples otherwise."""
MOST_SAMPLES = 1_000_000
COUNTS = ("parameters", "images_seen", "nfe")
"""Costs that are counted again; seconds and memory are the reporter's word."""


class Repeated(NamedTuple):
    """What sampling and scoring again found: see `Verdict`."""

    state: str
    refuted: bool
    findings: list[str]


def verify(path: Path, run: Path | None = None, *, say: Callable[[str], None] = print) -> Verdict:
    """Check a result file and, given its run, sample and score it again; record the verdict in the user's
    store.

    Args:
        path: of a result or a submission.
        run: folder of the run, with its checkpoint.
        say: told what is done.

    Raises:
        UsageError: for a file that is not a result, a run that is another one than the file's, or data that
            changed since the run was made.
        MachineError: for a run without a usable checkpoint, or where the verdict can't be written.
    """
    result = read_result(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    reason = problem(result)
    if reason is not None:
        raise UsageError(f"{path} is not a result: {reason}")
    hashed = "" if result.content_sha256 is None else ", content as it was written"
    findings = [f"schema and hashes: well-formed{hashed}"]
    repeated = Repeated(STATES[0], False, []) if run is None else _repeat(result, run, say)
    verdict = Verdict(
        state=repeated.state,
        findings=(*findings, *repeated.findings),
        refuted=repeated.refuted,
        file_sha256=digest,
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    if run is not None:
        record(verdict)
    return verdict


def _repeat(result: Result, folder: Path, say: Callable[[str], None]) -> Repeated:
    from zoo_core.runs import load
    from zoo_eval.context import sample, samples_hash, source_of
    from zoo_eval.pipeline import evaluate, prepare
    from zoo_eval.rescoring import identity_of

    _same_run(result, folder)
    say("hashing the data")
    check_data(result, folder)
    run = load(folder, say=say)
    run.config = _scored_as(result, folder)
    source = replace(source_of(run), folder=None)
    claimed = result.protocol
    try:
        setup = prepare(source)
        here = setup.protocol.record
        differences = [] if here.hash == claimed.hash else _differences(claimed.fields, here.fields)
    except ZooError as error:  # a network's weights are not here, or the file names one that does not exist
        differences = [error.what]
    if not differences:
        say(f"sampling {setup.protocol.n_generated:,} and scoring")
        return compare(result, evaluate(source, identity_of(run), setup))
    lines = [f"the protocol can't be repeated here: {line}" for line in differences]
    n = claimed.fields.get("n_generated")
    if isinstance(n, bool) or not isinstance(n, int) or not 0 < n <= MOST_SAMPLES:
        return Repeated(
            STATES[0], False, [f"samples: {n!r} are not drawn (at most {MOST_SAMPLES:,})", *lines]
        )
    say(f"sampling {n:,}")
    if samples_hash(sample(source, n).rows) == result.samples_sha256:
        return Repeated(STATES[1], False, ["samples: drawn again, bit for bit the same", *lines])
    return Repeated(STATES[0], False, ["samples: drawn again, not the same bits", *lines])


def compare(claimed: Result, again: Result) -> Repeated:
    """Return what a result's claims are worth beside the same run scored again."""
    same = again.samples_sha256 == claimed.samples_sha256
    wrong = disagreements(claimed, again, exactly=same)
    drawn = "bit for bit the same" if same else "not the same bits (another machine rounds differently)"
    findings = [f"samples: drawn again, {drawn}", *wrong]
    if wrong:
        return Repeated(STATES[0], True, findings)
    count = len(values(again))
    if same:
        return Repeated(
            STATES[2], False, [*findings, f"values: {count} computed again, all agree to {TOLERANCE:g}"]
        )
    return Repeated(
        STATES[1], False, [*findings, f"values: {count} computed again, all within their intervals"]
    )


def _same_run(result: Result, folder: Path) -> None:
    """Raise where a folder holds another run than the one that a result is of.

    Raises:
        UsageError: naming what differs.
    """
    from zoo_core.registry.resolution import config_hash
    from zoo_core.runs import saved_config
    from zoo_core.training import checkpoint

    config = saved_config(folder)
    saved = checkpoint.listed(folder / "checkpoints")
    if not saved:
        raise MachineError(f"{folder} has no checkpoint", "expected: the folder of a finished run")
    there = {
        "plugin": config.plugin,
        "config_hash": config_hash(config),
        "seed": config.seed,
        "weights_sha256": checkpoint.verify(saved[-1])["weights.safetensors"],
    }
    claimed: dict[str, Any] = {name: getattr(result, name) for name in there}
    there["data"], claimed["data"] = config.data.name, result.data.name
    wrong = [
        f"{name}: {value} in the run, {claimed[name]} in the file"
        for name, value in there.items()
        if claimed[name] != value
    ]
    if wrong:
        raise UsageError(f"{folder} is not the run of that file", *wrong, "expected: --run with its own run")


def _scored_as(result: Result, folder: Path) -> RunConfig:
    """Return the run's config with the evaluation that a result was scored under."""
    from zoo_core.registry.resolution import resolve

    fields = result.protocol.fields
    asked = {
        "eval.protocol": fields.get("name"),
        "eval.extractor": fields.get("extractor"),
        "eval.weights": fields.get("weights"),
        "eval.iwae_k": fields.get("iwae_k"),
        "eval.ode_probe": fields.get("ode_probe"),
        "eval.ode_probes": fields.get("ode_probes"),
        "eval.ode_tolerance": fields.get("ode_tolerance"),
        "eval.memorization_n": fields.get("memorization_n"),
    }
    given = {key: value for key, value in asked.items() if value is not None}
    return resolve({"config": str(folder), **given})


def _differences(claimed: Mapping[str, Scalar], here: Mapping[str, Scalar]) -> list[str]:
    from zoo_eval.leaderboard.table import protocol_differences

    return [f"{line} (there and here)" for line in protocol_differences(claimed, here)]


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


def disagreements(claimed: Result, again: Result, *, exactly: bool) -> list[str]:
    """Return a line for each value that was claimed and not found again.

    Args:
        exactly: whether the samples were the same, so that the values must be.
    """
    theirs, ours = values(claimed), values(again)
    lines = []
    for name in sorted({*theirs, *ours}):
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
    if before != after:
        lines.append(f"memorizes: {before} claimed, {after} computed again")
    for name in ("bound", "unranked"):
        lines += [
            f"{column}: {name}={getattr(cell, name)!r} claimed; {getattr(again.metrics[column], name)!r}"
            for column, cell in claimed.metrics.items()
            if column in again.metrics and getattr(cell, name) != getattr(again.metrics[column], name)
        ]
    return lines
