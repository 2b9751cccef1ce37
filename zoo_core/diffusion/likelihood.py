"""The variational bound of a discrete diffusion chain, term by term, in nats.

-log p(x0) <= L_T + sum_{t=2}^{T} L_{t-1} + L_0 in expectation, with (Ho et al. 2020, arXiv:2006.11239, Eq. 5)

    L_T     = KL(q(x_T | x0) || p(x_T))
    L_{t-1} = KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t))
    L_0     = -log p(x0 | x_1)

All of it is computed in sigma-space, x = x_t / alpha_t, where a KL is the same. The chain's levels are the
denoiser's trained ones, so the chain that is bounded is the one that `ddpm` (variance beta) or `ancestral`
(beta-tilde) samples at full length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.samplers import forward_std, posterior_std
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser, HasPosterior
from zoo_core.seeds import Seeds

Variance = Literal["beta", "beta-tilde", "learned"]
Decoder = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x0, mean, std) -> log p(x0 | x_1), elementwise, in nats."""

_LOG_2PI = math.log(2 * math.pi)
_SQRT_2 = math.sqrt(2)


def gaussian_log_prob(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return log N(x; mean, std^2) elementwise, in nats: the decoder for points, which are continuous."""
    return -0.5 * ((x - mean) / std) ** 2 - std.log() - 0.5 * _LOG_2PI


def discretized_gaussian(levels: int) -> Decoder:
    """Return the decoder of images with L levels, 2k / (L - 1) - 1: the normal's mass in each level's bin.

    A bin has half-width 1 / (L - 1); the outer two take the tails, so the L masses add up to 1. Ho et al.
    2020, Eq. 13 (with L = 256).

    Args:
        levels: L, at least 2.
    """
    half = 1 / (levels - 1)

    def log_prob(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Return log of the mass of x's bin, elementwise, in nats; x at level centers."""
        x, mean, std = torch.broadcast_tensors(x, mean, std)
        first, last = x < half - 1, x > 1 - half
        middle = (x - mean).clamp(-_FAR, _FAR) / std
        width = 2 * half / std
        tail = log_normal_cdf(torch.where(first, middle + width / 2, width / 2 - middle))
        inner = log_normal_mass(middle.masked_fill(first | last, 0), width)
        return torch.where(first | last, tail, inner)

    return log_prob


_FAR = 1e4
"""Distance beyond which a mean counts as this far from data in [-1, 1]: its square, in units of the least
variance that is met, is finite in float32."""


def log_normal_cdf(z: Tensor) -> Tensor:
    """Return log Phi(z) of the standard normal distribution, elementwise.

    `torch.special.log_ndtr` has the same values, but the gradient of it is not a number below -3e4 in
    float32, where it divides a density by a probability that both vanish.
    """
    below, above = z.clamp(max=0), z.clamp(min=0)
    tail = _log_erfcx(-below) - below**2 / 2
    return torch.where(z < 0, tail, torch.log1p(-torch.special.erfc(above / _SQRT_2) / 2))


def _log_erfcx(z: Tensor) -> Tensor:
    """Return log Phi(-z) + z^2 / 2, elementwise, for z >= 0: it changes slowly and has no cancellation."""
    return torch.log(torch.special.erfcx(z / _SQRT_2) / 2)


def log_normal_mass(middle: Tensor, width: Tensor) -> Tensor:
    """Return log of the standard normal distribution's mass in bins, elementwise, finite as is its gradient.

    Args:
        middle: of the bins, at most 1e12 from 0.
        width: of the bins, above 0, like middle.
    """
    distance = middle.abs()  # the mass is even in the middle: every bin is moved to the upper half
    # In a bin of width w, on the scale that the density changes on, the series' error is about w^4 / 2000 and
    # that of a difference eps / w: the limit is where they are equal.
    limit = (2000 * torch.finfo(width.dtype).eps) ** 0.2
    narrow = width * (1 + distance) < limit
    # Midpoint rule: log of density times width, and the first term of the error.
    short = torch.where(narrow, width, torch.full_like(width, limit))
    near = torch.where(narrow, distance, torch.zeros_like(distance))
    series = short.log() - near**2 / 2 - _LOG_2PI / 2 + short**2 * (near**2 - 1) / 24
    # A bin with 0 inside: two masses of one sign, each from 0 to an end.
    low, high = distance - width / 2, distance + width / 2
    around = ~narrow & (low < 0)
    left = torch.where(around, low, torch.full_like(low, -1.0))
    right = torch.where(around, high, torch.ones_like(high))
    straddling = torch.log((torch.erf(right / _SQRT_2) - torch.erf(left / _SQRT_2)) / 2)
    # Elsewhere Phi(-low) (1 - Phi(-high) / Phi(-low)); the squares in the logarithms are subtracted first.
    away = ~narrow & (low >= 0)
    left = torch.where(away, low, torch.ones_like(low))
    right = torch.where(away, high, torch.full_like(high, 2.0))
    apart = torch.where(away, width * distance, torch.full_like(width, 1.5))
    log_ratio = _log_erfcx(right) - _log_erfcx(left) - apart
    beside = _log_erfcx(left) - left**2 / 2 + torch.log(-torch.expm1(log_ratio))
    return torch.where(narrow, series, torch.where(around, straddling, beside))


def prior_kl(x0: Tensor, sigma: float, prior_std: float) -> Tensor:
    """Return L_T = KL(N(x0, sigma^2) || N(0, prior_std^2)), summed over each example, (n,) nats.

    Args:
        x0: (n, *shape).
        sigma: the chain's last level.
        prior_std: of the start in sigma-space.
    """
    ratio = (sigma / prior_std) ** 2
    # The logarithm's and the variance's part nearly cancel: log1p keeps their difference.
    kl = 0.5 * (x0.double() ** 2 / prior_std**2 + (ratio - 1) - math.log1p(ratio - 1))
    return kl.flatten(1).sum(1)


def step_kl(x0: Tensor, guess: Tensor, t: Tensor, s: Tensor, std: Tensor) -> Tensor:
    """Return L_{t-1} = KL(q(x_s | x_t, x0) || N(mean(x_t, guess), std^2)), elementwise, in nats.

    Args:
        x0: (n, *shape).
        guess: the denoiser's x0 at level t, like x0.
        t, s: levels, s < t, that broadcast against x0.
        std: of the model's reverse step, likewise.
    """
    ratio = (posterior_std(t, s) / std) ** 2
    shift = (1 - (s / t) ** 2) * (x0 - guess) / std
    return 0.5 * (ratio - 1 - ratio.log() + shift**2)


def strata(steps: int, count: int) -> Tensor:
    """Return bounds b_0 < ... < b_m of m <= count strata of 2..steps, (m + 1,) int64, the last one steps + 1.

    They are narrow at small t, where the terms are large and vary most: even in log t, none empty.
    """
    edges = torch.logspace(math.log10(2), math.log10(steps + 1), count + 1, dtype=torch.float64)
    return edges.round().long().unique() if count < steps - 1 else torch.arange(2, steps + 2)


def bound(
    denoise: Denoiser,
    x0: Tensor,
    *,
    noise: Seeds,
    variance: Variance,
    decoder: Decoder,
    terms: int | None = None,
) -> Tensor:
    """Return the pieces of -log p(x0)'s upper bound, (n, m + 2) float64 nats: [L_T, step terms, L_0].

    Each example draws one noise a piece. With fewer terms than the chain has, each example draws one t from
    each stratum of 2..T (`strata`) and weighs it by the stratum's size: the sum's expectation is unchanged.
    L_0, the decoder's, has variance beta_1 under both fixed choices, since beta-tilde_1 is 0.

    Args:
        denoise: with discrete levels.
        x0: (n, *shape), level centers or points.
        noise: one stream an example.
        variance: of the reverse steps; learned asks the denoiser.
        decoder: `discretized_gaussian(L)`, or `gaussian_log_prob` for points.
        terms: step terms an example evaluates; None for all T - 1.

    Raises:
        UsageError: for a denoiser whose levels are continuous: it has no chain; or whose variance is asked
            for and was not learned.
    """
    if denoise.levels is None:
        raise UsageError(
            "a variational bound asked of a model with continuous time", "expected: discrete levels"
        )
    if variance == "learned" and not isinstance(denoise, HasPosterior):
        raise UsageError(
            "a learned variance asked of a model that learned none", "expected: beta, beta-tilde"
        )
    levels = denoise.levels.to(x0.device, torch.float64)
    steps = len(levels)
    edges = strata(steps, steps if terms is None else terms).to(x0.device)
    sizes = edges.diff()
    clean = x0.double()

    def noisy(sigma: Tensor) -> Tensor:
        return x0 + like(sigma, x0) * noise.randn(x0.shape[1:], name="step")

    def spread(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        if isinstance(denoise, HasPosterior) and variance == "learned":
            return (denoise.log_var(x, t, s).double() / 2).exp()
        fixed = posterior_std(t, s) if variance == "beta-tilde" and bool((s > 0).all()) else None
        return like(forward_std(t, s, denoise) if fixed is None else fixed, clean)

    pieces = [prior_kl(x0, float(levels[-1]), denoise.prior_std)]
    for first, size in zip(edges[:-1], sizes, strict=True):
        chosen = first + (noise.rand((), name="stratum") * size).long().clamp(max=size - 1)
        t, s = levels[chosen - 1], levels[chosen - 2]
        x = noisy(t)
        guess = denoise(x, t).double()
        kl = step_kl(clean, guess, like(t, clean), like(s, clean), spread(x, t, s))
        pieces.append(size * kl.flatten(1).sum(1))
    t = levels[0].expand(len(x0))
    x = noisy(t)
    log_prob = decoder(clean, denoise(x, t).double(), spread(x, t, torch.zeros_like(t)))
    pieces.append(-log_prob.flatten(1).sum(1))
    return torch.stack(pieces, 1)
