"""Read-only views of a run: what hooks are given of it.

A view holds functions in place of the run, so that no attribute of it leads to the run, its optimizers or,
during training, its test rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor

from zoo_core.config import RunConfig
from zoo_core.data.conditioning import GIVEN, grid_conditions
from zoo_core.data.dataset import Dataset
from zoo_core.events import Events
from zoo_core.interfaces import RunView, TrainedRun
from zoo_core.registry.spec import PluginSpec
from zoo_core.results import Value
from zoo_core.runs import Run
from zoo_core.training.recipe import Recipe
from zoo_core.types import DataInfo, SampleRequest, Samples

V = TypeVar("V", bound="View")


@dataclass(frozen=True)
class View:
    """An `interfaces.RunView`, made by `view_of`, with a function in the place of each method."""

    config: RunConfig
    dir: Path
    spec: PluginSpec
    data_info: DataInfo
    device: torch.device
    sample: Callable[..., Tensor] = field(repr=False)
    sample_grid: Callable[[int], tuple[Tensor, int]] = field(repr=False)
    grid_labels: Callable[[], list[str]] = field(repr=False)
    training_examples: Callable[[int], Tensor] = field(repr=False)
    log: Callable[[Mapping[str, float]], None] = field(repr=False)
    announce: Callable[[str, Path], None] = field(repr=False)
    say: Callable[[str], None] = field(repr=False)
    warn: Callable[[str], None] = field(repr=False)
    _step: Callable[[], int] = field(repr=False)

    @property
    def step(self) -> int:
        """Training steps done, over all stages."""
        return self._step()


@dataclass(frozen=True)
class TrainedView(View):
    """An `interfaces.TrainedRun`, made by `trained_view_of`, with a function in the place of each method."""

    data: Dataset
    recipe: Recipe
    request: Callable[[Sequence[int]], SampleRequest] = field(repr=False)
    samples: Callable[[SampleRequest], Samples] = field(repr=False)
    to_model: Callable[[Tensor], Tensor] = field(repr=False)
    inference: Callable[[], AbstractContextManager[None]] = field(repr=False)
    metrics: Mapping[str, Value] = field(repr=False)


def view_of(run: Run, events: Events) -> RunView:
    """Return what hooks see of a run before and during training, and after it.

    Args:
        events: that `log` and `announce` tell.
    """
    return _made(View, run, events)


def trained_view_of(run: Run, events: Events, metrics: Mapping[str, Value]) -> TrainedRun:
    """Return what the hook for plots of a trained run sees of it, with its scores by column."""
    return _made(
        TrainedView,
        run,
        events,
        data=run.data,
        recipe=run.recipe,
        request=lambda indices: run.request(indices),
        samples=lambda request: run.samples(request),
        to_model=lambda rows: run.to_model(rows),
        inference=lambda: run.inference(),
        metrics=MappingProxyType(dict(metrics)),
    )


def _grid_labels(data: Dataset) -> list[str]:
    columns, cond = grid_conditions(data, 1)
    if data.info.task not in GIVEN or cond is None or cond.label is None or len(cond.label) != columns:
        return []
    if cond.tokens is not None and data.tokenizer is not None:
        return [data.tokenizer.decode(tokens) for tokens in cond.tokens.tolist()]
    names = data.class_names
    return [names[k] if k < len(names) else str(k) for k in cond.label.tolist()]


def _made(kind: type[V], run: Run, events: Events, **more: Any) -> V:
    def sample_grid(rows: int) -> tuple[Tensor, int]:
        columns, cond = grid_conditions(run.data, rows)
        return run.sample(rows * columns, cond=cond), columns

    def training_examples(n: int) -> Tensor:
        return run.data.train.examples(torch.arange(min(n, len(run.data.train)))).cpu()

    def tell(event: str, **facts: Any) -> None:
        events.tell(event, run=view, step=run.step, **facts)

    view = kind(
        config=run.config,
        dir=run.dir,
        spec=run.spec,
        data_info=run.data.info,
        device=run.device,
        sample=lambda n, *, seed=None, cond=None: run.sample(n, seed=seed, cond=cond),
        sample_grid=sample_grid,
        grid_labels=lambda: _grid_labels(run.data),
        training_examples=training_examples,
        log=lambda values: tell("zoo_log", values=dict(values)),
        announce=lambda name, path: tell("zoo_images", name=name, path=str(path)),
        say=lambda line: run.say(line),
        warn=lambda line: run.warn(line),
        _step=lambda: run.step,
        **more,
    )
    return view
