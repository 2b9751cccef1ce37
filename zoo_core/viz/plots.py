"""Plots of a run: sample grids, curves, a denoising strip, score fields, reconstructions, latents.

`Plots` draws them as a listener of the hooks `zoo_plot` and `zoo_plot_trained`; which plots a trained run has
is decided by what its model can do. Each is written in `plots.format`, with its numbers beside it.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

import torch
from torch import Tensor

from zoo_core.data.captions import Tokenizer
from zoo_core.data.levels import quantize
from zoo_core.errors import UsageError
from zoo_core.events import hookimpl
from zoo_core.events.trackers import read_metrics
from zoo_core.interfaces import HasUnits, RunView, TrainedRun
from zoo_core.registry.metrics import base_name
from zoo_core.results import Value
from zoo_core.results.attachments import GRID
from zoo_core.types import DataInfo
from zoo_core.viz import denoising, fields, latents, paths, styles, translations
from zoo_core.viz.curves import draw_curves
from zoo_core.viz.drawing import tile, to_uint8, write_png
from zoo_core.viz.image_grid import ImageGrid, draw_grids, stacked
from zoo_core.viz.plane import scatter, scatter_samples
from zoo_core.viz.plot import Animation, Job, Plot, run_line, save_plot

GRID_ROWS = 8
"""Of a sample grid, which has as many columns, or one for each class or caption."""
POINTS = 2000
NAMED = ("FD", "modes", "on-modes")
"""Scores that a plot of the samples of a scored run names."""
TEXTS = "samples.txt"
"""Samples of a run that are captions, one a line."""


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
        scatter_samples(x, info.name).save(path)
    else:
        raise UsageError(
            f"can't write samples as {path.name!r}",
            "expected: a file that ends in .png or .npz, or a folder's name without an ending",
        )


def texts_of(x: Tensor, info: DataInfo, tokenizer: Tokenizer | None) -> list[str]:
    """Return samples as texts, where they are captions.

    Args:
        x: (n, length) in [-1, 1].

    Raises:
        UsageError: for other samples.
    """
    if info.task != "caption" or info.levels is None or tokenizer is None:
        raise UsageError(
            f"samples of task {info.task!r} are no captions", "expected: a run of data.task=caption"
        )
    return tokenizer.decode_all(quantize(x, info.levels).tolist())


def save_lines(texts: Sequence[str], path: Path) -> None:
    """Write captions into a text file, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


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
        _write(run, f"samples-{step:08d}", lambda: _samples(run), announced="samples")

    @hookimpl
    def zoo_plot_trained(self, run: TrainedRun) -> None:
        for name, job in jobs(run).items():
            drawn = _write(run, name, job, announced=name)
            if name == "samples" and isinstance(drawn, Plot):
                with _warned(run, GRID):
                    _write_grid(drawn, run.dir / "plots" / GRID)
        if run.data_info.task == "caption":
            with _warned(run, TEXTS):
                drawn_texts = texts_of(run.sample(GRID_ROWS**2), run.data_info, run.data.tokenizer)
                save_lines(drawn_texts, run.dir / "plots" / TEXTS)
        worst = run.dir / "plots" / f"worst.{run.config.plots.format}"  # drawn with the scores
        if worst.is_file():
            run.announce("worst", worst)


@contextlib.contextmanager
def _warned(run: RunView, name: str) -> Iterator[None]:
    """Warn of what keeps a plot from being drawn; the other plots may be drawn."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        run.warn(f"warning: could not draw {name}: {type(error).__name__}: {error}")


def _write(run: RunView, name: str, job: Job, announced: str) -> Plot | Animation | None:
    """Draw one plot, write its files, announce the first, and return what was drawn."""
    suffix = run.config.plots.format
    with _warned(run, f"{name}.{suffix}"):
        drawn = job()
        if drawn is not None:
            run.announce(announced, save_plot(drawn, run.dir, name, suffix))
        return drawn
    return None


def scores_line(metrics: Mapping[str, Value]) -> str:
    """Return the scores that a plot of samples names, of those that the run has: "FD[raw] 0.0123, ..."."""
    named = (
        f"{column} {value.value:.3g}{f' {value.note}' if base_name(column) == 'modes' else ''}"
        for column, value in metrics.items()
        if base_name(column) in NAMED
    )
    return ", ".join(named)


def _samples(run: RunView, scores: str = "") -> Plot | None:
    title = "Samples"
    if run.data_info.is_image:
        samples, columns = run.sample_grid(GRID_ROWS)
        labels = run.grid_labels()
        what = {"class": "one class per column", "text": "one caption per column"}.get(run.data_info.task, "")
        grid = ImageGrid(list(samples), columns, column_labels=labels)
        figure = draw_grids([grid], title, " · ".join(filter(None, (run_line(run), scores, what))))
        numbers = {"samples": stacked(list(samples))}
        return Plot(figure, {**numbers, "column": labels} if labels else numbers)
    if run.data_info.shape == (2,):
        points = run.training_examples(POINTS), run.sample(POINTS)
        return scatter(
            *points,
            title,
            " · ".join(filter(None, (run_line(run), scores))),
            names=("training points", "samples"),
        )
    return None


def _write_grid(drawn: Plot, path: Path) -> None:
    """Write the samples of a plot without labels; points as they were plotted."""
    samples = torch.as_tensor(drawn.numbers["samples"])
    if samples.ndim == 2:
        Plot(drawn.figure).save(path)
        return
    images = samples.permute(0, 3, 1, 2).float() / 127.5 - 1
    write_png(tile(images, len(images) // GRID_ROWS), path)


def _curves(run: TrainedRun) -> Plot | None:
    options = run.config.plots
    records = read_metrics(run.dir / "metrics.jsonl")
    units = run.recipe.units if isinstance(run.recipe, HasUnits) else {}
    return draw_curves(records, run_line(run), scale=options.scale, smoothing=options.smoothing, units=units)


def jobs(run: TrainedRun) -> dict[str, Job]:
    """Return name -> drawing function of all plots that a trained run has."""
    found: dict[str, Job] = {"samples": lambda: _samples(run, scores_line(run.metrics))}
    if (run.dir / "metrics.jsonl").exists():
        found["curves"] = lambda: _curves(run)
    for kind in (denoising, fields, paths, latents, translations, styles):
        found |= kind.jobs(run)
    return found
