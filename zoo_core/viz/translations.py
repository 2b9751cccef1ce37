"""What a translation from image to image does, in images: sources, what is made of them, what should
be.

Any run on pairs or on two domains gets them, whatever its family; all images are of the test split.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from zoo_core.data.conditioning import dealt, source_images
from zoo_core.interfaces import TrainedRun, TwoWay
from zoo_core.seeds import Seeds
from zoo_core.viz.drawing import tile, write_captioned, write_png

ROWS, BLOCKS = 8, 4
"""Rows of a block, and blocks side by side."""


def jobs(run: TrainedRun) -> dict[str, Callable[[Path], None]]:
    """Return name -> drawing function for what a trained run's translations have to show."""
    if run.data.origin is None:
        return {}
    found: dict[str, Callable[[Path], None]] = {"translations": lambda path: _translations(run, path)}
    if isinstance(run.recipe, TwoWay):
        found["cycles"] = lambda path: _cycles(run, path)
    return found


def beside(columns: list[Tensor]) -> Tensor:
    """Return images of several kinds as one sheet, a row for each and its kinds side by side.

    Args:
        columns: (n, C, H, W) each; gray ones become as colored as the others.
    """
    return _interleaved(columns, len(columns))


def _interleaved(kinds: list[Tensor], across: int) -> Tensor:
    channels = max(kind.shape[1] for kind in kinds)
    shown = [kind.float().cpu().expand(-1, channels, -1, -1) for kind in kinds]
    return tile(torch.stack(shown, 1).flatten(0, 1), across)


def save_translations(source: Tensor, made: Tensor, path: Path) -> None:
    """Write images, each with its translation on its right, as a grid (.png) of at most BLOCKS a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    across = min(BLOCKS, len(made))
    write_png(_interleaved([source, made], 2 * across), path)


def blocks(caption: str, columns: list[Tensor], count: int) -> list[tuple[str, Tensor]]:
    """Return captioned sheets of ROWS rows each, `count` of them, as far as there are images."""
    parts = zip(*(column.split(ROWS) for column in columns), strict=True)
    return [(caption, beside(list(part))) for part in parts][:count]


def _translations(run: TrainedRun, path: Path) -> None:
    held = len(run.data.origin.test) if run.data.origin is not None else 0
    rows = dealt(run.data, min(ROWS * BLOCKS, held))
    source = source_images(run.data, rows).image
    assert source is not None
    columns, caption = [source, run.sample(len(rows))], "source, translation"
    if "source" in run.data.test:
        columns.append(run.to_model(run.data.test.examples(rows)))
        caption = "source, translation, target"
    write_captioned(blocks(caption, columns, BLOCKS), path)


def _cycles(run: TrainedRun, path: Path) -> None:
    recipe, origin = run.recipe, run.data.origin
    assert isinstance(recipe, TwoWay)
    assert origin is not None
    count = ROWS * BLOCKS // 2

    def seeds(x: Tensor) -> Seeds:
        return Seeds(run.config.sample.seed, range(len(x)), run.device)

    to_model = run.to_model
    a = to_model(origin.test.examples(dealt(run.data, min(count, len(origin.test)))))
    b = to_model(run.data.test.examples(torch.arange(min(count, len(run.data.test)))))
    with run.inference():
        there, back = recipe.translate(a, noise=seeds(a)), recipe.translate_back(b, noise=seeds(b))
        again_a = recipe.translate_back(there, noise=seeds(there))
        again_b = recipe.translate(back, noise=seeds(back))
    sheets = blocks("source, there, and back", [a, there, again_a], BLOCKS // 2)
    sheets += blocks("target, back, and there again", [b, back, again_b], BLOCKS // 2)
    write_captioned(sheets, path)
