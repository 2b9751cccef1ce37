"""Verifying a result: sampling and scoring its run again.

A result says what somebody reports. Who has the checkpoint draws the samples again from their seeds and
scores them again; the verdict is recorded in the user's own store (`zoo_eval.store.states`) and holds for
those very bytes only.

- reproduced: the samples are the same, bit for bit, and every value, interval and standard error agrees to
  1e-6 of it.
- resampled: the samples are the same, and their protocol can't be repeated here (a network's weights are
  missing, or the metrics have another version); or they differ by another machine's rounding, and every
  value lies within the interval of the value computed here (within 1 % where it has none).
- reported: all else.

With `spot`, segments of a reproduced result's training are executed again too, by the plugin that implements
`zoo_reexecute`:

- audited: bit for bit the same, on a CPU.
- consistent: the same within tolerance.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from zoo_core.config import EvalConfig, RunConfig
from zoo_core.errors import MachineError, UsageError, ZooError
from zoo_core.results import Reexecution, Result, read_result
from zoo_core.results.result import Scalar
from zoo_eval.store.limits import problem
from zoo_eval.store.states import STATES, Verdict, record
from zoo_eval.submission.comparison import NOISE_VERSION, Repeated, asked_metrics, compare, misstatements
from zoo_eval.submission.submit import check_data

SCORED_AS = (
    "extractor", "weights", "iwae_k", "ode_probe", "ode_probes", "ode_tolerance", "memorization_n",
)  # fmt: skip
"""Fields of a protocol that are options of the evaluation under the same name."""
MOST_SAMPLES = 1_000_000
"""Samples that are drawn for a result whose protocol can't be repeated here."""


def verify(
    path: Path, run: Path | None = None, *, spot: int | None = None, say: Callable[[str], None] = print
) -> Verdict:
    """Check a result file and, given its run, sample and score it again; record the verdict in the user's
    store.

    Args:
        path: of a result or a submission.
        run: folder of the run, with its checkpoint, or of its bundle.
        spot: segments of the training that are drawn and executed again, beside the first and the last; None
            to execute none.
        say: told what is done.

    Raises:
        UsageError: for a file that is not a result, a run that is another one than the file's, or data that
            changed since the run was made.
        MachineError: for a run without a usable checkpoint, or where the verdict can't be written.
    """
    if path.is_dir():
        made = (path / "result.json").is_file()
        raise UsageError(
            f"{path} is a folder",
            "expected: a result file",
            f"next: zoo verify {path / 'result.json'} --run {path}" if made else "",
        )
    result = read_result(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    reason = problem(result)
    if reason is not None:
        raise UsageError(f"{path} is not a result: {reason}")
    hashed = "" if result.content_sha256 is None else ", content as it was written"
    findings = [f"schema and hashes: well-formed{hashed}"]
    repeated, training = Repeated(STATES[0], False, []), None
    if spot is not None and (run is None or result.audit is None):
        raise UsageError(
            f"no training of {path} can be executed again",
            "expected: --run with its own run, and a run that was trained with train.audit=STEPS",
        )
    if run is not None:
        from zoo_core.runs.exchange import run_folder

        folder = run_folder(str(run))
        repeated = _repeat(result, folder, say)
        if spot is not None and repeated.state == STATES[0]:
            left_out = "training: not executed again, as the samples or scores are not those of the result"
            repeated = repeated._replace(findings=[*repeated.findings, left_out])
        elif spot is not None:
            training = _reexecuted(result, folder, spot, say)
            repeated = _with_training(repeated, training)
    verdict = Verdict(
        state=repeated.state,
        findings=(*findings, *repeated.findings),
        refuted=repeated.refuted,
        file_sha256=digest,
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        training=training,
    )
    if run is not None:
        state = record(verdict)
        if state != verdict.state:
            say(f"an earlier verdict on this file is better and stays recorded: {state}")
    return verdict


def _repeat(result: Result, folder: Path, say: Callable[[str], None]) -> Repeated:
    from zoo_core.runs import load
    from zoo_core.seeds import Seeds
    from zoo_eval.pipeline import evaluate, prepare
    from zoo_eval.rescoring import identity_of
    from zoo_eval.sampling import sample, samples_hash, source_of

    note = result.provenance.notes.get("parts")
    if note is not None:
        return Repeated(STATES[0], False, [note])
    _same_run(result, folder)
    say("hashing the data")
    check_data(result, folder)
    run = load(folder, config=_scored_as(result, folder), say=say)
    wrong = misstatements(result, run)
    if wrong:
        return Repeated(STATES[0], True, wrong)
    source = replace(source_of(run), folder=None)
    claimed = result.protocol
    try:
        setup = prepare(source)
        here = setup.protocol.record
        differences = [] if here.hash == claimed.hash else _differences(claimed.fields, here.fields)
    except ZooError as error:  # a network's weights are not here, or the file names one that does not exist
        differences = [error.what]
    noise = result.sampling.noise_version
    if noise != Seeds.version:
        differences.append(f"sampling.{NOISE_VERSION}: {noise} and {Seeds.version} (there and here)")
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
        if noise != Seeds.version:
            false = f"sampling.{NOISE_VERSION}: {noise!r} claimed, {Seeds.version} draws these samples"
            return Repeated(STATES[0], True, [false])
        return Repeated(STATES[1], False, ["samples: drawn again, bit for bit the same", *lines])
    return Repeated(STATES[0], False, ["samples: drawn again, not the same bits", *lines])


def _reexecuted(result: Result, folder: Path, spot: int, say: Callable[[str], None]) -> Reexecution:
    from zoo_core.events import Events
    from zoo_core.registry.manager import manager

    asked = {"result": result, "folder": folder, "spot": spot}
    found: Reexecution | None = Events(manager(), say).first("zoo_reexecute", **asked)
    if found is None:
        raise UsageError("no installed plugin executes training again", "next: zoo plugins")
    return found


def _with_training(repeated: Repeated, training: Reexecution) -> Repeated:
    """Return what sampling and scoring found, raised or refuted by what training again found.

    Only what is reproduced can rise: of other samples it is not known whether the audited weights made them.
    """
    findings = [*repeated.findings, *training.findings]
    if training.outcome == "refuted":
        return Repeated(STATES[0], True, findings)
    above = {"exact": STATES[4], "consistent": STATES[3]}.get(training.outcome)
    state = above if above is not None and repeated.state == STATES[2] else repeated.state
    return Repeated(state, repeated.refuted, findings)


def _same_run(result: Result, folder: Path) -> None:
    """Raise where a folder holds another run than the one that a result is of.

    Raises:
        UsageError: naming what differs.
    """
    from zoo_core.registry.resolution import config_hash, resolve
    from zoo_core.runs.best import checkpoints_of
    from zoo_core.training import checkpoint

    config = resolve({"config": str(folder), **_weights_of(result)})
    saved = checkpoint.listed(checkpoints_of(folder, config))
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


def _weights_of(result: Result) -> dict[str, Any]:
    """Return the options that chose a result's weights among those that its run kept."""
    from zoo_eval.rescoring import WEIGHTS

    return {key: result.config[key] for key in WEIGHTS if key in result.config}


def _scored_as(result: Result, folder: Path) -> RunConfig:
    """Return the run's config with the evaluation that a result was scored under."""
    from zoo_core.registry.resolution import resolve

    ode, fields = result.config.get("eval.ode"), result.protocol.fields
    asked = {
        "eval.protocol": fields.get("name"),
        **{f"eval.{name}": fields.get(name) for name in SCORED_AS},
        "eval.ode": ode if ode in get_args(EvalConfig.model_fields["ode"].annotation) else "auto",
    }
    given = {key: value for key, value in asked.items() if value is not None}
    chosen = {**_weights_of(result), **given, "eval.metrics": asked_metrics(result)}
    return resolve({"config": str(folder), **chosen})


def _differences(claimed: Mapping[str, Scalar], here: Mapping[str, Scalar]) -> list[str]:
    from zoo_eval.leaderboard.table import protocol_differences

    return [f"{line} (there and here)" for line in protocol_differences(claimed, here)]
