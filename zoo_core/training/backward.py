"""One backward pass over a batch: whole, or in micro-batches whose losses are joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

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

    Raises:
        TypeError: where the phase's loss is not what `Loss` says.
    """
    if sizes[0] == whole:
        with cast():
            loss = checked(loss_of(batch, context))
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
            loss = checked(loss_of(piece, context))
        if k == len(sizes) - 1:
            before_last()
        (loss.loss * share).backward()
        losses.append((share, loss))
    return _joined(losses)


def checked(loss: Any) -> Loss:
    """Return what a phase's loss returned, once it is a `Loss` that can be minimized and recorded.

    Raises:
        TypeError: where it is not; the message says what was expected.
    """
    if not isinstance(loss, Loss):
        kind = "None" if loss is None else f"a {type(loss).__name__}"
        raise TypeError(f"the loss returned {kind}, expected zoo_core.types.Loss(loss)")
    value = loss.loss
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
        raise TypeError(f"Loss.loss is {_kind(value)}, expected a scalar tensor of floats")
    if not value.requires_grad:
        raise TypeError("Loss.loss has no gradient, expected one that depends on what the phase updates")
    for name, logged in loss.log.items():
        if not isinstance(logged, Tensor) or logged.numel() != 1:
            raise TypeError(f"Loss.log[{name!r}] is {_kind(logged)}, expected a detached scalar tensor")
    return loss


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype} and shape {tuple(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"


def _joined(losses: list[tuple[float, Loss]]) -> Loss:
    """Return the loss of a whole batch from those of its micro-batches and their shares of it."""
    first = losses[0][1]
    return Loss(
        loss=torch.stack([share * part.loss.detach() for share, part in losses]).sum(),
        log={name: sum(share * part.log[name] for share, part in losses) for name in first.log},  # type: ignore[misc]
        sums={name: sum(part.sums[name] for _, part in losses) for name in first.sums},  # type: ignore[misc]
        keep={name: torch.cat([part.keep[name] for _, part in losses]) for name in first.keep},
    )
