"""Samplers: from noise at level sigmas[0] to data at 0, through any Denoiser.

All of them live in sigma-space, x = x0 + sigma eps, where every linear schedule is the same process with
another clock. In one step from level t down to s they see x, and x0 = denoise(x, t).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from zoo_core.diffusion.levels import on_device
from zoo_core.interfaces import Denoiser, HasPosterior, Trace
from zoo_core.seeds import Seeds

Std = Callable[[int, Tensor], Tensor | float]


def _walk(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    keep: Tensor,
    std: Std | None,
    noise: Seeds,
    callback: Trace | None,
) -> Tensor:
    """Repeat x <- x0 + keep (x - x0) + std z, one call a step; the last step adds no noise.

    Args:
        keep: (steps,) share of the residual x - x0 that a step keeps.
        std: of the noise added in step i at state x, or None for a deterministic walk.
    """
    levels = on_device(sigmas, x.device)  # once: an index into a tensor costs as much as a small step
    shares = keep.tolist()  # plain numbers once, so that no step waits for the device
    for i, share in enumerate(shares):
        x0 = denoise(x, levels[i])
        if callback is not None:
            callback(i, levels[i], x, x0)
        spread = std(i, x) if std is not None and i < len(shares) - 1 else None
        x = x0 + share * (x - x0)
        if spread is not None:
            x = x + spread * noise.randn(x.shape[1:], name="step", step=i)
    return x


def _from_table(std: Tensor) -> Std:
    numbers = std.tolist()
    return lambda i, x: numbers[i]


def posterior_std(t: Tensor, s: Tensor) -> Tensor:
    """Return the standard deviation of x_s given x_t and x0, s < t: variance s^2 (t^2 - s^2) / t^2.

    It is beta-tilde of Ho et al. 2020, Eq. 7, in sigma-space.
    """
    return s * (t**2 - s**2).sqrt() / t


def forward_std(t: Tensor, s: Tensor, denoise: Denoiser) -> Tensor:
    """Return the standard deviation of Ho's other choice, variance beta: (alpha_t / alpha_s)^2 (t^2 - s^2).

    For variance-preserving alpha it is beta of one step, or of several joined, on the scale of x / alpha_s;
    as variance (1 + s^2)(t^2 - s^2) / (1 + t^2). Ho et al. 2020, section 3.2.
    """
    return denoise.alpha(t) / denoise.alpha(s) * (t**2 - s**2).sqrt()


def ddpm(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Trace | None = None
) -> Tensor:
    """Walk back the chain with variance beta: Algorithm 2 of Ho et al. 2020, arXiv:2006.11239."""
    t, s = sigmas[:-1], sigmas[1:]
    return _walk(denoise, x, sigmas, (s / t) ** 2, _from_table(forward_std(t, s, denoise)), noise, callback)


def ancestral(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Trace | None = None
) -> Tensor:
    """Walk back the chain with variance beta-tilde, or with the denoiser's own where it learned one.

    Source: Ho et al. 2020, Eq. 7; learned variance: Nichol and Dhariwal 2021, arXiv:2102.09672, Eq. 15.
    """
    t, s = sigmas[:-1], sigmas[1:]
    std: Std
    if isinstance(denoise, HasPosterior):
        learned = denoise.log_var
        levels = on_device(sigmas, x.device)

        def std(i: int, x: Tensor) -> Tensor | float:
            return (learned(x, levels[i], levels[i + 1]) / 2).exp()

    else:
        std = _from_table(posterior_std(t, s))
    return _walk(denoise, x, sigmas, (s / t) ** 2, std, noise, callback)


def ddim(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Walk with eta times the posterior's noise: 0 is deterministic and equals `euler`, 1 is `ancestral`.

    Source: Song et al. 2021, arXiv:2010.02502, Eq. 12 and 16.
    """
    t, s = sigmas[:-1], sigmas[1:]
    std = eta * posterior_std(t, s)
    keep = (s**2 - std**2).sqrt() / t
    return _walk(denoise, x, sigmas, keep, _from_table(std) if eta > 0 else None, noise, callback)


def euler(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Trace | None = None
) -> Tensor:
    """Solve the probability flow dx/dsigma = (x - x0) / sigma by Euler's method, one call a step.

    Source: Karras et al. 2022, arXiv:2206.00364, Eq. 4 with sigma(t) = t.
    """
    return _walk(denoise, x, sigmas, sigmas[1:] / sigmas[:-1], None, noise, callback)


Level = tuple[float, Tensor]
"""Sigma as a number, for the arithmetic of a step, and as a scalar tensor, for the denoiser."""


def levels_of(sigmas: Tensor, device: torch.device) -> list[Level]:
    """Return the levels of a grid, read once, so that no step waits for the device."""
    return list(zip(sigmas.tolist(), on_device(sigmas, device), strict=True))


def heun_step(
    denoise: Denoiser, x: Tensor, start: Level, end: Level, step: int, callback: Trace | None
) -> Tensor:
    """Return x at a lower level by Heun's method, two calls; by Euler's, one call, where that level is 0.

    Args:
        step: what the callback is told.
    """
    (t, level), (s, following) = start, end
    x0 = denoise(x, level)
    if callback is not None:
        callback(step, level, x, x0)
    slope = (x - x0) / t
    ahead = x + (s - t) * slope
    if s == 0:
        return ahead
    x0 = denoise(ahead, following)
    if callback is not None:
        callback(step, following, ahead, x0)
    return x + (s - t) * (slope + (ahead - x0) / s) / 2


def heun(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Trace | None = None
) -> Tensor:
    """Solve the probability flow by Heun's method, of second order: 2 steps - 1 calls.

    The step to 0, where the slope is not defined, is Euler's. Karras et al. 2022, Algorithm 1.
    """
    for i, (start, end) in enumerate(pairwise(levels_of(sigmas, x.device))):
        x = heun_step(denoise, x, start, end, i, callback)
    return x


def euler_maruyama(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Trace | None = None
) -> Tensor:
    """Solve the reverse SDE by the Euler-Maruyama method in the clock sigma^2; the last step adds no noise.

    In sigma-space it is dx = -(t^2 - s^2) score, with noise of variance t^2 - s^2 a step, whatever the
    schedule. Source: Song et al. 2021, arXiv:2011.13456, Eq. 6; the clock makes a step Algorithm 2's.
    """
    t, s = sigmas[:-1], sigmas[1:]
    return _walk(denoise, x, sigmas, (s / t) ** 2, _from_table((t**2 - s**2).sqrt()), noise, callback)
