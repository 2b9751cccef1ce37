"""Sharding what a stage trains, after each of its phases has shown to compute the same with shards.

Each phase's loss and gradients are taken of the same few examples with whole weights and with shards. So it is
found, and not asked of a model, whether it uses weights outside of a forward pass that gathers them, and
whether a loss holds a gradient. Weights, buffers, random states and the order of the data are left as they were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from zoo_core.errors import ZooError
from zoo_core.machine.distributed import local, sum_, world
from zoo_core.training.parallel import Reducer
from zoo_core.training.recipe import Phase, Stage
from zoo_core.training.sharding import (
    BlockSums,
    Shards,
    WholeSums,
    check_parameters,
    networks_of,
    refused,
)
from zoo_core.types import Loss

TOLERANCE = 1e-2
"""Relative difference of a gradient from that of whole weights, for the same examples, that is not rounding."""

Trial = Callable[[Phase], contextlib.AbstractContextManager[Loss]]


class _Watched(torch.autograd.Function):
    """The identity, which notes a backward pass that is to be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, notes: list[bool]) -> Tensor:
        ctx.notes = notes
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        ctx.notes.append(torch.is_grad_enabled())
        return grads[0], None


@contextlib.contextmanager
def watched(networks: Iterable[nn.Module]) -> Iterator[list[bool]]:
    """Within the block, gradients through networks are noted: True for one that is to be differentiated."""
    notes: list[bool] = []

    def watch(module: nn.Module, args: Any, output: Any) -> Any:
        return tree_map(
            lambda y: _Watched.apply(y, notes) if isinstance(y, Tensor) and y.requires_grad else y, output
        )

    handles = [network.register_forward_hook(watch) for network in networks]
    try:
        yield notes
    finally:
        for handle in handles:
            handle.remove()


def gradient_norms(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the norm of each parameter's gradient over all shards, 0 where there is none: (n,) float64."""
    squares = torch.zeros(len(parameters), dtype=torch.float64)
    for k, parameter in enumerate(parameters):
        if parameter.grad is not None:
            squares[k] = local(parameter.grad).double().square().sum().cpu()
    if any(local(p) is not p for p in parameters):
        sum_([squares])
    return squares.sqrt()


def sharded(
    recipe: nn.Module,
    stage: Stage,
    trainable: set[int],
    updated: Callable[[Phase], list[nn.Parameter]],
    trial: Trial,
) -> tuple[Shards, dict[str, Reducer | BlockSums]]:
    """Shard what a stage trains.

    Args:
        recipe: with whole weights, equal in all processes.
        stage: of it.
        trainable: ids of parameters that may be updated; those of the sharded ones are added.
        updated: returns the parameters that a phase updates.
        trial: context of a phase's loss and backward pass on a few examples, the same in every process.

    Returns:
        (the shards, what adds up each phase's gradients).

    Raises:
        UsageError: where a phase can't be computed with shards; it says why.
    """
    networks = networks_of(stage.phases)
    check_parameters(recipe, networks)
    names = {id(p): name for name, p in recipe.named_parameters()}
    labels = {phase.name: [names[id(p)] for p in updated(phase)] for phase in stage.phases}
    twice = {phase.name for phase in stage.phases if phase.second_order}
    expected = {p.name: _expected(p, networks, twice, updated, trial) for p in stage.phases}
    shards = Shards(networks)
    trainable |= shards.replacing(trainable)
    sums: dict[str, Reducer | BlockSums] = {}
    for phase in stage.phases:
        if phase.name in twice:
            with shards.whole():
                sums[phase.name] = WholeSums(shards, updated(phase))
        else:
            sums[phase.name] = BlockSums(shards)
        norms = expected[phase.name]
        if norms is not None:
            _compare(phase, norms, labels[phase.name], sums[phase.name], updated, trial)
    if twice:
        shards.line += f"; whole weights in: {', '.join(sorted(twice))}"
    return shards, sums


def _expected(
    phase: Phase,
    networks: Sequence[nn.Module],
    twice: set[str],
    updated: Callable[[Phase], list[nn.Parameter]],
    trial: Trial,
) -> Tensor | None:
    """Return the norms of a phase's gradients with whole weights; None where it can't be tried so early.

    A phase whose loss holds a gradient is added to `twice`, and one that can't be told from it.
    """
    if phase.name not in twice:
        try:
            with watched(networks) as notes, trial(phase):
                twice |= {phase.name} if any(notes) else set()
        except Exception:  # it does not bear the watch, or is wrong: that is seen without
            twice.add(phase.name)
    try:
        with trial(phase):
            norms = gradient_norms(updated(phase))
    except Exception:  # training will tell
        return None
    return norms if bool(norms.isfinite().all()) else None


def _compare(
    phase: Phase,
    expected: Tensor,
    labels: Sequence[str],
    sums: Reducer | BlockSums,
    updated: Callable[[Phase], list[nn.Parameter]],
    trial: Trial,
) -> None:
    try:
        sums.begin()
        sums.arm()
        with trial(phase) as loss:
            sums.finish()
            parameters = updated(phase)
            found = gradient_norms(parameters) / world().size
            _step_after(phase, loss, parameters)
    except ZooError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise refused(f"phase {phase.name!r} uses weights outside of a forward pass: {reason}") from error
    off = ~((found - expected).abs() <= TOLERANCE * expected + 1e-4 * expected.norm())
    if bool(off.any()):
        first = int(off.nonzero()[0])
        raise refused(
            f"phase {phase.name!r}: the gradient of {labels[first]} has the norm {float(found[first]):.4g}, "
            f"and {float(expected[first]):.4g} with whole weights"
        )


@torch.no_grad()
def _step_after(phase: Phase, loss: Loss, parameters: Sequence[nn.Parameter]) -> None:
    """Try what follows a phase's steps, and undo it."""
    if phase.after_step is None:
        return
    kept = [local(p).clone() for p in parameters]
    phase.after_step(loss.sums, loss.keep)
    for parameter, before in zip(parameters, kept, strict=True):
        local(parameter).copy_(before)
