"""DPM-Solver++: second order from one call a step, by keeping the last step's x0.

Lu et al. 2022, "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
arXiv:2211.01095. In sigma-space the solver's clock is lambda = -log sigma, and a step from t down to s has
length h = log(t / s). Both samplers extrapolate x0 to the middle of the step along the line through the last
two calls, D = x0 + (x0 - x0_before) h / (2 h_before), and take the exact solution for a constant D. The
first step has no x0_before; in the last, to 0, h is infinite: both take D = x0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_core.diffusion.levels import on_device
from zoo_core.interfaces import Denoiser, Trace
from zoo_core.seeds import Seeds


def _extrapolate(sigmas: Tensor) -> list[float]:
    """Return h / (2 h_before) for each step, 0 for the first and the last."""
    h = (sigmas[:-1] / sigmas[1:]).log()
    share = torch.zeros_like(h)
    share[1:-1] = h[1:-1] / (2 * h[:-2])
    return share.tolist()


def _walk(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    keep: Tensor,
    std: Tensor,
    noise: Seeds,
    callback: Trace | None,
) -> Tensor:
    """Repeat x <- D + keep (x - D) + std z, one call a step."""
    shares, kept, spread = _extrapolate(sigmas), keep.tolist(), std.tolist()
    levels = on_device(sigmas, x.device)
    before = x
    for i, share in enumerate(shares):
        x0 = denoise(x, levels[i])
        if callback is not None:
            callback(i, levels[i], x, x0)
        ahead = x0 + share * (x0 - before) if share else x0
        x = ahead + kept[i] * (x - ahead)
        if spread[i]:
            x = x + spread[i] * noise.randn(x.shape[1:], name="step", step=i)
        before = x0
    return x


def dpmpp_2m(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Trace | None = None
) -> Tensor:
    """Solve the probability flow by DPM-Solver++(2M), one call a step (Lu et al. 2022, Algorithm 2)."""
    keep = sigmas[1:] / sigmas[:-1]
    return _walk(denoise, x, sigmas, keep, torch.zeros_like(keep), noise, callback)


def dpmpp_sde(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Trace | None = None
) -> Tensor:
    """Solve the reverse SDE by SDE-DPM-Solver++(2M), one call a step (Lu et al. 2022, section 5).

    With D = x0 throughout it is the ancestral sampler: its noise is the posterior's.
    """
    t, s = sigmas[:-1], sigmas[1:]
    keep = (s / t) ** 2
    return _walk(denoise, x, sigmas, keep, s * (1 - keep).sqrt(), noise, callback)
