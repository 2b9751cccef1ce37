"""The stochastic sampler of Karras et al. 2022, arXiv:2206.00364, Algorithm 2, with sigma(t) = t."""

from __future__ import annotations

import math
from itertools import pairwise

from pydantic import Field
from torch import Tensor

from zoo_core.config import SamplerConfig
from zoo_core.interfaces import Denoiser, Trace
from zoo_core.seeds import Seeds

LARGEST = math.sqrt(2) - 1
"""Of gamma: a step never adds more noise than there is (Algorithm 2)."""


class ChurnConfig(SamplerConfig):
    """Options of `churn`."""

    churn: float = Field(0.1, ge=0, le=LARGEST)
    """gamma: before a step from sigma the state is taken up to (1 + gamma) sigma; 0 is Heun's method."""


def churned_heun(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    churn: float = 0.1,
) -> Tensor:
    """Walk from level sigmas[0] to 0, two calls a step and one in the last.

    No noise is added at the first level, beyond which the network was not trained.

    Args:
        denoise: E[x0 | x] at a level.
        x: (n, *shape) at level sigmas[0].
        sigmas: descending, ending in 0.
        noise: one stream a sample.
        callback: called after each call of the denoiser.
        churn: gamma.
    """
    for step, (level, low) in enumerate(pairwise(sigmas.tolist())):
        high = level * (1 + churn) if step else level
        if high > level:  # lines 5 and 6
            x = x + math.sqrt(high**2 - level**2) * noise.randn(x.shape[1:])
        top = sigmas.new_tensor(high).to(x.device)
        x0 = denoise(x, top)
        if callback is not None:
            callback(step, top, x, x0)
        slope = (x - x0) / high  # line 7
        ahead = x + (low - high) * slope
        if low > 0:  # lines 10 and 11
            bottom = sigmas.new_tensor(low).to(x.device)
            x0 = denoise(ahead, bottom)
            if callback is not None:
                callback(step, bottom, ahead, x0)
            ahead = x + (low - high) * (slope + (ahead - x0) / low) / 2
        x = ahead
    return x
