"""Plots of a run: sample grids, curves, a denoising strip, score fields, reconstructions, latents.

`Plots` draws them as a listener of the hooks `zoo_plot` and `zoo_plot_trained`; which plots a trained run has
is decided by what its model can do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.events import hookimpl
from zoo_core.events.trackers import read_metrics
from zoo_core.interfaces import RunView, TrainedRun
from zoo_core.types import DataInfo
from zoo_core.viz import denoising, fields, latents, paths, styles, translations
from zoo_core.viz.drawing import curves, scatter, tile, to_uint8, write_png

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
            f"{info.name!r} has points, which can't be written as images",
            "expected: a file that ends in .npz",
        )
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    used: Counter[str] = Counter()
    for k, image in enumerate(to_uint8(x)):
        stem = f"{k:06}"
        if names:
            turn, name = divmod(k, len(names))
            stem = "-".join(PurePath(names[name]).with_suffix("").parts) + (f"-{turn + 1}" if turn else "")
        while used[stem.lower()]:  # a/b and a-b, or two endings of one name
            stem += "-2"
        used[stem.lower()] += 1
        array = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        Image.fromarray(array.cpu().numpy()).save(folder / f"{stem}.png")


class Plots:
    """Draws a run's plots into its folder and announces each by `zoo_images`."""

    @hookimpl
    def zoo_plot(self, run: RunView, step: int) -> None:
        name = f"samples-{step:08d}.png"
        try:
            path = _folder(run) / name
            _samples(run, path, f"{run.config.plugin} on {run.config.data.name}, step {step}")
        except OSError as error:  # the next plot may be drawn again
            run.warn(f"warning: could not draw {name}: {error}")
            return
        if path.exists():
            run.announce("samples", path)

    @hookimpl
    def zoo_plot_trained(self, run: TrainedRun) -> None:
        for name, job in jobs(run).items():
            path = _folder(run) / f"{name}.png"
            try:
                job(path)
            except (OSError, ValueError, RuntimeError) as error:  # the other plots may be drawn
                run.warn(f"warning: could not draw {path.name}: {type(error).__name__}: {error}")
                continue
            if path.exists():
                run.announce(name, path)


def _folder(run: RunView) -> Path:
    folder = run.dir / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _samples(run: RunView, path: Path, title: str) -> None:
    if run.data_info.is_image:
        samples, columns = run.sample_grid(GRID_ROWS)
        write_png(tile(samples, columns), path)
    elif run.data_info.shape == (2,):
        scatter(run.training_examples(POINTS), run.sample(POINTS), path, title)


def jobs(run: TrainedRun) -> dict[str, Callable[[Path], None]]:
    """Return name -> drawing function of all plots that a trained run has."""
    title = f"{run.config.plugin} on {run.config.data.name}"
    found: dict[str, Callable[[Path], None]] = {"samples": lambda path: _samples(run, path, title)}
    if (run.dir / "metrics.jsonl").exists():
        found["curves"] = lambda path: curves(read_metrics(run.dir / "metrics.jsonl"), path, title)
    for kind in (denoising, fields, paths, latents, translations, styles):
        found |= kind.jobs(run)
    return found
