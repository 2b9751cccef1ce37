"""Samplers that solve the probability flow by Heun's method and add noise again on the way.

Errors that earlier steps made shrink while noise is added and removed, at the cost of more steps. Both need
noise that is independent of the data: x0 + t eps plus independent noise of variance s^2 - t^2 is then
distributed as x0 + s eps.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from zoo_core.diffusion.grids import between
from zoo_core.diffusion.samplers import heun_step, levels_of
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser, Trace
from zoo_core.seeds import Seeds

MOST_CHURN = math.sqrt(2) - 1
"""Greatest gamma of Karras et al.: a step adds no more noise than there is already."""


def edm_stochastic(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    S_churn: float = 10.0,
    S_tmin: float = 0.05,
    S_tmax: float = 50.0,
    S_noise: float = 1.003,
) -> Tensor:
    """Raise the noise from t to t (1 + gamma) before each step of Heun's method: 2 steps - 1 calls.

    gamma is min(S_churn / steps, sqrt(2) - 1) at levels from S_tmin to S_tmax and 0 at others. The raised
    level is at most sigma_max, the highest that the network was trained for. Karras et al. 2022,
    arXiv:2206.00364, Algorithm 2.

    Args:
        S_churn: amount of noise added, over all steps; 0 is `heun`.
        S_tmin, S_tmax: the levels between which noise is added.
        S_noise: factor on the standard deviation of the added noise.
    """
    low = sigmas[:-1]
    churned = ((low >= S_tmin) & (low <= S_tmax)).to(low)  # float64: a boolean would give float32
    raised = low * (1 + min(S_churn / len(low), MOST_CHURN) * churned)
    raised = raised.minimum(low.clamp(min=denoise.sigma_max))
    added = (S_noise * (raised**2 - low**2).sqrt()).tolist()
    starts, ends = levels_of(raised, x.device), levels_of(sigmas[1:], x.device)
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if added[i]:
            x = x + added[i] * noise.randn(x.shape[1:], name="step", step=i)
        x = heun_step(denoise, x, start, end, i, callback)
    return x


def restart(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    repeats: int = 2,
    inner_steps: int = 3,
    t_min: float = 0.06,
    t_max: float = 0.3,
) -> Tensor:
    """Solve the flow by Heun's method, and between t_min and t_max again from added noise, several times.

    On reaching the grid's level that is nearest to t_min, noise is added up to t_max and the flow is solved
    down to that level. 2 steps - 1 calls, and 2 inner_steps more for each repetition. Xu et al. 2023,
    "Restart Sampling for Improving Generative Processes", arXiv:2306.14878, Algorithm 1 with one interval.

    Args:
        repeats: K; 0 is `heun`.
        inner_steps: of Heun's method from t_max to t_min, spaced as `karras` spaces them.
        t_min, t_max: ends of the interval, levels that the denoiser was trained for.

    Raises:
        UsageError: for an interval outside the denoiser's levels, or of no length on this grid.
    """
    place, inner = len(sigmas), []
    if repeats:
        place = _place(denoise, sigmas, t_min, t_max)
        inner = levels_of(between(t_max, float(sigmas[place]), inner_steps + 1), x.device)
        added = math.sqrt(t_max**2 - float(sigmas[place]) ** 2)
    for i, (start, end) in enumerate(pairwise(levels_of(sigmas, x.device))):
        x = heun_step(denoise, x, start, end, i, callback)
        if i + 1 == place:
            for _ in range(repeats):
                x = x + added * noise.randn(x.shape[1:], name="restart")
                for above, below in pairwise(inner):
                    x = heun_step(denoise, x, above, below, i, callback)
    return x


def _place(denoise: Denoiser, sigmas: Tensor, t_min: float, t_max: float) -> int:
    """Return the index of the grid's level nearest to t_min, its last at 0 and its first not counted."""
    if not denoise.sigma_min <= t_min < t_max <= denoise.sigma_max:
        raise UsageError(
            f"sampler.t_min={t_min:g} and sampler.t_max={t_max:g} were asked for",
            f"expected: t_min < t_max, both from {denoise.sigma_min:g} to {denoise.sigma_max:g}, "
            "the levels that the model knows",
        )
    if len(sigmas) < 3:
        raise UsageError("sampler=restart in 1 step", "expected: sample.steps of 2 or more")
    place = 1 + int((sigmas[1:-1] - t_min).abs().argmin())
    level = float(sigmas[place])
    if not level < t_max:
        raise UsageError(
            f"of {len(sigmas) - 1} levels the nearest to sampler.t_min={t_min:g} is {level:g}, "
            f"which is not below sampler.t_max={t_max:g}",
            "next: more sample.steps, or a higher sampler.t_max",
        )
    return place
