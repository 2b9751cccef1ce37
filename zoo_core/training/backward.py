"""One backward pass over a batch: whole, or in micro-batches whose losses are joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from zoo_core.training.recipe import LossFunction
from zoo_core.types import Batch, Context, Loss


def nothing() -> None:
    """Do nothing before the last backward pass."""


def backward(
    loss_of: LossFunction,
    batch: Batch,
    context: Context,
    cast: Callable[[], Any],
    sizes: Sequence[int],
    whole: int,
    before_last: Callable[[], None] = nothing,
) -> Loss:
    """Add the gradients of one process's part of a batch, and return its loss.

    Args:
        loss_of: of a phase.
        batch: this process's rows.
        context: of the step.
        cast: context of the forward pass.
        sizes: of this process's micro-batches; they add up to len(batch).
        whole: rows of all processes; a micro-batch weighs its size / whole.
        before_last: called before the last micro-batch's backward pass, after which gradients are complete.
    """
    if sizes[0] == whole:
        with cast():
            loss = loss_of(batch, context)
        before_last()
        loss.loss.backward()
        return loss
    losses: list[tuple[float, Loss]] = []
    start = 0
    for k, size in enumerate(sizes):
        piece = batch[slice(start, start + size)]
        start += size
        share = len(piece) / whole
        with cast():
            loss = loss_of(piece, context)
        if k == len(sizes) - 1:
            before_last()
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
