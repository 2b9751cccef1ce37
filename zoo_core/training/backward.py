"""One backward pass over a batch: whole, or in micro-batches whose losses are joined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from zoo_core.config import TrainConfig
from zoo_core.training.plan import micro_batches
from zoo_core.training.recipe import LossFunction
from zoo_core.types import Batch, Context, Loss


def backward(
    loss_of: LossFunction, batch: Batch, context: Context, config: TrainConfig, cast: Callable[[], Any]
) -> Loss:
    """Add the gradients of one process's part of a batch, and return its loss.

    Args:
        loss_of: of a phase.
        batch: this process's rows; their weight is len(batch) / config.batch_size.
        context: of the step.
        config: with the number of micro-batches, `accumulate`.
        cast: context of the forward pass.
    """
    whole = config.batch_size
    if config.accumulate == 1 and len(batch) == whole:
        with cast():
            loss = loss_of(batch, context)
        loss.loss.backward()
        return loss
    losses: list[tuple[float, Loss]] = []
    start = 0
    for size in micro_batches(config, len(batch)):
        piece = batch[slice(start, start + size)]
        start += size
        share = len(piece) / whole
        with cast():
            loss = loss_of(piece, context)
        (loss.loss * share).backward()
        losses.append((share, loss))
    return _joined(losses)


def _joined(losses: list[tuple[float, Loss]]) -> Loss:
    """Return the loss of a whole batch from those of its micro-batches and their shares of it."""
    first = losses[0][1]
    return Loss(
        loss=torch.stack([share * part.loss.detach() for share, part in losses]).sum(),
        log={name: sum(share * part.log[name] for share, part in losses) for name in first.log},  # type: ignore[misc]
        sums={name: sum(part.sums[name] for _, part in losses) for name in first.sums},  # type: ignore[misc]
        keep={name: torch.cat([part.keep[name] for _, part in losses]) for name in first.keep},
    )
