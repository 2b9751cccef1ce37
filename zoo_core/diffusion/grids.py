"""The levels that a sampler visits: grid(denoise, steps) -> sigmas, from sigma_max down to 0.

A grid of S steps has S + 1 levels, float64 on the CPU, where samplers make their tables; the network is
called at the first S of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser

RHO = 7.0
"""Curvature of `karras`: Karras et al. 2022, table 1."""


def _ending_in_zero(sigmas: Tensor) -> Tensor:
    return torch.cat((sigmas, sigmas.new_zeros(1)))


def _at(levels: Tensor, t: Tensor) -> Tensor:
    """Return the levels at fractional times 1..T, each rounded to the nearest."""
    return _ending_in_zero(levels.double().cpu()[t.round().long() - 1])


def _checked(steps: int, levels: Tensor) -> int:
    if not 1 <= steps <= len(levels):
        raise UsageError(
            f"{steps} sampling steps asked of a model with {len(levels)} noise levels",
            f"expected: 1 to {len(levels)}",
            "next: sampler=euler and sampler=heun take any number of steps",
        )
    return len(levels)


def trailing(denoise: Denoiser, steps: int) -> Tensor:
    """Return every (T/steps)-th trained level, counted down from the last; `karras` where none are trained.

    The first level is T, so the start is the noise that the model was trained on. Lin et al. 2023,
    arXiv:2305.08891, table 2.

    Raises:
        UsageError: where there are fewer trained levels than steps.
    """
    if denoise.levels is None:
        return karras(denoise, steps)
    count = _checked(steps, denoise.levels)
    done = torch.arange(steps, dtype=torch.float64)
    return _at(denoise.levels, count - done * count / steps)


def linspace(denoise: Denoiser, steps: int) -> Tensor:
    """Return trained levels evenly spaced in time from T to 1, both ends included.

    Raises:
        UsageError: where there are fewer trained levels than steps, or none.
    """
    if denoise.levels is None:
        raise UsageError(
            "a grid over trained levels asked of a model with continuous time", "next: use karras"
        )
    count = _checked(steps, denoise.levels)
    return _at(denoise.levels, torch.linspace(count, 1, steps, dtype=torch.float64))


def geometric(denoise: Denoiser, steps: int) -> Tensor:
    """Return levels of a constant ratio from sigma_max to sigma_min, and then 0.

    What Langevin dynamics need: at each level the walk must still be near the next one's distribution.
    Source: Song and Ermon 2019, arXiv:1907.05600, section 3.1.

    Raises:
        UsageError: where steps is less than 1.
    """
    if steps < 1:
        raise UsageError(f"{steps} sampling steps", "expected: at least 1")
    first, last = math.log(denoise.sigma_max), math.log(denoise.sigma_min)
    sigmas = torch.linspace(first, last, steps, dtype=torch.float64).exp()
    sigmas[0] = denoise.sigma_max
    return _ending_in_zero(sigmas)


def karras(denoise: Denoiser, steps: int) -> Tensor:
    """Return levels evenly spaced in sigma^(1/7), from sigma_max to sigma_min and then 0.

    Source: Karras et al. 2022, arXiv:2206.00364, Eq. 5.

    Raises:
        UsageError: where steps is less than 1.
    """
    if steps < 1:
        raise UsageError(f"{steps} sampling steps", "expected: at least 1")
    return _ending_in_zero(between(denoise.sigma_max, denoise.sigma_min, steps))


def between(first: float, last: float, count: int) -> Tensor:
    """Return `count` levels evenly spaced in sigma^(1/7) from the first to the last, (count,) float64."""
    sigmas = torch.linspace(first ** (1 / RHO), last ** (1 / RHO), count, dtype=torch.float64) ** RHO
    sigmas[0] = first  # exactly: the power of a root is off by rounding
    return sigmas
