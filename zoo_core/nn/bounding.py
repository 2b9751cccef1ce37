"""Bounds on a network's outputs that do not trap them outside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Bounded(torch.autograd.Function):
    """`clamp` whose backward pass drops only the gradients that push a value further outside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x < low, x > high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        below, above = ctx.saved_tensors
        (grad,) = grads
        outward = (below & (grad > 0)) | (above & (grad < 0))  # descent moves against the gradient
        return grad.masked_fill(outward, 0), None, None


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """Return x clamped to [low, high], like x, with a gradient that leads back inside.

    `clamp` has no gradient outside its range, so an output that once leaves it can't return. Here gradient
    descent may move such a value towards the range and not away from it; inside, the gradient is the
    identity's.
    """
    clamped: Tensor = _Bounded.apply(x, low, high)
    return clamped
