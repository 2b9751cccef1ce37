"""How far a result is to be believed, and how that was found out.

A result says what somebody measured: it is `reported`. Who has the checkpoint draws the samples again from
their seeds and scores them again; the verdict is recorded in a file beside the result, never in it, and
holds for those very bytes only.

- reproduced: the samples came out bit for bit the same, and so did every figure, to 1e-6 of it.
- resampled: the samples came out the same, and their protocol can't be repeated here (a network's weights
  are missing, or the arithmetic has another version); or they differ by another machine's rounding, and every
  figure lies within the interval of the figure measured here (within 1 % where it has none).
- reported: all else.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo_core.errors import MachineError, UsageError, ZooError
from zoo_eval.results import Bad, Stored, read

STATES = ("reported", "resampled", "reproduced")
"""From the least to the best."""
TOLERANCE = 1e-6
"""Relative, of figures of the same samples."""
ROUNDING = 0.01
"""Relative, of a figure without an interval where another machine rounded the samples otherwise."""
MOST_DRAWN = 1_000_000
COUNTS = ("parameters", "images_seen", "nfe")
"""Costs that can be counted again; seconds and memory are the reporter's word."""


@dataclass(frozen=True)
class Verdict:
    """What verifying one result file found.

    Attributes:
        state: one of STATES.
        findings: what agrees and what does not, one line each.
        refuted: whether something that the file says was found to be wrong.
        file_sha256: of the file that was judged.
        time: in UTC.
    """

    state: str
    findings: tuple[str, ...]
    refuted: bool
    file_sha256: str
    time: str


def verdict_path(path: Path) -> Path:
    """Return where the verdict on a result file stands: `verdict-<its name>` beside it."""
    return path.with_name(f"verdict-{path.name}")


def state(stored: Stored) -> str:
    """Return "reported", "resampled" or "reproduced": what a verdict on the very bytes of the file says."""
    path = verdict_path(stored.path)
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))
        found = verdict["state"] if verdict["file_sha256"] == _digest(stored.path) else STATES[0]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return STATES[0]
    return found if found in STATES else STATES[0]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def verify(path: Path, run: Path | None = None, *, say: Callable[[str], None] = print) -> Verdict:
    """Check a result file and, with the run it is of at hand, measure it again; record the verdict beside it.

    Args:
        path: of a result or a submission.
        run: folder of the run, with its checkpoint.
        say: told what is done.

    Raises:
        UsageError: for a file that is no result, or a run that is another one than the file's.
        MachineError: for a run without a usable checkpoint, or where the verdict can't be written.
    """
    from zoo_core.training.checkpoint import write_atomic

    stored = read(path)
    if isinstance(stored, Bad):
        raise UsageError(f"{path} is no result: {stored.reason}", "expected: a file that zoo submit wrote")
    digest = _digest(path)
    result = stored.result
    hashed = "content_sha256" in result
    findings = [
        f"schema and hashes: well-formed{', and its content is as it was written' if hashed else ''}",
    ]
    found, refuted = STATES[0], False
    if run is not None:
        found, refuted, more = _repeat(result, run, say)
        findings += more
    verdict = Verdict(
        found, tuple(findings), refuted, digest, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    )
    if run is not None:
        write_atomic(verdict_path(path), json.dumps(asdict(verdict), indent=1).encode())
    return verdict


def _repeat(
    result: Mapping[str, Any], folder: Path, say: Callable[[str], None]
) -> tuple[str, bool, list[str]]:
    """Return (state, whether refuted, findings) of drawing and scoring again."""
    from zoo_core.runs import load
    from zoo_eval.scoring import draw, preflight, samples_hash, score

    _same_run(result, folder)
    config = _scored_as(result, folder)
    run = load(folder, say=say)
    run.config = config
    claimed = result["protocol"]
    try:
        here, _ = preflight(run)
        differences = [] if here.hash == claimed["hash"] else _differences(claimed["fields"], here.fields)
    except ZooError as error:  # a network's weights are not here, or the file names none that there is
        differences = [error.what]
    if differences:
        lines = [f"the protocol can't be repeated here: {line}" for line in differences]
        n = claimed["fields"].get("n_generated")
        if type(n) is not int or not 0 < n <= MOST_DRAWN:
            return (
                STATES[0],
                False,
                [f"samples: {n!r} of them are not drawn (at most {MOST_DRAWN:,})", *lines],
            )
        say(f"drawing {n:,} samples")
        same = samples_hash(draw(run, n).rows) == result.get("samples_sha256")
        if same:
            return STATES[1], False, ["samples: drawn again, bit for bit the same", *lines]
        return STATES[0], False, ["samples: drawn again, not the same bits", *lines]
    again = score(run)
    same = again["samples_sha256"] == result.get("samples_sha256")
    wrong = disagreements(result, again, exactly=same)
    drawn = "bit for bit the same" if same else "not the same bits (another machine rounds differently)"
    findings = [f"samples: drawn again, {drawn}", *wrong]
    if wrong:
        return STATES[0], True, findings
    count = len(figures(again))
    if same:
        return STATES[2], False, [*findings, f"figures: {count} measured again, all agree to {TOLERANCE:g}"]
    return STATES[1], False, [*findings, f"figures: {count} measured again, all within their intervals"]


def _same_run(result: Mapping[str, Any], folder: Path) -> None:
    """Raise where a folder holds another run than the one that a result is of.

    Raises:
        UsageError: naming what differs.
    """
    from zoo_core.resolution import config_hash
    from zoo_core.runs import saved_config
    from zoo_core.training import checkpoint

    config = saved_config(folder)
    saved = checkpoint.listed(folder / "checkpoints")
    if not saved:
        raise MachineError(f"{folder} has no checkpoint", "expected: the folder of a finished run")
    there = {
        "plugin": config.plugin,
        "data": config.data.name,
        "config_hash": config_hash(config),
        "seed": config.seed,
        "weights_sha256": checkpoint.verify(saved[-1])["weights.safetensors"],
    }
    wrong = [
        f"{name}: {value} in the run, {result.get(name)} in the file"
        for name, value in there.items()
        if result.get(name) != value
    ]
    if wrong:
        raise UsageError(f"{folder} is not the run of that file", *wrong, "expected: --run with its own run")


def _scored_as(result: Mapping[str, Any], folder: Path) -> Any:
    """Return the run's config with the evaluation that a result was measured under."""
    from zoo_core.resolution import resolve

    fields = result["protocol"]["fields"]
    asked = {
        "eval.protocol": result["protocol"]["name"],
        "eval.extractor": fields.get("extractor"),
        "eval.weights": fields.get("weights"),
        "eval.iwae_k": fields.get("iwae_k"),
        "eval.ode_probe": fields.get("ode_probe"),
        "eval.ode_probes": fields.get("ode_probes"),
        "eval.ode_tolerance": fields.get("ode_tolerance"),
    }
    given = {key: value for key, value in asked.items() if value is not None}
    return resolve({"config": str(folder), **given})


def _differences(claimed: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    from zoo_eval.leaderboard import protocol_differences

    return [f"{line} (there and here)" for line in protocol_differences(claimed, here)]


def figures(result: Mapping[str, Any]) -> dict[str, tuple[float, float | None]]:
    """Return name -> (value, half its interval's width or None) of all that can be measured again."""
    found: dict[str, tuple[float, float | None]] = {}
    for name, cell in result["metrics"].items():
        low, high = cell.get("low"), cell.get("high")
        found[name] = (cell["value"], None if low is None or high is None else (high - low) / 2)
    for record in result.get("likelihood", []):
        unit = "bits_per_dim" if "bits_per_dim" in record else "nats"
        error = record.get("se")
        found[f"{record['name']} {unit}"] = (record[unit], None if error is None else 2 * error)
    found["floor"] = (result["floor"]["value"], 0.0)  # of real pictures: samples do not move it
    found |= {name: (result["cost"][name], 0.0) for name in COUNTS if name in result["cost"]}
    return found


def disagreements(claimed: Mapping[str, Any], again: Mapping[str, Any], *, exactly: bool) -> list[str]:
    """Return a line for each figure that was claimed and not found again."""
    theirs, ours = figures(claimed), figures(again)
    lines = []
    for name in sorted({*theirs, *ours}):
        if name not in theirs or name not in ours:
            lines.append(f"{name}: {'claimed' if name in theirs else 'measured'} only")
            continue
        (value, _), (found, width) = theirs[name], ours[name]
        allowed = TOLERANCE * max(abs(found), TOLERANCE)
        if not exactly:
            allowed = max(allowed, ROUNDING * abs(found) if width is None else width)
        if not math.isclose(value, found, rel_tol=0, abs_tol=allowed):
            lines.append(f"{name}: {value:.9g} claimed, {found:.9g} measured again")
    before, after = claimed["memorisation"]["memorises"], again["memorisation"]["memorises"]
    if before != after:
        lines.append(f"memorises: {before} claimed, {after} measured again")
    return lines
