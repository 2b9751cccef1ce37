"""Scores on the validation part of the training split: for selections, with sampling seeds of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from zoo_core.data.loading import Dataset
from zoo_core.errors import UsageError
from zoo_core.interfaces import EvaluatedRun
from zoo_core.machine.leading import led
from zoo_core.machine.terminal import untold
from zoo_core.runs import Drawn
from zoo_core.seeds import derive
from zoo_core.types import Cond
from zoo_eval.context import Context
from zoo_eval.pipeline import chosen_metrics, prepare, run_metrics
from zoo_eval.sampling import Source, sample, source_of

SUFFIX = " to test"
"""Of the columns whose reference is the test split, in whose place the validation part stands here."""
FAST = {
    "protocol": "quick",
    "metrics": ["frechet-test"],
    "memorization_n": 0,
    "baselines": False,
}
"""How a run is scored during training; captions, which have no distance, by their likelihood."""
SELECTS = (f"FD{SUFFIX}", f"FID{SUFFIX}", "bits_per_token")
"""Base names of the columns that select; lower is better."""


def validation_data(data: Dataset) -> Dataset:
    """Return a data set whose test split is its validation part: nothing of the real test split is left.

    Its fingerprint differs from that of the data, so that nothing cached of one is taken for the other.

    Raises:
        UsageError: without a validation part, or where the data bring source images of their own, whose
            validation part is not known.
    """
    if data.validation is None:
        raise UsageError("these data have no validation part", "expected: data.validation=0.1")
    if data.origin is not None:
        raise UsageError(
            f"source images of {data.info.name!r} can't be held out",
            "expected: a data set whose sources are made from its images: data.source=",
        )
    text = f"{data.sha256} validation {len(data.train)} {len(data.validation)}"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    described = None if data.described is None else validation_data(data.described)
    held = data.validation
    return replace(data, test=held, validation=None, sha256=sha256, reread=None, described=described)


def validation_source(run: EvaluatedRun) -> Source:
    """Return a run as a source whose test split is the validation part, drawn with seeds of its own.

    Raises:
        UsageError: as `validation_data`.
    """
    seed = derive(run.config.sample.seed, "validation")

    def draw(n: int, start: int, cond: Cond | None) -> Iterator[Drawn]:
        return run.draw(n, start=start, seed=seed, cond=cond)

    written = run.data.described is not None
    update = {**FAST, "metrics": ["likelihood"]} if written else FAST
    config = run.config.model_copy(update={"eval": run.config.eval.model_copy(update=update)})
    return replace(
        source_of(run),
        config=config,
        data=validation_data(run.data),
        draw=draw,
        folder=None,
        say=untold,
        progress=lambda what, done, total, unit: None,
    )


def validate(run: EvaluatedRun) -> dict[str, float]:
    """Return the Frechet distance of a run's samples to the validation part, by the name of its column; of
    captions the bits per token of the validation part.

    Raises:
        ZooError: where samples or features are unfit to be scored.
    """
    source = validation_source(run)
    protocol, extractor = prepare(source)
    ctx = Context(source, protocol, extractor, sample(source, protocol.n_generated))
    measured = led(ctx, lambda: run_metrics(ctx, chosen_metrics(source.config.eval.metrics)))
    return {
        name.replace(SUFFIX, "", 1): one.value
        for name, one in measured.values.items()
        if name.partition("[")[0] in SELECTS
    }
