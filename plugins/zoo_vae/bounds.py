"""Lower bounds on log p(x) of a model with latents z, a prior p(z) and an approximate posterior q(z | x).

    ELBO(x)   = E_q[log p(x | z)] - KL(q(z | x) || p(z))                  (Kingma and Welling 2014, Eq. 3)
    IWAE_K(x) = E_q[log 1/K sum_k p(x | z_k) p(z_k) / q(z_k | x)]         (Burda et al. 2016, Eq. 8)

ELBO = IWAE_1 <= IWAE_2 <= ... <= log p(x). All q here are normal distributions with a diagonal covariance,
given by mean and log-variance (never by standard deviation).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from zoo_core.data.likelihood import dequantized
from zoo_core.data.loading import dequantize
from zoo_core.nn.bounding import bounded
from zoo_core.seeds import Seeds
from zoo_core.types import DataInfo, Likelihood
from zoo_vae.decoders import OutputDistribution, check_levels

LOG_VAR_MIN, LOG_VAR_MAX = -20.0, 10.0
"""Bounds of a posterior's log-variance: its KL and its samples grow with the exponential of it."""


def mean_and_log_var(out: Tensor) -> tuple[Tensor, Tensor]:
    """Return (mean, log_var) of a normal distribution, (n, d) each, from a network's output (n, 2 d).

    The log-variance is bounded to [LOG_VAR_MIN, LOG_VAR_MAX].
    """
    mean, log_var = out.chunk(2, 1)
    return mean, bounded(log_var, LOG_VAR_MIN, LOG_VAR_MAX)


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """Return KL(N(mean, diag exp(log_var)) || N(0, I)), (n,) nats, for (n, latent_dim) each.

    Source: Kingma and Welling 2014, arXiv:1312.6114, appendix B.
    """
    return latent_kl(mean, log_var).sum(1)


def latent_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """Return `gaussian_kl` of each dimension apart, (n, latent_dim) nats."""
    return 0.5 * (mean**2 + log_var.exp() - log_var - 1)


def reparameterize(mean: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    """Return z = mean + exp(log_var / 2) eps: a draw of N(mean, exp(log_var)) that gradients pass through."""
    return mean + torch.exp(log_var / 2) * eps


def kl_weight(progress: float, warmup: float) -> float:
    """Return the KL's weight in the loss: from 0 to 1 along a line while progress is below warmup, then 1."""
    return min(1.0, progress / warmup) if warmup else 1.0


def log_prior_ratio(z: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    """Return log p(z) - log q(z | x), (..., n) nats, at z = mean + exp(log_var / 2) eps.

    Args:
        z, log_var, eps: (..., n, latent_dim); p(z) is the standard normal distribution.
    """
    return 0.5 * (eps**2 + log_var - z**2).sum(-1)


def log_mean_exp(draw: Callable[[], Tensor], k: int) -> Tensor:
    """Return log 1/k sum exp(w) over k calls of draw, (n,); memory does not grow with k."""
    total = draw()
    for _ in range(k - 1):
        total = torch.logaddexp(total, draw())
    return total - math.log(k)


def spread(x: Tensor, data: DataInfo, output: OutputDistribution, rng: torch.Generator) -> Tensor:
    """Return what a decoder is trained on: levels as they are, or dequantized where it is a density."""
    if data.levels is None or output.discrete:
        return x
    return dequantize(x, data.levels, torch.rand(x.shape, generator=rng, device=x.device))


def bounds(
    elbo: Callable[[Tensor], Tensor],
    iwae: Callable[[Tensor], Tensor],
    x: Tensor,
    data: DataInfo,
    output: OutputDistribution,
    *,
    noise: Seeds,
    k: int,
    kl: Callable[[Tensor], Mapping[str, Tensor]],
) -> Sequence[Likelihood]:
    """Return the ELBO and IWAE_k of a batch; of images under a density, by uniform dequantization.

    Args:
        elbo, iwae: (n, *shape) to (n,) float64 nats; iwae takes k draws of z.
        x: (n, *shape) level centers, or points.
        kl: of x, the KL of each part of the latent, (n,) nats.

    Raises:
        UsageError: where the decoder is a probability of levels and x lies between them.
    """
    dequantization: Literal["none", "uniform"] = "none"
    if data.levels is None:
        lower, tighter = elbo(x), iwae(x)
    elif output.discrete:
        check_levels(x, data.levels)
        lower, tighter = elbo(x), iwae(x)
    else:
        dequantization = "uniform"
        lower, tighter = (dequantized(bound, x, data.levels, noise=noise) for bound in (elbo, iwae))
    return [
        Likelihood(lower, "elbo", dequantization=dequantization, calls=2, kl=kl(x)),
        Likelihood(tighter, "iwae", k=k, dequantization=dequantization, calls=1 + k),
    ]
