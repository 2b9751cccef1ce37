"""Scoring a trained run, at its end or again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from zoo_core.config import flatten
from zoo_core.errors import UsageError
from zoo_core.interfaces import EvaluatedRun
from zoo_core.registry.resolution import config_hash, plain, resolve
from zoo_core.results import Cost, Result, SamplingRecord, read_result, write_result
from zoo_core.results.records import config_record, provenance_record
from zoo_core.runs import load
from zoo_core.seeds import Seeds
from zoo_eval.context import source_of
from zoo_eval.pipeline import Identity, evaluate

FREE = ("eval.", "sample.batch_size", "data.root")
"""Options that do not change a run's samples; any other would make it another run."""


def identity_of(run: EvaluatedRun) -> Identity:
    """Return whose result a run's is."""
    config = run.config
    return Identity(
        plugin=config.plugin,
        family=run.spec.family,
        seed=config.seed,
        config_hash=config_hash(config),
        cost=Cost(**run.cost),
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
    )


def score(run: EvaluatedRun) -> Result:
    """Return the result of a trained run, under the protocol that its config asks for.

    Raises:
        ZooError: as `pipeline.evaluate`.
    """
    return evaluate(source_of(run), identity_of(run))


def rescore(folder: Path, words: Mapping[str, str], *, say: Callable[[str], None] = print) -> Result:
    """Score a run under changed `eval.*` options and record the result in its folder.

    Args:
        folder: of a finished run.
        words: dotted key -> text.
        say: tells the user how things go.

    Returns:
        The result, recorded as result-<protocol hash>.json unless the run's own has that protocol.

    Raises:
        UsageError: for an option that would change the samples, or where there is no run.
        MachineError: where the run has no usable checkpoint.
    """
    for key in words:
        if not key.startswith(FREE):
            raise UsageError(
                f"{key!r} changes the run, not how it is scored",
                f"expected: {', '.join(FREE)}",
                f"next: zoo run config={folder} {key}={words[key]}",
            )
    run = load(folder, say=say)
    if words:
        config = resolve({"config": str(folder), **words})
        run = replace(run, config=config)
    if run.config.eval.protocol == "none":
        raise UsageError(f"{folder} has eval.protocol=none", "next: zoo eval RUN eval.protocol=quick")
    own = folder / "result.json"
    kept = read_result(own) if own.exists() else None
    result = score(run)
    if kept is not None:
        attached = {**kept.attachments, **result.attachments}
        result = result.model_copy(update={"weights_sha256": kept.weights_sha256, "attachments": attached})
    if kept is None or kept.protocol.hash != result.protocol.hash:
        path = folder / f"result-{result.protocol.hash}.json"
        write_result(result, path)
        say(f"recorded: {path}")
    return result
