"""Langevin dynamics: x <- x + a score(x) + sqrt(2 a) z, at one level of noise or down a schedule of them.

The step is given as a share of the level's variance, a = step sigma^2, as Song and Ermon's alpha_i =
epsilon sigma_i^2 / sigma_min^2 is with step = epsilon / sigma_min^2. Since sigma^2 score(x) = x0 - x, a step
reads x <- x + step (x0 - x) + sigma sqrt(2 step) z: scale-free. So the lecture writes it, and the paper's
authors' code runs it; the paper itself writes a / 2 and sqrt(a), which is the same with half the step
(`convention`).

A step of finite length settles at a variance that is too large: of a unit Gaussian, 1 / (1 - a / 2).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from zoo_core.diffusion.levels import on_device
from zoo_core.diffusion.options import Convention
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser, Trace
from zoo_core.seeds import Seeds


def _move(x: Tensor, x0: Tensor, sigma: float, step: float, noise: Seeds) -> Tensor:
    """Return x after one step of length step * sigma^2 along the score (x0 - x) / sigma^2."""
    return x + step * (x0 - x) + sigma * math.sqrt(2 * step) * noise.randn(x.shape[1:], name="langevin")


def _length(step: float, convention: Convention) -> float:
    """Return a / sigma^2 of x + a score + sqrt(2 a) z; the paper's a / 2 and sqrt(a) are half of it."""
    return step if convention == "lecture" else step / 2


def langevin(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    step: float = 0.15,
    level: float = 0.2,
    convention: Convention = "lecture",
) -> Tensor:
    """Run Langevin dynamics at one level, one call a step of the grid; the last call denoises.

    It crosses between distant modes only in exponential time, so their weights stay those of the start
    (Song and Ermon 2019, arXiv:1907.05600, section 3.2.2): a demonstration, no way to draw good samples.

    Args:
        step: share of the level's variance, in (0, 1].
        level: sigma.
        convention: what a step of that length is.

    Raises:
        UsageError: for a level that the denoiser was not trained for.
    """
    if not denoise.sigma_min <= level <= denoise.sigma_max:
        raise UsageError(
            f"sampler.level={level:g} was asked for",
            f"expected: one that the model knows, {denoise.sigma_min:g} to {denoise.sigma_max:g}",
        )
    length = _length(step, convention)
    (at,) = on_device(torch.tensor([level], dtype=sigmas.dtype), x.device)
    last = len(sigmas) - 2
    for i in range(last + 1):
        x0 = denoise(x, at)
        if callback is not None:
            callback(i, at, x, x0)
        x = x0 if i == last else _move(x, x0, level, length, noise)
    return x


def annealed_langevin(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    step: float = 0.15,
    repeats: int = 8,
    convention: Convention = "lecture",
    start: Literal["normal", "uniform"] = "normal",
    clean: bool = True,
) -> Tensor:
    """Run Langevin dynamics at each level in turn: repeats calls a level, then one that denoises.

    Source: Song and Ermon 2019, arXiv:1907.05600, Algorithm 1; the last call adds sigma_min^2 score, as
    Jolicoeur-Martineau et al. 2020, arXiv:2009.05475, section 3.1, do.

    Args:
        step: share of the level's variance, in (0, 1].
        repeats: T of the paper.
        convention: what a step of that length is.
        start: x as it is given, or in its place uniform noise in [-1, 1], the paper's.
        clean: make the last call; without it, as in the paper, the noise of the least level stays.
    """
    length = _length(step, convention)
    numbers = sigmas.tolist()
    levels = on_device(sigmas, x.device)
    last = len(numbers) - 2
    if start == "uniform":
        x = (2 * noise.rand(x.shape[1:], name="start") - 1).to(x)
    for i in range(last + 1):
        for _ in range(repeats):
            x0 = denoise(x, levels[i])
            if callback is not None:
                callback(i, levels[i], x, x0)
            x = _move(x, x0, numbers[i], length, noise)
    if not clean:
        return x
    x0 = denoise(x, levels[last])
    if callback is not None:
        callback(last, levels[last], x, x0)
    return x0


def predictor_corrector(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    corrector_steps: int = 1,
    snr: float = 0.16,
) -> Tensor:
    """Alternate a step of the reverse SDE with Langevin steps at the level it reached.

    The paper's corrector has length a = 2 (snr |z| / |score|)^2 with norms averaged over the batch. Here
    |z| / |score| is sigma, its value for an image of pure noise, so that a sample does not depend on its
    neighbors (norms of each sample by itself go wrong in few dimensions: the variance of a Gaussian in
    three came out doubled and more). The last step reaches 0 and is not corrected.
    Source: Song et al. 2021, arXiv:2011.13456, Algorithms 2 and 4; snr 0.16 is theirs for CIFAR-10.

    Args:
        corrector_steps: at each level; 0 is `euler-maruyama`.
        snr: r of the paper.
    """
    numbers = sigmas.tolist()
    levels = on_device(sigmas, x.device)
    last = len(numbers) - 2
    for i in range(last + 1):
        t, s = numbers[i], numbers[i + 1]
        x0 = denoise(x, levels[i])
        if callback is not None:
            callback(i, levels[i], x, x0)
        x = x0 + (s / t) ** 2 * (x - x0)
        if i == last:
            break
        x = x + math.sqrt(t**2 - s**2) * noise.randn(x.shape[1:], name="step", step=i)
        for _ in range(corrector_steps):
            x0 = denoise(x, levels[i + 1])
            if callback is not None:
                callback(i, levels[i + 1], x, x0)
            x = _move(x, x0, s, 2 * snr**2, noise)
    return x
