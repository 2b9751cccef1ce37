"""Scoring a trained run, at its end or again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from zoo_core.config import RunConfig, flatten
from zoo_core.errors import MachineError, UsageError
from zoo_core.interfaces import EvaluatedRun
from zoo_core.registry.metrics import optional_metrics
from zoo_core.registry.resolution import config_hash, plain, resolve
from zoo_core.results import (
    Cost,
    Result,
    SamplingRecord,
    TrainingAudit,
    merged,
    recorded,
    recorded_result,
    write_result,
)
from zoo_core.results.records import config_record, provenance_record
from zoo_core.runs import load, saved_config
from zoo_core.runs.best import checkpoints_of, selection_of
from zoo_core.runs.exchange import run_folder
from zoo_core.seeds import Seeds
from zoo_core.training import checkpoint
from zoo_eval.pipeline import Identity, evaluate
from zoo_eval.protocol import with_protocol
from zoo_eval.sampling import source_of

FREE = ("sample.batch_size", "data.root")
"""Options beside eval.* that do not change a run's samples."""
WEIGHTS = ("sample.checkpoint", "sample.ema_length")
"""Options that choose among the weights that a run kept: such a result is an entry of its own. Any other
option would make it another run."""


def identity_of(run: EvaluatedRun) -> Identity:
    """Return whose result a run's is."""
    config = run.config
    selection = selection_of(run.dir, config)
    return Identity(
        plugin=config.plugin,
        family=run.spec.family,
        seed=config.seed,
        config_hash=config_hash(config),
        cost=Cost(**run.cost, search_seconds=None if selection is None else selection.seconds),
        provenance=provenance_record(run.provenance),
        sampling=SamplingRecord(
            noise_version=Seeds.version,
            sampler=config.sampler.name,
            steps=config.sample.steps,
            seed=config.sample.seed,
            weights=config.eval.weights,
            precision=config.sample.precision,
            guidance_scale=getattr(config.sample, "guidance_scale", None),
        ),
        config=config_record(flatten(plain(config))),
        selection=selection,
        # The audited states fix the weights of the last checkpoint, and neither earlier ones nor snapshots.
        audit=recorded(TrainingAudit, run.dir) if _is_last(config) else None,
    )


def _is_last(config: RunConfig) -> bool:
    return config.sample.checkpoint == "last" and config.sample.ema_length is None


def score(run: EvaluatedRun) -> Result:
    """Return the result of a trained run, under the protocol that its config asks for.

    Raises:
        ZooError: as `pipeline.evaluate`.
    """
    return evaluate(source_of(run), identity_of(run))


def rescore(run: str | Path, words: Mapping[str, str], *, say: Callable[[str], None] = print) -> Result:
    """Score a run under changed `eval.*` options, or with other weights of it, and record the result.

    Args:
        run: folder of a finished run or of a bundle, or `hf://user/name[@revision]`.
        words: dotted key -> text; `protocol=` is short for `eval.protocol=`. `WEIGHTS` choose its weights.
        say: receives progress and warnings.

    Returns:
        The result. It is recorded in result.json where the run has none, or where the result there has the
        same protocol and samples, whose columns are then kept (`results.merged`); else in
        result-<protocol hash>.json, and in result-<protocol hash>-<config hash>.json if it is of other
        weights than the run's own.

    Raises:
        UsageError: for an option that would change the samples, or where there is no run.
        Mistakes: for unknown options and bad values.
        MachineError: where the run has no usable checkpoint.
    """
    folder = run_folder(str(run))
    config = _config(folder, with_protocol(words))
    if config.eval.protocol == "none":
        raise UsageError(f"{folder} has eval.protocol=none", f"next: zoo eval {folder} protocol=quick")
    made = load(folder, config=config, say=say)
    its_own = config_hash(config) == config_hash(saved_config(folder))
    source = source_of(made)
    result = evaluate(source if its_own else replace(source, folder=None), identity_of(made))
    own = recorded_result(folder / "result.json") if its_own else None
    attached = {} if own is None else own.attachments
    result = result.model_copy(
        update={
            "weights_sha256": _weights_sha256(checkpoints_of(folder, config)),
            "attachments": {**attached, **result.attachments},
        }
    )
    if not its_own:
        path = folder / f"result-{result.protocol.hash}-{result.config_hash}.json"
    elif own is None or own.protocol.hash == result.protocol.hash:
        path = folder / "result.json"
    else:
        path = folder / f"result-{result.protocol.hash}.json"
    return _recorded(result, path, say)


def _config(folder: Path, words: Mapping[str, str]) -> RunConfig:
    """Return the config of a run with other options of its scoring, or other weights.

    Raises:
        UsageError, Mistakes: as `rescore`.
    """
    saved = saved_config(folder)
    config = resolve({"config": str(folder), **words}) if words else saved
    for key in words:
        if not key.startswith("eval.") and key not in (*FREE, *WEIGHTS):
            raise UsageError(
                f"{key!r} changes the run, not how it is scored",
                f"expected: eval.KEY, {', '.join((*FREE, *WEIGHTS))}",
                f"next: zoo run config={folder} {key}={words[key]}",
            )
    return config


def _weights_sha256(checkpoints: Path) -> str:
    """Return the SHA-256 of the raw weights that `load` reads: of the newest checkpoint that is intact.

    Raises:
        MachineError: where there is none.
    """
    for path in reversed(checkpoint.listed(checkpoints)):
        with contextlib.suppress(MachineError):
            return checkpoint.verify(path)[checkpoint.WEIGHTS]
    raise MachineError(
        f"{checkpoints} has no intact checkpoint", f"next: zoo run resume={checkpoints.parent}"
    )


def _recorded(result: Result, path: Path, say: Callable[[str], None]) -> Result:
    """Write a result, with what the file holds of the same samples and protocol, and return it.

    A file that already holds every value is left as it is: a verdict on it holds for its bytes.
    """
    before = recorded_result(path)
    if before is None:
        whole = result
    elif before.samples_sha256 == result.samples_sha256:
        whole = merged(before, result, optional_metrics())
        if (whole.metrics, whole.not_applicable) == (before.metrics, before.not_applicable):
            say(f"recorded before, with the same values: {path}")
            return whole
    elif before.weights_sha256 == result.weights_sha256:
        say(f"warning: not recorded: the samples differ from those of {path}, of the same weights")
        say("next: move that file, and score again")
        return result
    else:
        whole = result
        say(f"warning: {path} was of other weights and is replaced")
    write_result(whole, path)
    say(f"recorded: {path}")
    return whole
