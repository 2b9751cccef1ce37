"""What looks at a batch as a whole, over several processes: batch norm's statistics, and rows of all of them.

Within a training step each process computes on its share of a micro-batch. Sums over all shares are
differentiable, twice too: every process makes the same calls in the same order, forward and backward.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo_core.errors import UsageError
from zoo_core.machine.distributed import numbers, sum_, world

_in_step = False


@contextlib.contextmanager
def shared_batch() -> Iterator[None]:
    """Within the block batches are shares of one, and every process computes the same loss on its own."""
    global _in_step
    _in_step = True
    try:
        yield
    finally:
        _in_step = False


def is_shared() -> bool:
    """Return whether the batch at hand is a share of a larger one."""
    return _in_step and world().size > 1


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        sum_([total])
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return summed(grads[0])


def summed(x: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes that share a batch; differentiable.

    Args:
        x: of the same shape in every process.

    Raises:
        MachineError: where another process is gone.
    """
    if not is_shared():
        return x
    total: Tensor = _Summed.apply(x)
    return total


def rows_of_all(x: Tensor) -> tuple[Tensor, slice]:
    """Return the rows of all processes that share a batch, and where this one's are; differentiable.

    Args:
        x: (n, ...); n may differ between processes.

    Raises:
        MachineError: where another process is gone.
    """
    if not is_shared():
        return x, slice(0, len(x))
    counts = numbers(len(x))
    start = sum(counts[: world().rank])
    before, after = (x.new_zeros(n, *x.shape[1:]) for n in (start, sum(counts) - start - len(x)))
    return summed(torch.cat((before, x, after))), slice(start, start + len(x))


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms in a module whose statistics are of one process's rows."""
    found = (m for m in module.modules() if isinstance(m, _BatchNorm))
    return [m for m in found if not isinstance(m, nn.SyncBatchNorm)]


@contextlib.contextmanager
def synchronized(module: nn.Module) -> Iterator[int]:
    """Within the block batch norms take their statistics over a shared batch as a whole; yields their number.

    Raises:
        UsageError: for a batch norm with a way of its own, which can't be synchronized.
    """
    norms = batch_norms(module) if world().size > 1 else []
    own = sorted({type(m).__name__ for m in norms if type(m).forward is not _BatchNorm.forward})
    if own:
        raise UsageError(
            f"{world().size} processes and batch norm with a way of its own: {', '.join(own)}",
            "expected: torch.nn.BatchNorm1d, 2d or 3d, whose statistics zoo takes over all processes",
            "next: one process, or another normalization",
        )
    for norm in norms:
        norm.forward = partial(_normalized, norm)  # type: ignore[method-assign]
    try:
        yield len(norms)
    finally:
        for norm in norms:
            del norm.forward


@torch.compiler.disable
def _normalized(norm: _BatchNorm, x: Tensor) -> Tensor:
    """Return what a batch norm does: in training, with the mean and variance over all processes' rows."""
    if not (norm.training and is_shared()):
        return _BatchNorm.forward(norm, x)
    norm._check_input_dim(x)
    values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    over, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
    own = values.new_full((1,), x.numel() // x.shape[1])
    total = summed(torch.cat((values.sum(over), own)))
    n, mean = total[-1], total[:-1] / total[-1]
    centered = values - mean.view(shape)
    squares = summed(centered.square().sum(over))
    with torch.no_grad():
        _observe(norm, mean, squares / (n - 1))
    y = centered * (squares / n + norm.eps).rsqrt().view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    return y.to(x.dtype)


def _observe(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    part: Any = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean), part)
    norm.running_var.lerp_(variance.to(norm.running_var), part)
