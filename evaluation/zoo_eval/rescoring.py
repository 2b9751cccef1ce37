"""Scoring a trained run, at its end or again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
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
    merged,
    recorded_audit,
    recorded_result,
    recorded_selection,
    write_result,
)
from zoo_core.results.records import config_record, provenance_record
from zoo_core.runs import load, saved_config
from zoo_core.runs.exchange import run_folder
from zoo_core.seeds import Seeds
from zoo_core.training import checkpoint
from zoo_eval.context import source_of
from zoo_eval.pipeline import Identity, evaluate
from zoo_eval.protocol import with_protocol

FREE = ("sample.batch_size", "data.root")
"""Options beside eval.* that do not change a run's samples; any other would make it another run."""


def identity_of(run: EvaluatedRun) -> Identity:
    """Return whose result a run's is."""
    config = run.config
    selection = recorded_selection(run.dir)
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
            precision=config.train.precision,
            guidance_scale=getattr(config.sample, "guidance_scale", None),
        ),
        config=config_record(flatten(plain(config))),
        selection=selection,
        audit=recorded_audit(run.dir),
    )


def score(run: EvaluatedRun) -> Result:
    """Return the result of a trained run, under the protocol that its config asks for.

    Raises:
        ZooError: as `pipeline.evaluate`.
    """
    return evaluate(source_of(run), identity_of(run))


def rescore(run: str | Path, words: Mapping[str, str], *, say: Callable[[str], None] = print) -> Result:
    """Score a run under changed `eval.*` options and record the result in its folder.

    Args:
        run: folder of a finished run or of a bundle, or `hf://user/name[@revision]`.
        words: dotted key -> text; `protocol=` is short for `eval.protocol=`.
        say: receives progress and warnings.

    Returns:
        The result. It is recorded in result.json where the run has none, or where the result there has the
        same protocol and samples, whose columns are then kept (`results.merged`); else in
        result-<protocol hash>.json.

    Raises:
        UsageError: for an option that would change the samples, or where there is no run.
        Mistakes: for unknown options and bad values.
        MachineError: where the run has no usable checkpoint.
    """
    folder = run_folder(str(run))
    config = _config(folder, with_protocol(words))
    if config.eval.protocol == "none":
        raise UsageError(f"{folder} has eval.protocol=none", f"next: zoo eval {folder} protocol=quick")
    result = score(load(folder, config=config, say=say))
    own = recorded_result(folder / "result.json")
    attached = {} if own is None else own.attachments
    result = result.model_copy(
        update={
            "weights_sha256": _weights_sha256(folder),
            "attachments": {**attached, **result.attachments},
        }
    )
    if own is None or own.protocol.hash == result.protocol.hash:
        path = folder / "result.json"
    else:
        path = folder / f"result-{result.protocol.hash}.json"
    return _recorded(result, path, say)


def _config(folder: Path, words: Mapping[str, str]) -> RunConfig:
    """Return the config of a run with other options of its scoring.

    Raises:
        UsageError, Mistakes: as `rescore`.
    """
    saved = saved_config(folder)
    config = resolve({"config": str(folder), **words}) if words else saved
    for key in words:
        if not key.startswith("eval.") and key not in FREE:
            raise UsageError(
                f"{key!r} changes the run, not how it is scored",
                f"expected: eval.KEY, {', '.join(FREE)}",
                f"next: zoo run config={folder} {key}={words[key]}",
            )
    return config


def _weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of the raw weights that `load` reads: of the newest checkpoint that is intact.

    Raises:
        MachineError: where there is none.
    """
    for path in reversed(checkpoint.listed(folder / "checkpoints")):
        with contextlib.suppress(MachineError):
            return checkpoint.verify(path)[checkpoint.WEIGHTS]
    raise MachineError(f"{folder} has no intact checkpoint", f"next: zoo run resume={folder}")


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
