"""Images of a run: sample grids, curves, a denoising strip, fields of the plane, what its latents mean.

`progress` and `final` decide what a run has to show by what it can do; `drawing` has the strokes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo_core.data.conditioning import grid_conditions
from zoo_core.errors import UsageError
from zoo_core.events import Events
from zoo_core.events.trackers import read_metrics
from zoo_core.types import DataInfo
from zoo_core.viz import denoising, fields, latents, paths, styles, translations
from zoo_core.viz.drawing import curves, scatter, tile, to_uint8, write_png

if TYPE_CHECKING:
    from zoo_core.runs import Run

GRID_ROWS = 8
"""Of a sample grid, which has as many columns, or one for each class or caption."""
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
            f"can't write samples as {path.name!r}",
            "expected: a file that ends in .png or .npz, or a folder's name without an ending",
        )


def save_folder(x: Tensor, info: DataInfo, folder: Path, names: Sequence[str] = ()) -> None:
    """Write samples as a PNG file each, of their own size.

    Args:
        names: of files, whose stems theirs have, in turn; the second time round with `-2` behind, and so on.
            Where there are none samples are numbered.

    Raises:
        UsageError: for points.
    """
    if not info.is_image:
        raise UsageError(
            f"{info.name!r} has points, which are no images", "expected: a file that ends in .npz"
        )
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(to_uint8(x)):
        stem = f"{k:06}"
        if names:
            turn, name = divmod(k, len(names))
            stem = "-".join(PurePath(names[name]).with_suffix("").parts) + (f"-{turn + 1}" if turn else "")
        array = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        Image.fromarray(array.cpu().numpy()).save(folder / f"{stem}.png")


def _folder(run: Run) -> Path:
    folder = run.dir / "images"
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
        real = run.data.train.examples(torch.arange(min(POINTS, len(run.data.train))))
        scatter(real, run.sample(POINTS), path, title)


def final(run: Run, events: Events) -> dict[str, str]:
    """Draw all that a trained run has to show and return name -> path within the run's folder."""
    folder = _folder(run)
    title = f"{run.config.plugin} on {run.config.data.name}"
    jobs: dict[str, Callable[[Path], None]] = {"samples": lambda path: _samples(run, path, title)}
    if (run.dir / "metrics.jsonl").exists():
        jobs["curves"] = lambda path: curves(read_metrics(run.dir / "metrics.jsonl"), path, title)
    jobs |= denoising.jobs(run)
    jobs |= fields.jobs(run)
    jobs |= paths.jobs(run)
    jobs |= latents.jobs(run)
    jobs |= translations.jobs(run)
    jobs |= styles.jobs(run)
    drawn = {}
    for name, job in jobs.items():
        path = folder / f"{name}.png"
        try:
            job(path)
        except (OSError, ValueError, RuntimeError) as error:  # a image is never worth a trained model
            run.warn(f"warning: could not draw {path.name}: {type(error).__name__}: {error}")
            continue
        if path.exists():
            drawn[name] = str(path.relative_to(run.dir))
            events.tell("zoo_images", run=run, step=run.harness.counts.total, name=name, path=str(path))
    return drawn
