"""Distributions whose density, score and denoiser are known at every noise level."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from zoo_core.data.toy import TOYS, Mixture
from zoo_core.diffusion.sdes import VP
from zoo_core.interfaces import Trace


class OracleDenoiser:
    """E[x0 | x] of a mixture of Gaussians by Tweedie's formula, x + sigma^2 grad log p_sigma(x).

    Args:
        density: of the data.
        schedule: of the noise levels.
        sigma_min: lowest noise level; that of the schedule if None.
    """

    space: Literal["data", "latent"] = "data"

    def __init__(self, density: Mixture, schedule: Any = None, sigma_min: float | None = None) -> None:
        schedule = VP() if schedule is None else schedule
        self.density = density
        self.levels = schedule.levels
        self.sigma_min = schedule.ratio_min if sigma_min is None else sigma_min
        self.sigma_max, self.prior_std = schedule.ratio_max, schedule.prior_std
        self.alpha = schedule.alpha_of

    def __call__(self, x: Tensor, sigma: Tensor, cond: Any = None) -> Tensor:
        """Return E[x0 | x], like x: x (n, D), sigma a scalar."""
        level = float(sigma)
        return x + level**2 * self.density.smoothed(level).score(x)


def line_mixture() -> Mixture:
    """Return a mixture of three normals on the line."""
    return Mixture(
        torch.tensor([[-1.4], [0.2], [1.1]], dtype=torch.float64),
        torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64),
        std=0.12,
    )


def toy(name: str) -> Mixture:
    """Return the density of a toy dataset of the plane."""
    return TOYS[name].density()


def sample(density: Mixture, n: int, seed: int) -> Tensor:
    """Return n samples of a mixture, (n, D) float64."""
    rng = torch.Generator().manual_seed(seed)
    which = torch.multinomial(density.weights, n, replacement=True, generator=rng)
    eps = torch.randn(n, density.means.shape[1], generator=rng, dtype=torch.float64)
    return density.means[which] + density.std * eps


def record(states: list[Tensor]) -> Trace:
    """Return a callback that appends the states of a sampler."""
    return lambda step, sigma, x, x0: states.append(x)


def normals(*shape: int, seed: int) -> Tensor:
    """Return standard normal numbers, float64."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def digits() -> tuple[Tensor, Tensor]:
    """Return the training digits, (1437, 1, 8, 8) in [-1, 1], and their labels."""
    from zoo_core.config import DataConfig
    from zoo_core.data.digits import load
    from zoo_core.data.levels import to_unit

    table = load(DataConfig(name="digits")).train
    assert table.label is not None
    return to_unit(table.x, 17), table.label
