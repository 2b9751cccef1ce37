"""Denoisers in closed form, and noise that a test can see through; all in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.schedule import DiscreteVP, linear_betas


class Noise:
    """Stands in for Seeds: float64, and counts what was drawn."""

    def __init__(self, n: int, seed: int = 0) -> None:
        self.n = n
        self.draws = 0
        self.rng = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.n

    def randn(self, shape, **address) -> Tensor:
        self.draws += 1
        return torch.randn(self.n, *shape, generator=self.rng, dtype=torch.float64)

    def rand(self, shape, **address) -> Tensor:
        return torch.rand(self.n, *shape, generator=self.rng, dtype=torch.float64)


class OneAtATime(Noise):
    """Row k meets a 1 in draw k and zeros elsewhere: a linear sampler then shows each noise's coefficient."""

    def randn(self, shape, **address) -> Tensor:
        z = torch.zeros(self.n, *shape, dtype=torch.float64)
        z[self.draws] = 1
        self.draws += 1
        return z


class Exact:
    """A Denoiser in closed form under any clock.

    Args:
        x0_of: (x, sigma shaped to broadcast) -> E[x0 | x].
        schedule: of the levels; None for variance-exploding ones from 0.002 to 80, continuous.
    """

    space = "data"

    def __init__(self, x0_of: Callable[[Tensor, Tensor], Tensor], schedule: Any = None) -> None:
        self.x0_of = x0_of
        self.schedule = schedule
        self.levels = None if schedule is None else schedule.levels
        self.sigma_min = 0.002 if schedule is None else schedule.ratio_min
        self.sigma_max = 80.0 if schedule is None else schedule.ratio_max
        self.prior_std = self.sigma_max if schedule is None else schedule.prior_std

    def alpha(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma) if self.schedule is None else self.schedule.alpha_of(sigma)

    def __call__(self, x: Tensor, sigma: Tensor, cond=None) -> Tensor:
        return self.x0_of(x, like(sigma, x))


def vp(steps: int = 1000) -> DiscreteVP:
    """Ho's betas; on a chain of another length, scaled so that alpha_bar_T stays small."""
    return DiscreteVP(linear_betas(steps, 0.1 / steps, 20 / steps))


def gaussian(mean: Tensor, cov: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """E[x0 | x] = mean + cov (cov + sigma^2 I)^-1 (x - mean), for x of (n, D)."""
    values, vectors = torch.linalg.eigh(cov)

    def x0_of(x: Tensor, sigma: Tensor) -> Tensor:
        return mean + ((x - mean) @ vectors * (values / (values + sigma**2))) @ vectors.T

    return x0_of


def mixture(weights: Tensor, means: Tensor, std: float) -> Callable[[Tensor, Tensor], Tensor]:
    """E[x0 | x] of round normals of one width: weights (K,), means (K, D), x (n, D)."""

    def x0_of(x: Tensor, sigma: Tensor) -> Tensor:
        var = std**2 + sigma**2
        logits = weights.log() - (x[:, None] - means).square().sum(-1) / (2 * var)
        center = logits.softmax(-1) @ means
        return center + std**2 / var * (x - center)

    return x0_of
