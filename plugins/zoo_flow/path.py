"""The straight path x_t = (1 - t) x0 + t eps from data at t = 0 to noise at t = 1.

Lipman et al. 2023, arXiv:2210.02747, Eq. 20 to 23, with sigma_min = 0 and time reversed: there data are at
t = 1. The velocity is u = eps - x0, so that E[x0 | x_t] = x_t - t E[u | x_t], and sigma = t / (1 - t).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from zoo_core.diffusion.levels import on_device
from zoo_core.diffusion.prediction import like
from zoo_core.interfaces import Denoiser, Trace
from zoo_core.seeds import Seeds

T_MIN, T_MAX = 1e-3, 1 - 1e-3
"""Where sampling ends and starts. At t = 1 sigma is infinite. At t = 1 - 1e-3, 1/1000 of the data is left,
and samples start from N(0, (1 - t)^2 + t^2), the variance for data of unit variance."""


class StraightPath:
    """The schedule alpha = 1 - t, sigma = t, at times in [T_MIN, T_MAX]."""

    levels: Tensor | None = None
    ratio_min = T_MIN / (1 - T_MIN)
    ratio_max = T_MAX / (1 - T_MAX)
    prior_std = math.hypot(1, ratio_max)

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1 - t, like t."""
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        """Return t."""
        return t

    def t_of(self, ratio: Tensor) -> Tensor:
        """Return ratio / (1 + ratio), like ratio."""
        return ratio / (1 + ratio)

    def alpha_of(self, ratio: Tensor) -> Tensor:
        """Return 1 / (1 + ratio), like ratio."""
        return 1 / (1 + ratio)


def even_in_t(denoise: Denoiser, steps: int) -> Tensor:
    """Return levels that are even in t = sigma / (1 + sigma), from sigma_max down to 0.

    Args:
        denoise: whose sigma_max is the first level.
        steps: at least 1.
    """
    last = denoise.sigma_max / (1 + denoise.sigma_max)
    t = torch.linspace(last, 0, steps + 1, dtype=torch.float64)
    sigmas = t / (1 - t)
    sigmas[0] = denoise.sigma_max  # exactly: the quotient is off by rounding
    return sigmas


def heun_in_t(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Trace | None = None
) -> Tensor:
    """Solve dx_t / dt = (x_t - x0) / t by Heun's method, of second order in t: 2 steps - 1 calls.

    In the path's own scale x_t = x / (1 + sigma) no rounding is multiplied by the ratio of two large sigmas,
    as it is in sigma-space. The step to 0, where the velocity is not defined, is Euler's.
    """
    numbers = (sigmas / (1 + sigmas)).tolist()
    levels = on_device(sigmas, x.device)
    y = x * (1 - numbers[0])
    for i, (t, s) in enumerate(pairwise(numbers)):
        x0 = denoise(y / (1 - t), levels[i])
        if callback is not None:
            callback(i, levels[i], y / (1 - t), x0)
        velocity = (y - x0) / t
        ahead = y + (s - t) * velocity
        if i < len(numbers) - 2:
            x0 = denoise(ahead / (1 - s), levels[i + 1])
            if callback is not None:
                callback(i, levels[i + 1], ahead / (1 - s), x0)
            ahead = y + (s - t) * (velocity + (ahead - x0) / s) / 2
        y = ahead
    return y


@torch.no_grad()
def straightness(denoise: Denoiser, eps: Tensor, steps: int = 50) -> float:
    """Return how far the paths of the flow are from straight lines: 0 for straight ones.

    It is the mean over t of |x_1 - x_0 - v(x_t, t)|^2, over |x_1 - x_0|^2 (Liu et al. 2023,
    arXiv:2209.03003, Eq. 4, made free of the data's scale), along Euler's paths.

    Args:
        denoise: a denoiser of data.
        eps: (n, *shape) standard normal, where the paths start.
        steps: of Euler's method.
    """
    sigmas = even_in_t(denoise, steps)
    x = eps * denoise.prior_std
    start = x / (1 + denoise.sigma_max)
    velocities = []
    for sigma, following in pairwise(sigmas):
        x0 = denoise(x, sigma)
        slope = (x - x0) / like(sigma, x)
        # In the path's own scale, x_t = x / (1 + sigma): dx_t / dt = eps - x0 = (x - x0) / sigma - x0.
        velocities.append(slope - x0)
        x = x + like(following - sigma, x) * slope
    line = (start - x) * (1 + 1 / denoise.sigma_max)  # per unit of t: the path starts before t = 1
    bend = torch.stack([(line - velocity).square().mean() for velocity in velocities]).mean()
    return float(bend / line.square().mean())
