"""Pictures of a run: sample grids, training curves, a denoising strip, a score field, what its latents mean.

`progress` and `final` decide what a run has to show by what it can do; `drawing` has the strokes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo_core.data.conditioning import grid_conditions
from zoo_core.errors import UsageError
from zoo_core.events import Events
from zoo_core.interfaces import HasDenoiser
from zoo_core.tracking import latents
from zoo_core.tracking.drawing import curves, scatter, score_field, tile, to_uint8, write_png
from zoo_core.tracking.trackers import read_metrics
from zoo_core.types import DataInfo, SampleRequest

if TYPE_CHECKING:
    from zoo_core.runs import Run

GRID_ROWS = 8
"""Of a sample grid, which has as many columns, or one for each class or caption."""
STRIP_ROWS, STRIP_COLUMNS = 6, 11
POINTS = 2000


def save_samples(x: Tensor, info: DataInfo, path: Path, columns: int | None = None) -> None:
    """Write samples as a grid (.png), or as `samples` in an .npz: uint8 (n, H, W, C) or points (n, D).

    Args:
        columns: of the grid; None for a square one.

    Raises:
        UsageError: for another suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        import numpy as np

        array = to_uint8(x).permute(0, 2, 3, 1).numpy() if info.is_image else x.numpy()
        np.savez_compressed(path, samples=array)
    elif path.suffix == ".png" and info.is_image:
        write_png(tile(x, columns or math.ceil(math.sqrt(len(x)))), path)
    elif path.suffix == ".png":
        scatter(x, x, path, info.name)
    else:
        raise UsageError(
            f"can't write samples as {path.name!r}", "expected: a file that ends in .png or .npz"
        )


def _folder(run: Run) -> Path:
    folder = run.dir / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def progress(run: Run, step: int, events: Events) -> None:
    """Draw samples from fixed noise at a step of training."""
    path = _folder(run) / f"samples-{step:08d}.png"
    _samples(run, path, f"{run.config.plugin} on {run.config.data.name}, step {step}")
    events.tell("zoo_images", run=run, step=step, name="samples", path=str(path))


def _samples(run: Run, path: Path, title: str) -> None:
    if run.data.info.is_image:
        columns, cond = grid_conditions(run.data, GRID_ROWS)
        write_png(tile(run.sample(GRID_ROWS * columns, cond=cond), columns), path)
    elif run.data.info.shape == (2,):
        real = run.data.train.rows(torch.arange(min(POINTS, len(run.data.train))))
        scatter(real, run.sample(POINTS), path, title)


def _strip(run: Run, path: Path) -> None:
    """Draw a diffusion sampler on its way from noise, on the left, to pictures."""
    request = run.request(range(STRIP_ROWS))
    drawn = run.samples(
        SampleRequest(request.noise, request.cond, request.sampler, request.steps, trace=True)
    )
    if not drawn.trajectory:
        return
    last = len(drawn.trajectory) - 1
    chosen = [drawn.trajectory[round(i * last / (STRIP_COLUMNS - 2))] for i in range(STRIP_COLUMNS - 1)]
    columns = [*chosen, drawn.x]
    rows = torch.stack([c.cpu() for c in columns], dim=1).flatten(0, 1)
    write_png(tile(rows, len(columns)), path)


def _field(run: Run, path: Path) -> None:
    assert isinstance(run.recipe, HasDenoiser)
    denoise = run.recipe.denoiser()
    real = run.data.train.rows(torch.arange(min(POINTS, len(run.data.train))))
    spread = float(real.std())

    def score(points: Tensor, sigma: float) -> Tensor:
        level = torch.tensor(sigma, device=run.device)
        with run.harness.quiet(run.config.eval.weights):
            x0 = denoise(points.to(run.device), level)
        return (x0.cpu() - points) / sigma**2  # Tweedie's formula

    levels = [s for s in (2 * spread, spread / 2, spread / 8) if denoise.sigma_min <= s <= denoise.sigma_max]
    score_field(score, levels, real, path, f"{run.config.plugin} on {run.config.data.name}: score field")


def final(run: Run, events: Events) -> dict[str, str]:
    """Draw all that a trained run has to show and return name -> path within the run's folder."""
    folder, info = _folder(run), run.data.info
    title = f"{run.config.plugin} on {run.config.data.name}"
    jobs: dict[str, Callable[[Path], None]] = {"samples": lambda path: _samples(run, path, title)}
    if (run.dir / "metrics.jsonl").exists():
        jobs["curves"] = lambda path: curves(read_metrics(run.dir / "metrics.jsonl"), path, title)
    if isinstance(run.recipe, HasDenoiser):
        if info.is_image:
            jobs["denoising"] = lambda path: _strip(run, path)
        elif info.shape == (2,):
            jobs["score-field"] = lambda path: _field(run, path)
    jobs |= latents.jobs(run)
    drawn = {}
    for name, job in jobs.items():
        path = folder / f"{name}.png"
        try:
            job(path)
        except (OSError, ValueError, RuntimeError) as error:  # a picture is never worth a trained model
            run.warn(f"warning: could not draw {path.name}: {type(error).__name__}: {error}")
            continue
        if path.exists():
            drawn[name] = str(path.relative_to(run.dir))
            events.tell("zoo_images", run=run, step=run.harness.counts.total, name=name, path=str(path))
    return drawn
