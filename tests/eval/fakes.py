"""A protocol to change one field of, and a run made of given samples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import DataConfig, EvalConfig, RunConfig
from zoo_core.data.loading import Dataset
from zoo_core.runs import Drawn
from zoo_core.types import Cond
from zoo_eval.protocol import Protocol


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
        "neighbours_n": 1437,
        "is_splits": 10,
        "kid_subsets": 20,
        "kid_subset_size": 500,
        "likelihood_n": 360,
        "iwae_k": 64,
    }
    return Protocol(**(fields | changes))


class FakeRun:
    """A run whose samples are the given rows, drawn over and over."""

    def __init__(self, data: Dataset, rows: Tensor, recipe: Any = None, **eval_options: Any) -> None:
        self.data = data
        self.rows = rows
        self.recipe = recipe
        self.config = RunConfig(
            plugin="fake", data=DataConfig(name=data.info.name), eval=EvalConfig(**eval_options)
        )
        self.device = torch.device("cpu")
        self.cost: dict[str, Any] = {"train_seconds": 1.0, "images_seen": 10}
        self.harness = SimpleNamespace(quiet=lambda weights: contextlib.nullcontext())
        self.said: list[str] = []
        self.asked: Cond | None = None

    def say(self, line: str) -> None:
        self.said.append(line)

    def draw(
        self, n: int, *, start: int = 0, seed: int | None = None, cond: Cond | None = None
    ) -> Iterator[Drawn]:
        self.asked = cond
        for index in torch.arange(start, start + n).split(self.config.sample.batch_size):
            yield Drawn(self.rows[index % len(self.rows)], 7, 0.25)
