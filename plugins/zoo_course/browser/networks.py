"""The denoiser of the interactive page, a small network whose arithmetic is repeated in networks.js."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from zoo_core.nn.perceptron import perceptron
from zoo_core.types import Cond

RATES = (0.5, 1.0, 2.0)
"""Rates of the sines and cosines of log sigma that tell the network the noise level."""
P_MEAN, P_STD = -1.2, 1.2
"""Of the normal distribution of log sigma in training."""


def noise_features(sigma: Tensor) -> Tensor:
    """Return sines and cosines of log sigma at RATES, (n, 2 len(RATES)), for noise levels (n,)."""
    angles = sigma.log()[:, None] * torch.tensor(RATES, dtype=sigma.dtype)
    return torch.cat((angles.sin(), angles.cos()), 1)


class SmallDenoiser(nn.Module):
    """E[x0 | x0 + sigma eps] as a `zoo_core.interfaces.Denoiser`, by a perceptron F with three hidden layers.

    D(x) = mean + U (c_skip y + c_out F(c_in y, noise features, class)) with y = U^T (x - mean): the form of
    Karras et al. 2022, arXiv:2206.00364, Eq. 7 and table 1, for each principal component of the data with
    the standard deviation of that component. F = 0 is the exact denoiser of a normal distribution.

    Args:
        x0: training data, (n, D), whose principal components are used.
        classes: number of classes; the label `classes` is the null label. 0 for an unconditional network.
        width: of the hidden layers.
        sigma_min, sigma_max: range of noise levels.
    """

    space: Literal["data", "latent"] = "data"
    levels: Tensor | None = None
    mean: Tensor
    basis: Tensor
    std: Tensor

    def __init__(self, x0: Tensor, classes: int, width: int, sigma_min: float, sigma_max: float) -> None:
        super().__init__()
        self.classes = classes
        self.sigma_min, self.sigma_max, self.prior_std = sigma_min, sigma_max, sigma_max
        mean = x0.double().mean(0)
        _, values, rows = torch.linalg.svd(x0.double() - mean, full_matrices=False)
        self.register_buffer("mean", mean.float())
        self.register_buffer("basis", rows.T.contiguous().float())
        self.register_buffer("std", (values / len(x0) ** 0.5).clamp_min(1e-3).float())
        dims = x0.shape[1]
        inputs = dims + 2 * len(RATES) + (classes + 1 if classes else 0)
        self.net = perceptron([inputs, width, width, width, dims])
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)  # training starts at the denoiser of a normal distribution
        nn.init.zeros_(last.bias)

    def alpha(self, sigma: Tensor) -> Tensor:
        """Return 1: the signal is not scaled."""
        return torch.ones_like(sigma)

    def coordinates(self, x: Tensor) -> Tensor:
        """Return y = U^T (x - mean), (n, D)."""
        return (x - self.mean) @ self.basis

    def residual(self, y: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        """Return F, (n, D), for noisy coordinates y (n, D), sigma (n,) and labels (n,)."""
        parts = [y / (sigma[:, None] ** 2 + self.std**2).sqrt(), noise_features(sigma)]
        if self.classes:
            chosen = torch.full((len(y),), self.classes) if label is None else label
            parts.append(nn.functional.one_hot(chosen, self.classes + 1).to(y.dtype))
        out: Tensor = self.net(torch.cat(parts, 1))
        return out

    def forward(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        """Return E[x0 | x], like x: x (n, D), sigma a scalar or (n,)."""
        y, level = self.coordinates(x), sigma.to(x).expand(len(x))
        skip, out = self.scales(level)
        residual = self.residual(y, level, None if cond is None else cond.label)
        return self.mean + (skip * y + out * residual) @ self.basis.T

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return c_skip = std^2 / (sigma^2 + std^2) and c_out = sigma std / sqrt(sigma^2 + std^2), (n, D)."""
        level = sigma[:, None]
        total = level**2 + self.std**2
        return self.std**2 / total, level * self.std / total.sqrt()


def even_levels(model: SmallDenoiser, n: int, rng: torch.Generator) -> Tensor:
    """Return noise levels (n,): log sigma evenly spread over the model's range, one in each of n parts."""
    low, high = math.log(model.sigma_min), math.log(model.sigma_max)
    return (low + (high - low) * _parts(n, rng)).exp()


def normal_levels(model: SmallDenoiser, n: int, rng: torch.Generator) -> Tensor:
    """Return noise levels (n,): log sigma normal, one in each of n parts, clamped to the model's range.

    Mean and standard deviation are those of Karras et al. 2022, arXiv:2206.00364, table 1.
    """
    log_sigma = P_MEAN + P_STD * torch.special.ndtri(_parts(n, rng).clamp(1e-6, 1 - 1e-6))
    return log_sigma.exp().clamp(model.sigma_min, model.sigma_max)


def _parts(n: int, rng: torch.Generator) -> Tensor:
    """Return one uniform number in each of n equal parts of [0, 1)."""
    return (torch.arange(n) + torch.rand(n, generator=rng)) / n


def denoising_loss(
    model: SmallDenoiser, x0: Tensor, sigma: Tensor, label: Tensor | None, rng: torch.Generator
) -> Tensor:
    """Return the mean squared error of F against (y0 - c_skip y) / c_out, which has unit variance.

    Source: Karras et al. 2022, Eq. 8.

    Args:
        x0: data, (n, D).
        sigma: noise levels, (n,).
        label: (n,); None without classes.
        rng: of the noise.
    """
    y0 = model.coordinates(x0)
    y = y0 + sigma[:, None] * torch.randn(y0.shape, generator=rng)
    skip, out = model.scales(sigma)
    return (model.residual(y, sigma, label) - (y0 - skip * y) / out).square().mean()
