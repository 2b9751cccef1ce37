"""From a log-likelihood to the one figure that all models share: the code length of the data's levels.

Level k of L is x = 2k / (L - 1) - 1, in a bin of width 2 / (L - 1). A probability over levels is a code
length as it stands; a density becomes one by uniform dequantization (Theis, van den Oord and Bethge 2016,
arXiv:1511.01844, section 3.1), log P(k) >= E_u[log p(x + (u - 1/2) 2 / (L - 1))] + D log(2 / (L - 1)).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from zoo_core.data.loading import dequantize
from zoo_core.seeds import Seeds

COLLAPSED = 0.05
"""A part of a latent whose KL to its prior is below this many nats says nothing of the data."""


def bits_per_dim(log_prob: Tensor, dims: int) -> Tensor:
    """Return -log_prob / (dims ln 2): bits for each value of an example, whose log_prob is in nats."""
    return -log_prob / (dims * math.log(2))


def dequantized(log_density: Callable[[Tensor], Tensor], x: Tensor, levels: int, *, noise: Seeds) -> Tensor:
    """Return log P of discrete images under a density, nats, from one uniform draw per image.

    In expectation over the draw it bounds the log-probability of the levels from below.

    Args:
        log_density: (n, *shape) float64 to (n,) nats, a density over the model's range [-1, 1].
        x: (n, *shape) level centers.
        levels: L.
        noise: one stream per image.

    Returns:
        (n,) float64.
    """
    shape = x.shape[1:]
    u = noise.rand(shape).to(x.device)
    spread = dequantize(x.double(), levels, u.double())
    return log_density(spread).double() + math.prod(shape) * math.log(2 / (levels - 1))
