"""The discretized logistic distribution: a probability of the levels of a value."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_SCALE_MIN = -7.0
"""Least log-scale of a logistic and log-standard deviation of a Gaussian: a density has no upper bound."""
LOG_SCALE_MAX = 7.0
"""Greatest log-scale: in the limit the inner levels of a logistic have no mass and an unbounded log-mass."""
LOCATION_MAX = 3.0
"""Greatest distance of a logistic's location from 0, for data in [-1, 1]: from there the outermost level has
all mass but e^-20 at scales up to 0.1."""
LOGIT_MAX = 1e3
"""Greatest size of a logit, so that a sum over the values of an example is finite."""


def logistic_log_prob(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Return the log-mass of a logistic distribution in the bin of each level, elementwise, in nats.

    The bin of x is [x - h, x + h] with h = 1 / (L - 1); the outer two take the tails, so the L masses add
    up to 1. Salimans et al. 2017, arXiv:1701.05517, Eq. 2.

    Args:
        x: level centers.
        mean, log_scale: of the logistic, in the units of x.
        levels: L, at least 2.
    """
    half = 1 / (levels - 1)
    rate = torch.exp(-log_scale)
    upper, lower = (x + half - mean) * rate, (x - half - mean) * rate
    first, last = x < half - 1, x > 1 - half
    # s(b) - s(a) = s(b) s(-a) (1 - e^(a - b)) for the sigmoid s: no difference of two close numbers.
    below_upper = F.logsigmoid(upper).masked_fill(last, 0)
    above_lower = F.logsigmoid(-lower).masked_fill(first, 0)
    both = torch.log(-torch.expm1(-2 * half * rate))
    return below_upper + above_lower + torch.where(first | last, torch.zeros_like(both), both)


def parameters_of(out: Tensor) -> Tensor:
    """Return a network's output in float32 at least: bfloat16 keeps three digits of a log-scale."""
    return out.float() if out.dtype in (torch.bfloat16, torch.float16) else out
