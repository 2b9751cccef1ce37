"""The problem that a method solves, and what the methods share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from zoo_core.diffusion.samplers import posterior_std
from zoo_core.interfaces import Denoiser, Trace
from zoo_core.seeds import Seeds
from zoo_restore.operator import Operator
from zoo_restore.spectrum import Spectrum


@dataclass(frozen=True)
class Problem:
    """Measurements y = A(x0) + noise * n of images, one row each.

    Attributes:
        y: (n, *measured).
        guide: (n, *shape) an image of each measurement, or its code where the denoiser is one of codes.
        operator: A; for a mask with its `kept`.
        spectrum: the decomposition of A; None where A is not linear.
        noise: standard deviation of the measurement's noise.
        bounded: whether x0 lies in [-1, 1], so that its estimates are clamped.
    """

    y: Tensor
    guide: Tensor
    operator: Operator
    spectrum: Spectrum | None = None
    noise: float = 0.0
    bounded: bool = False

    def clamped(self, x0: Tensor) -> Tensor:
        """Return estimates of x0, clamped where it is bounded; gradients are those of x0 all the same."""
        return x0 + (x0.clamp(-1, 1) - x0).detach() if self.bounded else x0


class Method(Protocol):
    """Noise to restored images, (n, *shape); options follow `noise` as keywords.

    sigmas is 1-D, descending, ending in 0. The denoiser does not clamp its estimates.
    """

    def __call__(
        self,
        denoise: Denoiser,
        problem: Problem,
        sigmas: Tensor,
        *,
        noise: Seeds,
        callback: Trace | None = None,
    ) -> Tensor: ...


def reverse_step(x: Tensor, x0: Tensor, t: Tensor, s: Tensor, z: Tensor, eta: float = 1.0) -> Tensor:
    """Return the step of DDIM from noise level t down to s, with eta times the noise of the posterior.

    Args:
        x: the state at t.
        x0: its estimate.
        t, s: scalars, s < t.
        z: standard normal, like x.
        eta: 1 is the ancestral step.
    """
    std = eta * posterior_std(t, s)
    keep = (s**2 - std**2).clamp_min(0).sqrt() / t
    return x0 + float(keep) * (x - x0) + float(std) * z


def start(denoise: Denoiser, problem: Problem, noise: Seeds) -> Tensor:
    """Return the noise that a method starts from, like the guide."""
    return noise.randn(tuple(problem.guide.shape[1:]), name="start") * denoise.prior_std


def draw(noise: Seeds, x: Tensor, step: int, last: bool = False) -> Tensor:
    """Return the standard normals of a step, like x; zeros in the last one, which adds no noise."""
    return torch.zeros_like(x) if last else noise.randn(x.shape[1:], name="step", step=step)


def estimated(
    denoise: Denoiser, problem: Problem, x: Tensor, sigma: Tensor, callback: Trace | None, step: int
) -> Tensor:
    """Return E[x0 | x], clamped where x0 is bounded; the callback is told."""
    x0 = problem.clamped(denoise(x, sigma))
    if callback is not None:
        callback(step, sigma, x.detach(), x0.detach())
    return x0


def with_gradient(x: Tensor) -> Tensor:
    """Return a leaf like x that gradients flow to."""
    return x.detach().requires_grad_(True)


def pull_back(x0: Tensor, x: Tensor, weight: Tensor, keep: bool = False) -> Tensor:
    """Return weight^T dx0 / dx, like x; `keep` keeps the graph for another call."""
    (found,) = torch.autograd.grad((x0 * weight).sum(), x, retain_graph=keep)
    return found
