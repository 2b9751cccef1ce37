"""What a model costs beside what its training counted: floating-point operations and memory.

Operations are those that torch counts (matrix products, convolutions, attention; a multiplication and an
addition are two), which is nearly all of a network's.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from zoo_core.errors import ZooError
from zoo_core.runs import Run
from zoo_core.seeds import generator
from zoo_core.types import Context

EXAMPLES = 8
"""In the batch that a training step is counted on, and scaled from."""
SHORT, LONG = 3, 6
"""Steps of the two short samplings from which a long one is told."""


class Together(ModuleTracker):
    """In place of torch's tracker of modules, for a count of everything together.

    The tracker's hooks break where a loss or a denoiser takes a gradient of its own (a gradient penalty, an
    energy).
    """

    def __enter__(self) -> Together:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def counting() -> FlopCounterMode:
    """Return a counter of operations, to be entered."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = Together()
    return counter


def training_flops(run: Run) -> float:
    """Return the operations of all of a run's updates, forward and backward.

    Each phase is counted once on a few examples, on a copy of the model, and scaled by its batch and its
    updates. What is not a phase (fitting a baseline, choosing a codebook's start) is not counted.
    """
    twin = copy.deepcopy(run.recipe).train()
    updates: Mapping[str, int] = run.harness.counts.updates
    total, kept = 0.0, run.harness.data
    data = kept.restarted()
    n = min(EXAMPLES, len(data))
    for stage in twin.stages():
        for phase in stage.phases:
            done = updates.get(f"{stage.name}/{phase.name}", 0)
            if not done:
                continue
            twin.requires_grad_(False)
            for module in phase.updates:
                module.requires_grad_(True)
            rng = generator(0, "flops", device=run.device)
            with torch.random.fork_rng(), counting() as counter:
                phase.loss(data.next(n), Context(0, 0.0, 0, rng)).loss.backward()
            total += counter.get_total_flops() * run.config.train.batch_size / n * done
    return total


def sampling_flops(run: Run, calls: int) -> float:
    """Return the operations of one sample.

    A sampler of many steps is counted at two small numbers of them: its operations are a constant, such as a
    decoder's, and a multiple of its network calls.

    Args:
        calls: network calls of a sample as it is scored.
    """

    def counted(steps: int | None) -> tuple[float, int]:
        request = run.request(range(2))
        if steps is not None:
            request = replace(request, steps=steps)
        with counting() as counter:
            drawn = run.samples(request)
        return counter.get_total_flops() / 2, drawn.calls

    if calls > LONG:
        try:
            (few, short), (more, long) = counted(SHORT), counted(LONG)
        except ZooError:  # a sampler that can't do with so few
            return counted(None)[0]
        if short != long:
            return few + (more - few) * (calls - short) / (long - short)
    return counted(None)[0]


def operations(run: Run, calls: int) -> dict[str, Any]:
    """Return {"train_flops", "sample_flops"}; the former without what a recipe can't do on a few examples."""
    found: dict[str, Any] = {}
    try:
        found["train_flops"] = training_flops(run)
    except Exception as error:  # a loss may want its own batch size; a count is never worth a result
        run.say(f"operations of training: not counted: {type(error).__name__}: {error}")
    return found | {"sample_flops": sampling_flops(run, calls)}
