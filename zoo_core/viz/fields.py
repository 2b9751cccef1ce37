"""A model of points of the plane: its score over the density, and walks of Langevin dynamics."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from zoo_core.diffusion.langevin import annealed_langevin, langevin
from zoo_core.interfaces import Denoiser, HasDenoiser, Law, Smoothable, TrainedRun
from zoo_core.seeds import Seeds
from zoo_core.viz.plane import Surface, score_field, walks
from zoo_core.viz.plot import Job, Plot, run_line

POINTS = 2000
"""Of the data, where their density is not known."""
SHARES = (2.0, 0.5, 0.125)
"""Levels of the score field, as shares of the data's standard deviation."""
CHAINS, LEVELS, REPEATS = 30, 40, 10
"""Walkers, and the noise levels and steps of their schedule; one step per noise level is drawn."""
SETTLED = 0.2
"""Level of the walk that is not annealed, as a share of the data's standard deviation."""


def jobs(run: TrainedRun) -> dict[str, Job]:
    """Return name -> drawing function for a model of points of the plane that holds a denoiser."""
    if run.data.info.shape != (2,) or not isinstance(run.recipe, HasDenoiser):
        return {}
    if run.recipe.denoiser().space != "data":
        return {}
    return {
        "score-field": lambda: _score_field(run),
        "langevin": lambda: _walks(run),
    }


def _examples(run: TrainedRun) -> Tensor:
    return run.data.train.examples(torch.arange(min(POINTS, len(run.data.train)))).cpu()


def surface(density: Law | None, sigma: float) -> Surface | None:
    """Return log p of data at level sigma as a function of points (n, 2); None where it is not known."""
    if sigma == 0 and density is not None:
        return density.log_prob
    return density.smoothed(sigma).log_prob if isinstance(density, Smoothable) else None


def _within(denoise: Denoiser, sigma: float) -> float:
    return min(max(sigma, denoise.sigma_min), denoise.sigma_max)


def _score_field(run: TrainedRun) -> Plot:
    assert isinstance(run.recipe, HasDenoiser)
    denoise = run.recipe.denoiser()
    real = _examples(run)

    def score(points: Tensor, sigma: float) -> Tensor:
        level = torch.tensor(sigma, device=run.device)
        with run.inference():
            x0 = denoise(points.to(run.device), level)
        return (x0.cpu() - points) / sigma**2  # Tweedie's formula

    spread = float(real.std())
    levels = [s for s in (k * spread for k in SHARES) if denoise.sigma_min <= s <= denoise.sigma_max]
    panels = [(sigma, surface(run.data.density, sigma)) for sigma in levels]
    return score_field(score, panels, real, run_line(run))


def _walks(run: TrainedRun) -> Plot:
    """Return walkers from everywhere, at one noise level and down a schedule: only the second has the right
    fraction in each mode.
    """
    assert isinstance(run.recipe, HasDenoiser)
    denoise = run.recipe.denoiser()
    real = _examples(run)
    spread = float(real.std())
    reach = 1.15 * float(real.abs().max())
    noise = Seeds(0, range(CHAINS), run.device)
    starts = (2 * noise.rand((2,)) - 1) * reach
    low, high = _within(denoise, SETTLED * spread), _within(denoise, spread)
    least = _within(denoise, SETTLED * spread / 8)
    levels = torch.logspace(math.log10(high), math.log10(least), LEVELS, dtype=torch.float64)
    sigmas = torch.cat((levels, levels.new_zeros(1)))
    still = torch.cat((levels.new_full((LEVELS * REPEATS,), low), levels.new_zeros(1)))
    paths: list[list[Tensor]] = [[], []]

    def keep(which: int) -> Callable[[int, Tensor, Tensor, Tensor], None]:
        return lambda step, sigma, x, x0: paths[which].append(x.cpu())

    with run.inference():
        ends = (
            langevin(denoise, starts, still, noise=noise, callback=keep(0), level=low),
            annealed_langevin(denoise, starts, sigmas, noise=noise, callback=keep(1), repeats=REPEATS),
        )
    walked = [torch.stack([*states[::REPEATS], end.cpu()]) for states, end in zip(paths, ends, strict=True)]
    names = (f"one noise level, σ = {low:.2g}", f"annealed, σ from {high:.2g} to {least:.2g}")
    panels = list(zip(names, walked, strict=True))
    return walks(panels, surface(run.data.density, 0), real, "Langevin dynamics", run_line(run))
