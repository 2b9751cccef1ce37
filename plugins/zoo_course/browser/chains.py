"""Samples of the interactive page's networks, made in Python: what the script of the page must repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_core.diffusion.grids import karras
from zoo_core.diffusion.guidance import ClassifierFree
from zoo_core.diffusion.samplers import ancestral, ddim, euler, heun
from zoo_core.errors import not_found
from zoo_core.seeds import Seeds
from zoo_core.types import Cond
from zoo_course.browser.networks import SmallDenoiser

SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ddim": ddim,
    "ancestral": ancestral,
    "euler": euler,
    "heun": heun,
}


@torch.no_grad()
def sample(
    denoise: SmallDenoiser,
    indices: Sequence[int],
    *,
    seed: int = 0,
    sampler: str = "ddim",
    steps: int = 20,
    eta: float = 0.0,
    label: Tensor | None = None,
    guidance_scale: float = 1.0,
) -> Tensor:
    """Return samples k of a seed, (n, D), with the noise of `zoo sample` and the levels of `karras`.

    Args:
        denoise: a network of the page.
        indices: which samples k.
        seed: of the noise.
        sampler: a name in SAMPLERS.
        steps: of the grid.
        eta: of ddim; the other samplers ignore it.
        label: (n,); the null label for none. None for a network without classes.
        guidance_scale: 1 for the conditional model. Guided estimates are clamped to [-1, 1].

    Raises:
        NotFoundError: for an unknown sampler.
    """
    if sampler not in SAMPLERS:
        raise not_found("sampler", sampler, SAMPLERS, say="sampler={!r}")
    model: Any = denoise
    if label is not None:
        model = ClassifierFree(model, Cond(label=label), denoise.classes, guidance_scale, clip_x0=True)
    options = {"eta": eta} if sampler == "ddim" else {}
    noise = Seeds(seed, indices)
    x = noise.randn((len(denoise.mean),), name="start") * denoise.prior_std
    return SAMPLERS[sampler](model, x, karras(denoise, steps), noise=noise, **options)
