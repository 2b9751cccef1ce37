"""Methods that use the gradient of the denoiser: PiGDM and DPS.

All are in sigma-space, x = x0 + sigma eps; a step goes from noise level t down to s. With D = E[x0 | x] and
J = dD/dx, the score of the measurement is J^T A^T (A C A^T + noise^2 I)^-1 (y - A D) where x0 given x is
approximated by N(D, C). In the coordinates of the decomposition A = U S V^T.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser, Trace
from zoo_core.seeds import Seeds
from zoo_restore.problem import Problem, draw, estimated, pull_back, reverse_step, start, with_gradient

TOLERANCE = 1e-10
"""Of the conjugate gradient method: residual, relative to the right-hand side."""


def pigdm(
    denoise: Denoiser,
    problem: Problem,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    covariance: Literal["scalar", "jacobian"] = "scalar",
    prior_var: float = 1.0,
    step: Literal["score", "published"] = "score",
    eta: float = 1.0,
    iterations: int = 10,
) -> Tensor:
    """Guide by the score of the measurement under a Gaussian of x0 given x.

    With covariance="scalar", C = r^2 I and r^2 = c t^2 / (c + t^2): Song et al. 2023, "Pseudoinverse-guided
    diffusion models for inverse problems". With "jacobian", C = t^2 J: Boys et al. 2023, arXiv:2310.06721.
    The step "score" replaces D by the estimate given y, D + t^2 score. The step "published" adds r^2 score to
    the DDIM step: the update of Song et al., with the weight sqrt(alpha_s alpha_t) in their coordinates that
    public implementations have. Without a decomposition of A the residual is that of the pseudo-inverse,
    A^+ y - A^+ A D, as in their extension to JPEG.

    Raises:
        UsageError: for a combination of options that has no definition.
    """
    if covariance == "jacobian" and step == "published":
        raise UsageError(
            "method.step=published is defined for method.covariance=scalar only", "next: method.step=score"
        )
    if covariance == "jacobian" and problem.spectrum is None:
        raise UsageError(
            "method.covariance=jacobian needs a linear operator", "next: method.covariance=scalar"
        )
    x = start(denoise, problem, noise)
    levels = sigmas.to(x.device).unbind()
    for i, (t, s) in enumerate(pairwise(levels)):
        var = float(t) ** 2
        r2 = prior_var * var / (prior_var + var)
        with torch.enable_grad():
            at = with_gradient(x)
            x0 = estimated(denoise, problem, at, t, callback, i)
            if covariance == "jacobian":
                score = _jacobian_score(problem, x0, at, var, r2, iterations)
            else:
                score = pull_back(x0, at, _scalar_weight(problem, x0.detach(), r2))
        x0 = x0.detach()
        z = draw(noise, x, i, i == len(levels) - 2)
        if step == "published":
            x = reverse_step(x, x0, t, s, z, eta) + r2 * score
        else:
            x = reverse_step(x, problem.clamped(x0 + var * score), t, s, z, eta)
    return x


def _scalar_weight(problem: Problem, x0: Tensor, r2: float) -> Tensor:
    """Return A^T (r^2 A A^T + noise^2 I)^-1 (y - A D), like D."""
    spectrum = problem.spectrum
    if spectrum is None:
        inverse = problem.operator.inverse
        return (inverse(problem.y) - inverse(problem.operator(x0))) / r2
    singular = spectrum.singular.to(x0)
    residual = spectrum.measured(problem.y) - singular * spectrum.to_coefficients(x0)
    variance = r2 * singular**2 + problem.noise**2
    weight = torch.where(singular > 0, singular / variance.clamp_min(1e-30), torch.zeros_like(singular))
    return spectrum.to_image(weight * residual)


def _jacobian_score(
    problem: Problem, x0: Tensor, at: Tensor, var: float, r2: float, iterations: int
) -> Tensor:
    """Return J^T A^T u where (var A J A^T + noise^2 I) u = y - A D, like x0.

    The Jacobian of an exact denoiser is symmetric, so J^T stands for J in the equation. It is solved for
    u / p with p = (r^2 s^2 + noise^2)^(-1/2) by component, which makes it well conditioned.
    """
    spectrum = problem.spectrum
    assert spectrum is not None
    singular = spectrum.singular.to(x0)
    residual = spectrum.measured(problem.y) - singular * spectrum.to_coefficients(x0.detach())
    deviation = (r2 * singular**2 + problem.noise**2).clamp_min(1e-30).sqrt()
    scaling = torch.where(singular > 0, 1 / deviation, torch.zeros_like(singular))

    def pulled(u: Tensor) -> Tensor:
        return pull_back(x0, at, spectrum.to_image(singular * u), keep=True)

    def apply(w: Tensor) -> Tensor:
        u = scaling * w
        return scaling * (var * singular * spectrum.to_coefficients(pulled(u)) + problem.noise**2 * u)

    return pulled(scaling * conjugate_gradient(apply, scaling * residual, iterations))


def conjugate_gradient(apply: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """Return u with apply(u) = b, row by row, (n, d), by at most so many iterations.

    A row stops where its residual is small, or where the matrix is not positive along its direction: that of
    a network is only nearly symmetric.

    Args:
        apply: product with a symmetric positive matrix, of its own for each row.
        b: right-hand sides.
    """
    u = torch.zeros_like(b)
    residual, direction = b.clone(), b.clone()
    squared = residual.square().sum(1)
    least = TOLERANCE**2 * squared
    active = squared > 0
    for _ in range(iterations):
        if not bool(active.any()):
            break
        product = apply(direction)
        curvature = (direction * product).sum(1)
        active = active & (curvature > 0)
        length = torch.where(active, squared / curvature, torch.zeros_like(squared))[:, None]
        u = u + length * direction
        residual = residual - length * product
        following = residual.square().sum(1)
        ratio = torch.where(active, following / squared, torch.zeros_like(squared))[:, None]
        direction = residual + ratio * direction
        squared = following
        active = active & (squared > least)
    return u


def dps(
    denoise: Denoiser,
    problem: Problem,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    scale: float = 1.0,
    normalize: bool = True,
) -> Tensor:
    """Subtract the gradient of |y - A D(x)|^2 in each ancestral step.

    Chung et al. 2023, arXiv:2209.14687, Algorithm 1, whose chain x_i = (x0 + sigma eps) / sqrt(1 + sigma^2)
    turns a step length zeta into zeta sqrt((1 + s^2) (1 + t^2)) in sigma-space; zeta = scale / |y - A D| if
    `normalize`, and `scale` if not.
    """
    x = start(denoise, problem, noise)
    levels = sigmas.to(x.device).unbind()
    for i, (t, s) in enumerate(pairwise(levels)):
        with torch.enable_grad():
            at = with_gradient(x)
            x0 = estimated(denoise, problem, at, t, callback, i)
            squared = (problem.y - problem.operator(x0)).flatten(1).square().sum(1)
            (gradient,) = torch.autograd.grad(squared.sum(), at)
        zeta = scale * float(((1 + s**2) * (1 + t**2)).sqrt())
        if normalize:
            norm = squared.detach().sqrt().clamp_min(1e-12)
            gradient = gradient / norm.reshape(-1, *(1,) * (x.ndim - 1))
        z = draw(noise, x, i, i == len(levels) - 2)
        x = reverse_step(x, x0.detach(), t, s, z) - zeta * gradient
    return x
