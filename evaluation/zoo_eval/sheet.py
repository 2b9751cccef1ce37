"""A picture of the samples that lie closest to the training set, beside what they lie close to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo_core.data.loading import Dataset, to_unit
from zoo_core.tracking.pictures import tile

if TYPE_CHECKING:
    from zoo_eval.memorisation import Found

COLUMNS = 12
NAME = "pictures/neighbours.png"
LABELS = ("sample", "nearest\ntraining", "nearest\nheld out")


def neighbour_sheet(rows: Tensor, found: Found, dataset: Dataset) -> Tensor | None:
    """Return the sheet: the most suspicious samples, their nearest training and held-out pictures under them.

    Args:
        rows: (n, C, H, W) integer levels.
        found: among the pixels.

    Returns:
        uint8 (C, H', W'), three rows of at most `COLUMNS`, closest to a copy first; None for points.
    """
    levels = dataset.info.levels
    if levels is None or not dataset.info.is_image:
        return None
    worst = found.ratio.argsort()[:COLUMNS]
    shown = (
        rows[worst],
        dataset.train.examples(found.train.index[worst]).cpu(),
        dataset.test.examples(found.test.index[worst]).cpu(),
    )
    return tile(to_unit(torch.cat(shown), levels), len(worst))


def write(picture: Tensor, folder: Path) -> str:
    """Write the sheet with its rows named into a run's folder and return its path there."""
    from matplotlib.figure import Figure

    channels, height, width = picture.shape
    scale, margin, dpi = max(1, round(84 * COLUMNS / width)), 96, 100
    whole = width * scale + margin
    figure = Figure(figsize=(whole / dpi, height * scale / dpi), dpi=dpi)
    axes = figure.add_axes((margin / whole, 0, 1 - margin / whole, 1))
    shown = picture[0].numpy() if channels == 1 else picture[:3].permute(1, 2, 0).numpy()
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for place, label in enumerate(LABELS):
        figure.text(8 / whole, 1 - (place + 0.5) / 3, label, va="center", fontsize=11)
    path = folder / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return NAME
