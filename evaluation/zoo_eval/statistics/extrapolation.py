"""The limit of a biased statistic for infinitely many samples, with a standard error.

The bias is a series in 1/n. Its first two terms are removed by comparing the statistic of all samples with
its means over halves and over quarters of them (Richardson's extrapolation; Chong and Forsyth 2020,
arXiv:1911.07023, section 4, fit a line in 1/n to random subsets). Halves are unions of eight blocks by the
rows of a Hadamard matrix, as in balanced repeated replication (McCarthy 1969, Rev. Int. Stat. Inst. 37): for
a quadratic statistic the seven splits average out as much noise as all 35 would. No subset repeats a
sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

BLOCKS = 8
_ONE_TERM = 1 / 7
_TWO_TERMS = 1 / 3
"""What the correction adds to the variance, in units of the quadratic part's: its weights on the seven
orthogonal contrasts of the blocks are -1/7 each, or -2/7 four times and 1/21 three times."""
_LEAST = 0.75
"""Smallest variance, in units of the quadratic part's, where the difference of both estimates is lost in
noise; chosen in ci/studies/fd_inf.py."""


class Limit(NamedTuple):
    """An extrapolated value.

    Attributes:
        value: unbiased, so that it may come out below 0 where the limit is near 0.
        standard_error: of the value, the extrapolation's own noise included.
    """

    value: float
    standard_error: float


def extrapolate(
    statistic: Callable[[Tensor], float], order: Tensor, linear_variance: float, *, quarters: bool = True
) -> Limit:
    """Return the limit of a statistic for infinitely many samples.

    Near a minimum a statistic is quadratic in the samples, and its linear variance, taken at the sampled
    point, is too large by 2 V with V the variance of the quadratic part: that of the even parts
    (T(half) + T(other half)) / 2 over the seven splits, which are independent. So the variance is
    `linear_variance` - 2 V + V + what the correction adds.

    Args:
        statistic: value of the samples whose indices are given.
        order: (n,) the indices of all samples, in random order; n at least 8.
        linear_variance: of the statistic of all samples, by its influence function.
        quarters: whether to remove the second term of the bias too; quarters must be large enough for the
            series to hold.
    """
    blocks = order.tensor_split(BLOCKS)

    def of(chosen: list[int]) -> float:
        return statistic(torch.cat([blocks[k] for k in chosen]))

    even = torch.tensor(
        [
            sum(of([k for k in range(BLOCKS) if (k & row).bit_count() % 2 == side]) for side in (0, 1)) / 2
            for row in range(1, BLOCKS)
        ],
        dtype=torch.float64,
    )
    whole, halves, quadratic = statistic(order), float(even.mean()), float(even.var())
    if quarters:
        value = (8 * whole - 6 * halves + sum(of([k, k + 4]) for k in range(4)) / 4) / 3
        added = _TWO_TERMS
    else:
        value, added = 2 * whole - halves, _ONE_TERM
    variance = max(linear_variance - (1 - added) * quadratic, _LEAST * quadratic)
    return Limit(value, variance**0.5)
