"""One segment of a training, executed again from the state that it starts at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from zoo_core.config import RunConfig
from zoo_core.data.dataset import Dataset
from zoo_core.errors import MachineError
from zoo_core.events import Events
from zoo_core.machine.terminal import untold
from zoo_core.registry.manager import manager
from zoo_core.runs import Run, build
from zoo_core.runs.initial import initialize
from zoo_core.training.checkpoint import Checkpoint
from zoo_core.training.harness import Listener


@dataclass(frozen=True)
class Executed:
    """What a segment's training gave.

    Attributes:
        start: the state that it began at.
        end: the state that it ended at.
        logged: step -> values, as they were logged on the way.
    """

    start: Checkpoint
    end: Checkpoint
    logged: Mapping[int, Mapping[str, float]]


class Trainer:
    """Executes segments of one run.

    Args:
        config: of the run.
        data: of the run, as they are here.
        folder: of the run.
    """

    def __init__(self, config: RunConfig, data: Dataset, folder: Path) -> None:
        self.config = config
        self.data = data
        self.folder = folder
        first = self._built()
        self.steps = sum(first.harness.stage_steps)
        self.device = first.device

    def _built(self) -> Run:
        return build(self.config, self.data, self.folder, manager(), say=untold, warn=untold)

    def _initialize(self, made: Run) -> None:
        """Do what a job does between building a run and training it."""
        if self.config.init:
            initialize(made, self.config.init)
        # Networks that the evaluation builds draw from the generators that some losses draw from later.
        Events(manager(), untold).ask("zoo_preflight", run=made)

    def execute(self, start: Checkpoint | None, end: int | None) -> Executed:
        """Train one segment.

        Args:
            start: its first state; None for the initialization from the seed.
            end: step after which it ends; None for the end of the training.

        Raises:
            DivergedError: where a loss or a weight is not finite.
            MachineError: where the state is not one of this model.
        """
        made = self._built()
        if start is not None:
            made.harness.restore(start)
        else:
            self._initialize(made)
        begun = made.harness.checkpoint()
        saved: list[Checkpoint] = []
        logged: dict[int, Mapping[str, float]] = {}

        def save(step: int, kept: Checkpoint) -> None:
            saved[:] = [kept]

        made.harness.listener = Listener(
            log=lambda step, values: logged.update({step: dict(values)}),
            save=save,
            stop=lambda: end is not None and made.harness.counts.total >= end,
        )
        made.harness.run()
        if not saved:
            raise MachineError("the state that the segment starts at is one after the end of the training")
        return Executed(start or begun, saved[0], logged)


def deviation(recorded: Checkpoint, again: Executed) -> float:
    """Return how far two ends of a segment are apart, relative to the way of the weights in the segment.

    It is the larger of the distances of raw and of EMA weights; infinite where counts or shapes differ, or
    where the weights did not move.
    """
    ours = again.end
    if _progress(recorded) != _progress(ours):
        return math.inf
    way = _distance(ours.weights, again.start.weights)
    pairs = [(recorded.weights, ours.weights), *((recorded.ema.get(k, {}), v) for k, v in ours.ema.items())]
    if not way > 0:
        return math.inf
    return max(_distance(a, b) for a, b in pairs) / way


def _progress(saved: Checkpoint) -> list[object]:
    """Return how far a training is, which no rounding changes: batches that were drawn, steps, examples."""
    counts = saved.state["counts"]
    return [saved.state["drawn"], *(counts[key] for key in ("stage", "step", "total", "images"))]


def _distance(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """Return the Euclidean distance of two sets of weights; infinite where names or shapes differ."""
    if a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
        return math.inf
    floats = [name for name in a if a[name].is_floating_point()]
    squares = [float((a[name].double() - b[name].double()).square().sum()) for name in floats]
    return math.sqrt(sum(squares))
