"""Exponential multistep methods for the probability flow: UniPC, and DPM-Solver++(3M).

Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models",
arXiv:2302.04867; Lu et al. 2022, "DPM-Solver++", arXiv:2211.01095. With lambda = -log sigma the flow is
dx / dlambda = x0 - x, so that a step of length h is exactly

    x(lambda + h) = exp(-h) x(lambda) + integral over u from 0 to h of exp(-(h - u)) x0(lambda + u).

The predictor of order p (UniP-p) replaces x0 by the polynomial through the last p calls. The corrector
(UniC-p) repeats the step with the x0 of the new level among them, which the next step needs anyway: order
p + 1 without another call. A polynomial of degree p - 1 that is integrated exactly solves Eq. 5 of the UniPC
paper for every B(h), so B(h) matters only where the paper sets its one coefficient to 1/2 (two calls); there
it is exp(h) - 1, the paper's B_2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.diffusion.levels import on_device
from zoo_core.interfaces import Denoiser, Trace
from zoo_core.seeds import Seeds

FEW = 15
"""Below this number of steps the last ones are of lower order: there they are so long in lambda that the
polynomial through many calls leads away. The authors of DPM-Solver++ do the same in their code."""

Call = tuple[float, Tensor]
"""(lambda, x0) of a call of the denoiser."""


def step_weights(nodes: Sequence[float], h: float) -> list[float]:
    """Return the weight of each call in the integral of exp(-(h - u)) x0(lambda + u) over u from 0 to h.

    The weights are exact where x0 is a polynomial through the nodes; with two nodes the slope has the weight
    (1 - exp(-h)) h / 2.

    Args:
        nodes: lambda of the calls less that of the step's start, distinct, 0 among them.
        h: length of the step, above 0.
    """
    # moments[k] = integral of exp(-(h - u)) (u / h)^k
    moments = [-math.expm1(-h)]
    for k in range(1, len(nodes)):
        moments.append(1 - k / h * moments[-1])
    if len(nodes) == 2:
        moments[1] = moments[0] / 2
    places = torch.tensor(nodes, dtype=torch.float64) / h
    powers = places ** torch.arange(len(nodes), dtype=torch.float64)[:, None]
    weights: list[float] = torch.linalg.solve(powers, torch.tensor(moments, dtype=torch.float64)).tolist()
    return weights


def _advance(x: Tensor, start: float, end: float, calls: Sequence[Call]) -> Tensor:
    """Return x at lambda = end, from x at lambda = start and the polynomial through the calls."""
    weights = step_weights([place - start for place, _ in calls], end - start)
    x = math.exp(start - end) * x
    for weight, (_, x0) in zip(weights, calls, strict=True):
        x = x + weight * x0
    return x


def multistep(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    order: int,
    corrector: bool,
    callback: Trace | None = None,
    past: Sequence[Call] = (),
) -> Tensor:
    """Solve the probability flow by UniP, with UniC or without it, one call a step; then denoise.

    The first steps use the calls that there are. In fewer than FEW steps, the last before the denoising uses
    two calls at most, and the one before it three.

    Args:
        order: p, at least 1.
        corrector: whether each step is repeated with the x0 of its end.
        past: calls of a walk to sigmas[0] by another method, the latest last; none where sampling starts.
    """
    places = (-sigmas[:-1].log()).tolist()
    levels = on_device(sigmas[:-1], x.device)
    last = len(places) - 1
    calls, before, used = list(past), x, 0
    for i, (place, level) in enumerate(zip(places, levels, strict=True)):
        x0 = denoise(x, level)
        if callback is not None:
            callback(i, level, x, x0)
        if i == last:
            return x0
        calls = [*calls[-order:], (place, x0)]
        if corrector and i > 0:
            x = _advance(before, places[i - 1], place, calls[-used - 1 :])
        used = min(order, len(calls), last + 1 - i if last + 1 < FEW else order)
        before, x = x, _advance(x, place, places[i + 1], calls[-used:])
    return x


def unipc(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    order: int = 2,
    corrector: bool = True,
) -> Tensor:
    """Solve the probability flow by UniPC-p, one call a step (Zhao et al. 2023, Algorithms 1 and 2).

    Args:
        order: p, of the predictor.
        corrector: use UniC: order p + 1 at the same number of calls.
    """
    return multistep(denoise, x, sigmas, order=order, corrector=corrector, callback=callback)


def dpmpp_3m(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Trace | None = None
) -> Tensor:
    """Solve the probability flow by DPM-Solver++(3M), of third order, one call a step.

    It is UniP-3. Source: Lu et al. 2022, appendix A; published code has half the weight of the second
    difference, D_2 = x0'' h^2 / 2 in place of x0'' h^2, and with it the order 2.
    """
    return multistep(denoise, x, sigmas, order=3, corrector=False, callback=callback)
