"""Read-only views of a run: what hooks are given of it.

A view holds functions in place of the run, so that no attribute of it leads to the run, its optimizers or,
during training, its test rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import RunConfig
from zoo_core.data.conditioning import GIVEN, grid_conditions
from zoo_core.data.dataset import Dataset
from zoo_core.events import Events
from zoo_core.interfaces import RunView, TrainedRun
from zoo_core.registry.spec import PluginSpec
from zoo_core.runs import Run
from zoo_core.training.recipe import Recipe
from zoo_core.types import Cond, DataInfo, SampleRequest, Samples


@dataclass(frozen=True)
class View:
    """An `interfaces.RunView`, made by `view_of`."""

    config: RunConfig
    dir: Path
    spec: PluginSpec
    data_info: DataInfo
    device: torch.device
    _step: Callable[[], int] = field(repr=False)
    _sample: Callable[[int, int | None, Cond | str | None], Tensor] = field(repr=False)
    _grid_conditions: Callable[[int], tuple[int, Cond | None]] = field(repr=False)
    _grid_labels: Callable[[], list[str]] = field(repr=False)
    _training_examples: Callable[[int], Tensor] = field(repr=False)
    _tell: Callable[[str, Mapping[str, Any]], None] = field(repr=False)
    _say: Callable[[str], None] = field(repr=False)
    _warn: Callable[[str], None] = field(repr=False)

    @property
    def step(self) -> int:
        """Training steps done, over all stages."""
        return self._step()

    def sample(self, n: int, *, seed: int | None = None, cond: Cond | str | None = None) -> Tensor:
        """Return n samples, (n, *shape) on the CPU: images in [-1, 1] or points."""
        return self._sample(n, seed, cond)

    def sample_grid(self, rows: int) -> tuple[Tensor, int]:
        """Return samples for a grid, row by row, and its number of columns, one class or caption each."""
        columns, cond = self._grid_conditions(rows)
        return self.sample(rows * columns, cond=cond), columns

    def grid_labels(self) -> list[str]:
        """Return the class or caption of each column of `sample_grid`; [] where columns have none."""
        return self._grid_labels()

    def training_examples(self, n: int) -> Tensor:
        """Return the first n training examples, or all there are, on the CPU."""
        return self._training_examples(n)

    def log(self, values: Mapping[str, float]) -> None:
        """Record numbers at the current step; every listener's `zoo_log` is called with them."""
        self._tell("zoo_log", {"run": self, "step": self.step, "values": dict(values)})

    def announce(self, name: str, path: Path) -> None:
        """Tell every listener's `zoo_images` of an image file that was written into `dir`."""
        self._tell("zoo_images", {"run": self, "step": self.step, "name": name, "path": str(path)})

    def say(self, line: str) -> None:
        """Print a line of progress, where progress is shown."""
        self._say(line)

    def warn(self, line: str) -> None:
        """Print a warning."""
        self._warn(line)


@dataclass(frozen=True)
class TrainedView(View):
    """An `interfaces.TrainedRun`, made by `trained_view_of`."""

    data: Dataset
    recipe: Recipe
    _request: Callable[[Sequence[int]], SampleRequest] = field(repr=False)
    _samples: Callable[[SampleRequest], Samples] = field(repr=False)
    _to_model: Callable[[Tensor], Tensor] = field(repr=False)
    _inference: Callable[[], AbstractContextManager[None]] = field(repr=False)

    def request(self, indices: Sequence[int]) -> SampleRequest:
        """Return the request for the samples with these indices, with the conditions of training."""
        return self._request(indices)

    def samples(self, request: SampleRequest) -> Samples:
        """Return one batch of samples before quantization, (n, *shape) on `device`."""
        return self._samples(request)

    def to_model(self, rows: Tensor) -> Tensor:
        """Return stored rows as the model sees them: floats on `device`, images in [-1, 1]."""
        return self._to_model(rows)

    def inference(self) -> AbstractContextManager[None]:
        """Within the block: scored weights, evaluation mode, no gradients, random states restored after."""
        return self._inference()


def view_of(run: Run, events: Events) -> RunView:
    """Return what hooks see of a run before and during training, and after it.

    Args:
        events: that `log` and `announce` tell.
    """
    return View(**_shared(run, events))


def trained_view_of(run: Run, events: Events) -> TrainedRun:
    """Return what the hook for plots of a trained run sees of it."""
    return TrainedView(
        **_shared(run, events),
        data=run.data,
        recipe=run.recipe,
        _request=lambda indices: run.request(indices),
        _samples=lambda request: run.samples(request),
        _to_model=lambda rows: run.to_model(rows),
        _inference=lambda: run.inference(),
    )


def _grid_labels(data: Dataset) -> list[str]:
    columns, cond = grid_conditions(data, 1)
    if data.info.task not in GIVEN or cond is None or cond.label is None or len(cond.label) != columns:
        return []
    if cond.tokens is not None and data.tokenizer is not None:
        return [data.tokenizer.decode(tokens) for tokens in cond.tokens.tolist()]
    names = data.class_names
    return [names[k] if k < len(names) else str(k) for k in cond.label.tolist()]


def _shared(run: Run, events: Events) -> dict[str, Any]:
    def training_examples(n: int) -> Tensor:
        return run.data.train.examples(torch.arange(min(n, len(run.data.train)))).cpu()

    return {
        "config": run.config,
        "dir": run.dir,
        "spec": run.spec,
        "data_info": run.data.info,
        "device": run.device,
        "_step": lambda: run.step,
        "_sample": lambda n, seed, cond: run.sample(n, seed=seed, cond=cond),
        "_grid_conditions": lambda rows: grid_conditions(run.data, rows),
        "_grid_labels": lambda: _grid_labels(run.data),
        "_training_examples": training_examples,
        "_tell": lambda event, facts: events.tell(event, **facts),
        "_say": lambda line: run.say(line),
        "_warn": lambda line: run.warn(line),
    }
