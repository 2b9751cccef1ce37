"""Latents that give back images: the sampler's ODE run backwards, an encoder, or a search over latents.

In the coordinate x = x0 + sigma eps, DDIM (arXiv:2010.02502, Eq. 13) is Euler's method for
dx / dsigma = (x - D(x, sigma)) / sigma. Its inversion is the same method with rising sigma (section 4.3): the
denoiser is evaluated at the lower end of each step, where sampling evaluates it at the upper one, so that a
round trip has an error which falls with the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from zoo_core.diffusion.grids import trailing
from zoo_core.diffusion.levels import on_device, on_host
from zoo_core.diffusion.sampling import at_most
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser, HasDenoiser, HasEncoder, HasLatents
from zoo_core.runs import Run
from zoo_core.seeds import Seeds
from zoo_core.types import Cond
from zoo_restore.restoration import denoiser_of

How = Literal["ddim", "encoder", "search"]


@dataclass(frozen=True)
class Inverted:
    """Latents of images.

    Attributes:
        how: "ddim", "encoder" or "search".
        latent: (n, *latent); of "ddim" the noise at the highest level, divided by its standard deviation.
        again: images that the latents give, (n, *shape), before quantization.
    """

    how: How
    latent: Tensor
    again: Tensor


def ddim_inversion(denoise: Denoiser, x0: Tensor, sigmas: Tensor) -> Tensor:
    """Return data (n, *shape) carried to the highest level, like x0.

    Args:
        denoise: the model.
        sigmas: levels as samplers take them, descending and ending in 0.
    """
    rising = on_device(sigmas.flip(0), x0.device)
    # Level 0 has no direction of its own: the first step takes that of the lowest level.
    x = x0
    for low, high in pairwise(rising):
        at = high if float(on_host(low)) == 0 else low
        x = x + ((high - low) / at).to(x) * (x - denoise(x, at))
    return x


def ddim_sampling(denoise: Denoiser, x: Tensor, sigmas: Tensor) -> Tensor:
    """Return data from x at the level sigmas[0]: DDIM without noise."""
    levels = on_device(sigmas, x.device)
    for high, low in pairwise(levels):
        x0 = denoise(x, high)
        x = x0 + (low / high).to(x) * (x - x0)
    return x


def search(
    decode: Callable[[Tensor], Tensor],
    target: Tensor,
    start: Tensor,
    *,
    steps: int = 200,
    lr: float = 0.05,
    prior: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """Return, of several starts, the latents whose images are nearest to each target, and those images.

    Adam on the mean squared error, plus `prior` times the mean square of the latent.

    Args:
        decode: latents (m, *latent) to images (m, *shape); differentiable.
        target: (n, *shape).
        start: (restarts, n, *latent).
    """
    restarts, n = start.shape[:2]
    goal = target.expand(restarts, *target.shape).flatten(0, 1)
    z = start.flatten(0, 1).clone()
    with torch.enable_grad():
        z.requires_grad_(True)
        optimizer = torch.optim.Adam([z], lr=lr)
        for _ in range(steps):
            error = (decode(z) - goal).square().flatten(1).mean(1)
            loss = (error + prior * z.square().flatten(1).mean(1)).sum()
            (z.grad,) = torch.autograd.grad(loss, [z])
            optimizer.step()
    z = z.detach()
    again = decode(z).detach()
    best = (again - goal).square().flatten(1).mean(1).unflatten(0, (restarts, n)).argmin(0)
    rows = torch.arange(n, device=best.device)
    return z.unflatten(0, (restarts, n))[best, rows], again.unflatten(0, (restarts, n))[best, rows]


def invert(
    run: Run,
    image: Tensor,
    *,
    how: How | Literal[""] = "",
    steps: int = 50,
    restarts: int = 4,
    seed: int = 0,
    cond: Cond | None = None,
) -> Inverted:
    """Return latents of images, and the images that these give.

    Args:
        image: (n, *shape) in [-1, 1], on the device of the run.
        how: "ddim" for denoisers, "encoder" for autoencoders, "search" for what maps a normal latent to
            images; "" for the first of these that the model has.
        steps: of the noise schedule, or of the search (times 10).
        restarts: starts of the search, for each image.
        seed: of the starts.
        cond: conditions of a conditional denoiser, one row per image.

    Raises:
        UsageError: for a model without such a latent.
    """
    here = ways(run)
    if not here or (how and how not in here):
        raise UsageError(
            f"{run.config.plugin} can't invert images{f' by {how}' if how else ''}",
            f"expected: --by {' or '.join(here)}"
            if here
            else "expected: a denoiser, an encoder or a generator",
        )
    chosen = how or here[0]
    recipe: Any = run.recipe
    with run.inference():
        if chosen == "encoder":
            z = recipe.encode(image)
            return Inverted(chosen, z, recipe.decode(z))
        if chosen == "ddim":
            return _by_ddim(run, image, steps, cond)
        request = run.request([k for _ in range(restarts) for k in range(len(image))], seed)
        start = Seeds(seed, range(restarts * len(image)), run.device).randn(recipe.latent_shape)
        z, again = search(
            lambda z: recipe.from_latents(z, request),
            image,
            start.unflatten(0, (restarts, len(image))),
            steps=10 * steps,
        )
        return Inverted(chosen, z, again)


def ways(run: Run) -> list[How]:
    """Return how images can be inverted, the most exact first."""
    recipe: Any = run.recipe
    found: dict[How, bool] = {
        "ddim": isinstance(recipe, HasDenoiser),
        "encoder": isinstance(recipe, HasEncoder) and not isinstance(recipe, HasDenoiser),
        "search": isinstance(recipe, HasLatents),
    }
    return [how for how, able in found.items() if able]


def _by_ddim(run: Run, image: Tensor, steps: int, cond: Cond | None) -> Inverted:
    recipe: Any = run.recipe
    denoise = denoiser_of(run, cond)  # without a clamp, which can't be undone
    latent = denoise.space == "latent"
    x0 = recipe.encode(image) if latent else image
    sigmas = trailing(denoise, at_most(steps, denoise))
    x = ddim_inversion(denoise, x0, sigmas)
    again = ddim_sampling(denoise, x, sigmas)
    return Inverted("ddim", x / denoise.prior_std, recipe.decode(again) if latent else again)
