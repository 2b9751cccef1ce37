"""Floating-point operations of training and of sampling.

Operations are those that torch counts (matrix products, convolutions, attention; a multiplication and an
addition are two), which is nearly all of a network's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from zoo_core.data.loading import TrainData
from zoo_core.errors import Interrupted, ZooError
from zoo_core.interfaces import EvalContext
from zoo_core.results import NotApplicable, Value
from zoo_core.seeds import generator
from zoo_core.training.recipe import Recipe
from zoo_core.types import Context, Samples

EXAMPLES = 8
"""In the batch that a training step is counted on."""
SHORT, LONG = 3, 6
"""Steps of the two short samplings from which a long one is extrapolated."""


class Together(ModuleTracker):
    """A replacement of torch's tracker of modules that counts all modules together.

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


def training_flops(recipe: Recipe, data: TrainData, updates: Mapping[str, int], batch_size: int) -> float:
    """Return the operations of all of a run's updates, forward and backward.

    Each phase is counted once on a few examples, on a copy of the model, and scaled by its batch and its
    updates. Work outside of phases (fitting a baseline, initializing a codebook) is not counted.

    Args:
        recipe: the trained model.
        data: its training data, which is not advanced.
        updates: "stage/phase" -> optimizer steps.
        batch_size: of an update.
    """
    twin = copy.deepcopy(recipe).train()
    total = 0.0
    own = data.restarted()
    n = min(EXAMPLES, len(own))
    for stage in twin.stages():
        for phase in stage.phases:
            done = updates.get(f"{stage.name}/{phase.name}", 0)
            if not done:
                continue
            twin.requires_grad_(False)
            for module in phase.updates:
                module.requires_grad_(True)
            rng = generator(0, "flops", device=data.device)
            with torch.random.fork_rng(), counting() as counter:
                phase.loss(own.next(n), Context(0, 0.0, 0, rng)).loss.backward()
            total += counter.get_total_flops() * batch_size / n * done
    return total


def sampling_flops(draw: Callable[..., Samples], nfe: int) -> float:
    """Return the operations of one sample.

    A sampler of many steps is counted at two small numbers of steps: its operations are a constant, such as a
    decoder's, plus a multiple of its network evaluations.

    Args:
        draw: as `EvalContext.draw`.
        nfe: network evaluations per sample as it is scored.
    """

    def counted(steps: int | None) -> tuple[float, int]:
        with counting() as counter:
            drawn = draw(range(2), steps=steps)
        return counter.get_total_flops() / 2, drawn.calls

    if nfe > LONG:
        try:
            (few, short), (more, long) = counted(SHORT), counted(LONG)
        except ZooError:  # a sampler that refuses so few steps
            return counted(None)[0]
        if short != long:
            return few + (more - few) * (nfe - short) / (long - short)
    return counted(None)[0]


# -- as a registered metric


def operations(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return `train_flops` and `sample_flops`, which the result records as its cost."""
    found: dict[str, Value | NotApplicable] = {}
    try:
        harness = ctx.run.harness
        count = training_flops(ctx.recipe, harness.data, harness.counts.updates, ctx.config.train.batch_size)
        found["train_flops"] = Value(value=count)
    except Interrupted:
        raise
    except Exception as error:  # a loss may need its own batch size; a count must not cost a result
        ctx.say(f"operations of training: not counted: {type(error).__name__}: {error}")
        found["train_flops"] = NotApplicable(reason=f"not counted: {type(error).__name__}: {error}"[:400])
    return {**found, "sample_flops": Value(value=sampling_flops(ctx.draw, ctx.nfe))}
