"""One update over several processes: each works on its share of the batch, all end with the whole's.

A process's loss is the mean over its own rows, weighted by their part of the batch, so the sum of the
gradients is the gradient of the whole batch's loss where that loss is a mean over rows. What looks at a
batch as a whole (batch norm's statistics, minibatch standard deviation) sees a process's share of it.
Parameters and averages stay equal to the bit: every process takes the same step with the same sum.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from zoo_core.config import TrainConfig
from zoo_core.errors import UsageError
from zoo_core.machine.distributed import World, gather_rows, sum_
from zoo_core.types import Loss


def check_shares(config: TrainConfig, world: World) -> None:
    """Raise UsageError where a process would get no row of a batch."""
    if config.batch_size < world.size:
        raise UsageError(
            f"train.batch_size={config.batch_size} gives {world.size} processes less than a row each",
            f"expected: at least {world.size}, best a multiple of it",
        )


def over_all(parameters: Iterable[nn.Parameter], loss: Loss) -> Loss:
    """Add up gradients, in place, and the shares of a loss over all processes, in one all-reduce a dtype.

    Args:
        parameters: of the phase, in the same order in every process; one that got a gradient anywhere has
            one everywhere afterwards, one that got none keeps none.
        loss: of this process's rows: its loss and log weighted by their part of the batch.

    Returns:
        The whole batch's loss: sums added up, keeps in the order of the batch's rows.

    Raises:
        MachineError: where another process is gone.
    """
    members = list(dict.fromkeys(parameters))
    got = torch.tensor([float(p.grad is not None) for p in members], device=loss.loss.device)
    lacking = [i for i, p in enumerate(members) if p.grad is None]
    for i in lacking:
        members[i].grad = torch.zeros_like(members[i])
    total = loss.loss.detach().clone()
    log = {name: loss.log[name].detach().clone() for name in sorted(loss.log)}
    sums = {name: loss.sums[name].detach().clone() for name in sorted(loss.sums)}
    sum_([*(p.grad for p in members if p.grad is not None), got, total, *log.values(), *sums.values()])
    for i in lacking:
        if not got[i]:
            members[i].grad = None
    keep = {name: gather_rows(loss.keep[name]) for name in sorted(loss.keep)}
    return Loss(total, log, sums, keep)
