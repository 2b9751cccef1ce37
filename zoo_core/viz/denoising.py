"""A diffusion sampler on its way from noise to images: a strip of noise levels, and an animation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from zoo_core.interfaces import HasDenoiser, TrainedRun
from zoo_core.viz.drawing import tile
from zoo_core.viz.image_grid import ImageGrid, draw_grids, stacked
from zoo_core.viz.plot import Animation, Job, Plot, run_line

T = TypeVar("T")
ROWS, COLUMNS = 6, 10
"""Samples of the strip, and noise levels."""
SIDE, FRAMES = 6, 30
"""Rows and columns of the animation, and its most frames."""
VISIBLE = (0.03, 8.0)
"""Noise levels between which an image in [-1, 1] changes to the eye: columns are spaced between them."""


def jobs(run: TrainedRun) -> dict[str, Job]:
    """Return name -> drawing function for a model of images that holds a denoiser.

    A function draws nothing where the sampler tells no states.
    """
    if not run.data.info.is_image or not isinstance(run.recipe, HasDenoiser):
        return {}
    return {"denoising": lambda: _strip(run), "denoising-animation": lambda: _animation(run)}


def _states(run: TrainedRun, n: int) -> tuple[list[Tensor], list[float]]:
    """Return the states of n samples on their way, (n, C, H, W) each, last the samples, and their sigmas.

    Both are empty where the sampler tells no states; the second where it tells no noise levels.
    """
    drawn = run.samples(replace(run.request(range(n)), trace=True))
    if not drawn.trajectory:
        return [], []
    return [x.cpu() for x in (*drawn.trajectory, drawn.x)], [*drawn.sigmas, 0.0] if drawn.sigmas else []


def spaced(states: Sequence[T], most: int) -> list[T]:
    """Return at most so many states, evenly spaced, the first and the last among them."""
    count = min(most, len(states))
    last = len(states) - 1
    return [states[round(place * last / max(1, count - 1))] for place in range(count)]


def by_noise_level(sigmas: Sequence[float], most: int) -> list[int]:
    """Return places of at most so many states whose noise levels are spaced evenly in log sigma.

    The first and the last state are among them. Between them the levels lie within VISIBLE, where an image
    changes to the eye; the nearest state is taken, each at most once.

    Args:
        sigmas: descending, the last 0.
    """
    last = len(sigmas) - 1
    high, low = min(sigmas[0], VISIBLE[1]), max(min(s for s in sigmas if s > 0), VISIBLE[0])
    inner = most - 2
    if last < most or not high > low:
        return [round(k * last / max(1, min(most, last + 1) - 1)) for k in range(min(most, last + 1))]
    wanted = [high * (low / high) ** (k / (inner - 1)) for k in range(inner)]
    logs = torch.tensor(sigmas[1:last], dtype=torch.float64).log()
    near = {1 + int((logs - math.log(sigma)).abs().argmin()) for sigma in wanted}
    return [0, *sorted(near), last]


def short(sigma: float) -> str:
    """Return a noise level in two digits, without an exponent where it is at least 10."""
    return f"{sigma:.0f}" if sigma >= 10 else f"{sigma:.2g}"


def column_labels(sigmas: Sequence[float]) -> list[str]:
    """Return the labels of columns with these noise levels, 0 for the samples; the first names the symbol."""
    numbers = [short(sigma) if sigma else "sample" for sigma in sigmas]
    return [f"σ={number}" if place == 0 else number for place, number in enumerate(numbers)]


def _strip(run: TrainedRun) -> Plot | None:
    states, sigmas = _states(run, ROWS)
    if not states:
        return None
    places = by_noise_level(sigmas, COLUMNS) if sigmas else spaced(range(len(states)), COLUMNS)
    images = list(torch.stack([states[k] for k in places], dim=1).flatten(0, 1))
    shown = [sigmas[k] for k in places] if sigmas else []
    grid = ImageGrid(images, len(places), column_labels=column_labels(shown))
    note = "From noise (left) to samples (right), a sample in each row."
    if sigmas:
        note += (
            f" The columns between the first and the last are spaced evenly in log σ, from {VISIBLE[1]:g} to "
            f"{VISIBLE[0]:g}; noisy images are shown at unit variance, x / √(1 + σ²)."
        )
    figure = draw_grids([grid], "Denoising", run_line(run), note)
    return Plot(figure, {"states": stacked(images), "sigma": shown})


def _animation(run: TrainedRun) -> Animation | None:
    states, _ = _states(run, SIDE * SIDE)
    frames = spaced(states, FRAMES) if states else []
    return Animation([tile(frame, SIDE) for frame in frames]) if frames else None
