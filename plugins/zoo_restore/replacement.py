"""Methods without gradients: RePaint, DDRM and SDEdit.

All are in sigma-space, x = x0 + sigma eps; a step goes from noise level t down to s.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from zoo_core.interfaces import Denoiser, Trace
from zoo_core.seeds import Seeds
from zoo_restore.problem import Problem, draw, estimated, reverse_step, start


def repaint(
    denoise: Denoiser,
    problem: Problem,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    repeats: int = 5,
) -> Tensor:
    """Replace the known pixels in each step by y at the step's noise level, and repeat the step.

    Source: Lugmayr et al. 2022, arXiv:2201.09865, Algorithm 1; `repeats` is U. Noise in y counts as a part
    of the noise at each level above it.
    """
    kept = problem.operator.kept.to(problem.y)
    x = start(denoise, problem, noise)
    drawn = 0
    levels = sigmas.to(x.device).unbind()
    for i, (t, s) in enumerate(pairwise(levels)):
        last = i == len(levels) - 2
        passes = 1 if last else repeats
        for turn in range(passes):
            x0 = estimated(denoise, problem, x, t, callback, i)
            unknown = reverse_step(x, x0, t, s, draw(noise, x, drawn, last))
            std = float((s**2 - problem.noise**2).clamp_min(0).sqrt())
            known = problem.y + std * draw(noise, x, drawn + 1, last)
            x = kept * known + (1 - kept) * unknown
            drawn += 2
            if turn < passes - 1:
                x = x + float((t**2 - s**2).sqrt()) * draw(noise, x, drawn)
                drawn += 1
    return x


def ddrm(
    denoise: Denoiser,
    problem: Problem,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    eta: float = 0.85,
    eta_b: float = 1.0,
) -> Tensor:
    """Sample each component of the singular value decomposition by how accurately it is measured.

    Source: Kawar et al. 2022, arXiv:2201.11793, section 3.2. Without a decomposition: Kawar et al. 2022,
    arXiv:2209.11888, whose estimate of x0 is corrected by the pseudo-inverse.
    """
    if problem.spectrum is None:
        return _ddrm_by_inverse(denoise, problem, sigmas, noise, callback, eta, eta_b)
    spectrum = problem.spectrum
    singular = spectrum.singular.to(problem.y)
    seen = singular > 0
    safe = torch.where(seen, singular, torch.ones_like(singular))
    target = spectrum.measured(problem.y) / safe
    std = problem.noise / safe  # of the noise of each measured component
    first = sigmas[0].to(std)
    x = start(denoise, problem, noise)
    informed = seen & (std <= first)
    scaled = spectrum.to_coefficients(x) / denoise.prior_std
    around = target + (first**2 - std**2).clamp_min(0).sqrt() * scaled
    x = spectrum.to_image(torch.where(informed, around, scaled * denoise.prior_std))
    levels = sigmas.to(x.device).unbind()
    for i, (t, s) in enumerate(pairwise(levels)):
        x0 = estimated(denoise, problem, x, t, callback, i)
        now, mean = spectrum.to_coefficients(x), spectrum.to_coefficients(x0)
        z = spectrum.to_coefficients(draw(noise, x, i, i == len(levels) - 2))
        s_, t_ = s.to(now), t.to(now)
        along = (1 - eta**2) ** 0.5 * s_
        unseen = mean + along * (now - mean) / t_ + eta * s_ * z
        vague = mean + along * (target - mean) / std.clamp_min(1e-30) + eta * s_ * z
        sharp = (1 - eta_b) * mean + eta_b * target + (s_**2 - (eta_b * std) ** 2).clamp_min(0).sqrt() * z
        x = spectrum.to_image(torch.where(~seen, unseen, torch.where(s_ < std, vague, sharp)))
    return x


def _ddrm_by_inverse(
    denoise: Denoiser,
    problem: Problem,
    sigmas: Tensor,
    noise: Seeds,
    callback: Trace | None,
    eta: float,
    eta_b: float,
) -> Tensor:
    operator = problem.operator
    x = start(denoise, problem, noise)
    target = operator.inverse(problem.y)
    levels = sigmas.to(x.device).unbind()
    for i, (t, s) in enumerate(pairwise(levels)):
        x0 = estimated(denoise, problem, x, t, callback, i)
        corrected = x0 + eta_b * (target - operator.inverse(operator(x0)))
        z = draw(noise, x, i, i == len(levels) - 2)
        x = corrected + float((1 - eta**2) ** 0.5 * s / t) * (x - x0) + eta * float(s) * z
    return x


def sdedit(
    denoise: Denoiser,
    problem: Problem,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    strength: float = 1.0,
) -> Tensor:
    """Add noise of level `strength` to the guide, and sample from there by the ancestral sampler.

    The start is the level of the schedule that is nearest to `strength` in its logarithm; the measurement is
    not used after it. Source: Meng et al. 2022, arXiv:2108.01073, Algorithm 1.
    """
    sigmas = sigmas[nearest_level(sigmas, strength) :]
    x = problem.guide + float(sigmas[0]) * noise.randn(tuple(problem.guide.shape[1:]), name="start")
    levels = sigmas.to(x.device).unbind()
    for i, (t, s) in enumerate(pairwise(levels)):
        x0 = estimated(denoise, problem, x, t, callback, i)
        x = reverse_step(x, x0, t, s, draw(noise, x, i, i == len(levels) - 2))
    return x


def nearest_level(sigmas: Tensor, strength: float) -> int:
    """Return the index of the level above 0 that is nearest to `strength` in its logarithm."""
    return int((sigmas[:-1].double().log() - math.log(strength)).abs().argmin())
