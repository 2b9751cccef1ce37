"""A diffusion sampler on its way from noise to images: a strip of a few moments, and all of it moving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from zoo_core.interfaces import HasDenoiser, TrainedRun
from zoo_core.viz.drawing import tile, write_animation, write_png

ROWS, COLUMNS = 6, 11
"""Samples of the strip, and moments."""
SIDE, FRAMES = 6, 30
"""Rows and columns of the animation, and its most frames."""


def jobs(run: TrainedRun) -> dict[str, Callable[[Path], None]]:
    """Return name -> drawing function for a model of images that holds a denoiser.

    A function draws nothing where the sampler tells no states.
    """
    if not run.data.info.is_image or not isinstance(run.recipe, HasDenoiser):
        return {}
    return {
        "denoising": lambda path: _strip(run, path),
        "denoising-animation": lambda path: _animation(run, path),
    }


def _states(run: TrainedRun, n: int) -> list[Tensor]:
    """Return the states of n samples on their way, (n, C, H, W) each, and last the samples; or nothing."""
    drawn = run.samples(replace(run.request(range(n)), trace=True))
    return [state.cpu() for state in (*drawn.trajectory, drawn.x)] if drawn.trajectory else []


def spaced(states: Sequence[Tensor], most: int) -> list[Tensor]:
    """Return at most so many states, evenly spaced, the first and the last among them."""
    count = min(most, len(states))
    last = len(states) - 1
    return [states[round(place * last / max(1, count - 1))] for place in range(count)]


def _strip(run: TrainedRun, path: Path) -> None:
    columns = spaced(_states(run, ROWS), COLUMNS)
    if columns:
        write_png(tile(torch.stack(columns, dim=1).flatten(0, 1), len(columns)), path)


def _animation(run: TrainedRun, path: Path) -> None:
    frames = spaced(_states(run, SIDE * SIDE), FRAMES)
    if frames:
        write_animation([tile(frame, SIDE) for frame in frames], path)
