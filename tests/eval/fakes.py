"""A protocol to change one field of, a context of given features, and a run made of given samples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import DataConfig, EvalConfig, RunConfig
from zoo_core.data.loading import Dataset
from zoo_core.registry.manager import manager
from zoo_core.results import Cost, Provenance, Result, SamplingRecord
from zoo_core.runs import Drawn
from zoo_core.types import Cond
from zoo_eval.context import Context
from zoo_eval.features import Features
from zoo_eval.pipeline import Identity, evaluate
from zoo_eval.protocol import Protocol
from zoo_eval.sampling import Source, source_of

COUNTED = "operations"
"""The metric that a run of given samples can't have: nothing trains or samples it."""


def protocol(**changes: Any) -> Protocol:
    fields: dict[str, Any] = {
        "name": "quick",
        "version": 1,
        "n_generated": 2000,
        "data": "digits",
        "data_sha256": "a" * 64,
        "n_reference": 1437,
        "extractor": "digits",
        "extractor_sha256": "b" * 64,
        "resize": "none",
        "weights": "ema",
        "precision_k": 3,
        "density_k": 5,
        "neighbors_n": 1437,
        "is_splits": 10,
        "kid_subsets": 20,
        "kid_subset_size": 500,
        "likelihood_n": 360,
        "iwae_k": 64,
    }
    return Protocol(**(fields | changes))


def context(
    train: Features | None = None,
    generated: Features | None = None,
    settings: Protocol | None = None,
    **more: Any,
) -> Any:
    """Return the context of a metric that compares features, and nothing else but what `more` holds."""
    made = SimpleNamespace(
        train=train, generated=generated, protocol=settings or protocol(), label=None, said=[], attached={}
    )
    made.device = torch.device("cpu")
    made.column = lambda base: Context.column(made, base)
    made.say = made.said.append
    made.attach = lambda what, content, suffix: made.attached.update({what: content})
    made.once = lambda name, compute: compute()
    made.inference = contextlib.nullcontext
    vars(made).update(more)
    return made


class FakeRun:
    """A run whose samples are the given rows, drawn over and over."""

    def __init__(self, data: Dataset, rows: Tensor, recipe: Any = None, **eval_options: Any) -> None:
        self.data = data
        self.rows = rows
        self.recipe = recipe
        names = [entry.spec.name for entry in manager().entries("metric") if not entry.spec.optional]
        metrics = eval_options.pop("metrics", [name for name in names if name != COUNTED])
        self.config = RunConfig(
            plugin="fake",
            data=DataConfig(name=data.info.name),
            eval=EvalConfig(metrics=metrics, **eval_options),
        )
        self.device = torch.device("cpu")
        self.dir: Path | None = None
        self.harness = SimpleNamespace(quiet=lambda weights: contextlib.nullcontext())
        self.said: list[str] = []
        self.asked: Cond | None = None

    def say(self, line: str) -> None:
        self.said.append(line)

    warn = say

    def progress(self, what: str, done: int, total: int, unit: str) -> None:
        pass

    def inference(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def draw(
        self, n: int, *, start: int = 0, seed: int | None = None, cond: Cond | None = None
    ) -> Iterator[Drawn]:
        self.asked = cond
        for index in torch.arange(start, start + n).split(self.config.sample.batch_size):
            yield Drawn(self.rows[index % len(self.rows)], 7, 0.25)

    @property
    def source(self) -> Source:
        return source_of(self)  # type: ignore[arg-type]


def identity(**changes: Any) -> Identity:
    whole = {
        "plugin": "fake",
        "family": "test",
        "seed": 0,
        "config_hash": "0" * 12,
        "cost": Cost(train_seconds=1.0, images_seen=10),
        "provenance": Provenance(),
        "sampling": SamplingRecord(),
    }
    return Identity(**(whole | changes))


def score(run: FakeRun) -> Result:
    """Return the result of a run of given samples."""
    return evaluate(run.source, identity())


def values(result: Result | dict[str, Any]) -> dict[str, float]:
    """Return value by column."""
    found: Any = result.metrics if isinstance(result, Result) else result
    return {column: one.value for column, one in found.items() if hasattr(one, "value")}


def reasons(columns: dict[str, Any]) -> Sequence[str]:
    """Return why columns have no value."""
    return [one.reason for one in columns.values() if hasattr(one, "reason")]
