"""Samples on great arcs between two normal latents: of a generator, a decoder, or a deterministic sampler.

White 2016, arXiv:1609.04468: points on a great arc are as long as normal latents usually are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.levels import quantize, to_unit
from zoo_core.errors import UsageError
from zoo_core.interfaces import HasDenoiser, HasEncoder, HasLatents
from zoo_core.runs import Run
from zoo_core.seeds import Seeds
from zoo_core.viz.styles import spherical

START = "start"
"""Name of the noise that a sampler starts from (`zoo_core.diffusion.sampling.draw`)."""


class ArcSeeds(Seeds):
    """Random numbers of samples whose initial noise lies on arcs between those of pairs of samples.

    Args:
        seed: of the run.
        pairs: indices of the samples at the ends of each arc.
        steps: points on an arc, ends included.
        device: where draws are computed.
    """

    def __init__(
        self, seed: int, pairs: Sequence[tuple[int, int]], steps: int, device: torch.device | str
    ) -> None:
        super().__init__(seed, [first for first, _ in pairs for _ in range(steps)], device)
        self.steps = steps
        self.ends = [Seeds(seed, indices, device) for indices in zip(*pairs, strict=True)]

    def randn(self, shape: Sequence[int], *, name: str = "", step: int | None = None) -> Tensor:
        """Return the initial noise of each point, (n, *shape).

        Raises:
            UsageError: for any other noise: then samples are not a function of the initial noise.
        """
        if name != START:
            raise UsageError(
                "the sampler adds noise in its steps: its samples are not a function of the initial noise",
                "next: sampler=ddim, sampler=heun or sampler=dpmpp-2m",
            )
        first, last = (end.randn(shape, name=name, step=step) for end in self.ends)
        return spherical(first.flatten(1), last.flatten(1), self.steps).reshape(-1, *shape)


def interpolated(run: Run, rows: int, steps: int, seed: int) -> Tensor:
    """Return samples along arcs, (rows * steps, *shape) on the CPU, arc by arc, at the levels of the data.

    The arc of row k goes from sample 2 k to sample 2 k + 1 of the seed. The samples of a row have the
    conditions, and what else is random, of its first one.

    Raises:
        UsageError: for a model without a normal latent, and for a sampler that adds noise.
    """
    recipe: Any = run.recipe
    pairs = [(2 * row, 2 * row + 1) for row in range(rows)]
    indices = [first for first, _ in pairs for _ in range(steps)]
    request = run.request(indices, seed)
    if isinstance(recipe, HasLatents) or _is_autoencoder(recipe):
        shape = tuple(recipe.latent_shape)
        first, last = (
            Seeds(seed, ends, run.device).randn(shape, name="interpolation").flatten(1)
            for ends in zip(*pairs, strict=True)
        )
        z = spherical(first, last, steps).reshape(-1, *shape)
        with run.inference():
            x = recipe.from_latents(z, request) if isinstance(recipe, HasLatents) else recipe.decode(z)
    elif isinstance(recipe, HasDenoiser):
        x = run.samples(replace(request, noise=ArcSeeds(seed, pairs, steps, run.device))).x
    else:
        raise UsageError(
            f"{run.config.plugin} has no normal latent to interpolate",
            "expected: a GAN, an autoencoder, or a diffusion or flow model with a deterministic sampler",
        )
    levels = run.data.info.levels
    x = x.detach().cpu()
    return x.float() if levels is None else to_unit(quantize(x, levels), levels)


def _is_autoencoder(recipe: Any) -> bool:
    """Return whether a model decodes a standard normal latent, of a shape that it names."""
    return isinstance(recipe, HasEncoder) and isinstance(getattr(recipe, "latent_shape", None), tuple)
