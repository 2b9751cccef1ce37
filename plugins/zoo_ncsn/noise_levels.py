"""The sequence of noise levels: standard deviations of one ratio; nothing is taken from the signal."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo_core.errors import UsageError


class NoiseLevels(nn.Module):
    """x = x0 + sigma_t eps at L levels of one ratio, sigma_1 = sigma_min < ... < sigma_L = sigma_max.

    Time t is 1..L, upwards as in the lecture; the paper counts down from sigma_max. sigma_t is the standard
    deviation, so that the variance is sigma_t^2. A level between two is given the time of the nearer one in
    log(sigma): the network never sees a time that it was not trained for.
    Source: Song and Ermon 2019, arXiv:1907.05600, section 4.1.

    Args:
        count: L.
        sigma_min, sigma_max: the ends.

    Raises:
        UsageError: for fewer than two levels, or ends that do not rise.
    """

    levels: Tensor

    def __init__(self, count: int, sigma_min: float, sigma_max: float) -> None:
        super().__init__()
        if count < 2 or not 0 < sigma_min < sigma_max:
            raise UsageError(
                f"a schedule of {count} levels from {sigma_min:g} to {sigma_max:g}",
                "expected: at least 2, 0 < sigma_min < sigma_max",
            )
        first, last = math.log(sigma_min), math.log(sigma_max)
        levels = torch.linspace(first, last, count, dtype=torch.float64).exp()
        levels[0], levels[-1] = sigma_min, sigma_max  # exactly: exp(log) is off by rounding
        self.register_buffer("levels", levels, persistent=False)
        self.log_min = first
        self.log_ratio = (last - first) / (count - 1)
        self.ratio_min = sigma_min
        self.ratio_max = sigma_max
        self.prior_std = sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1, float64, like t."""
        return torch.ones_like(t, dtype=torch.float64)

    def sigma(self, t: Tensor) -> Tensor:
        """Return sigma_t, float64, for integer t in 1..L."""
        return self.levels[t - 1]

    def t_of(self, ratio: Tensor) -> Tensor:
        """Return the time in 1..L, int64, whose level is nearest to `ratio` in its logarithm."""
        level = (ratio.double().log() - self.log_min) / self.log_ratio
        return level.round().long().clamp(0, len(self.levels) - 1) + 1

    def alpha_of(self, ratio: Tensor) -> Tensor:
        """Return 1, like ratio."""
        return torch.ones_like(ratio)
