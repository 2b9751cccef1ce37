"""What an image-to-image model does: sources, translations below them, and targets where they are known.

Any run on pairs or on two domains has them; all images are of the test split.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from zoo_core.data.conditioning import dealt, source_images
from zoo_core.interfaces import TrainedRun, TwoWay
from zoo_core.seeds import Seeds
from zoo_core.viz.drawing import tile, write_png
from zoo_core.viz.image_grid import ImageGrid, draw_grids, interleaved, stacked
from zoo_core.viz.plot import Job, Plot, run_line

COLUMNS, GROUPS = 10, 3
"""Columns of a grid, and groups of rows: an image of each kind, one below the other."""
BLOCKS = 4
"""Pairs of source and translation in a row of `save_translations`."""


def jobs(run: TrainedRun) -> dict[str, Job]:
    """Return name -> drawing function for what a trained run's translations have to show."""
    if run.data.origin is None:
        return {}
    found: dict[str, Job] = {"translations": lambda: _translations(run)}
    if isinstance(run.recipe, TwoWay):
        found["cycles"] = lambda: _cycles(run)
    return found


def save_translations(source: Tensor, made: Tensor, path: Path) -> None:
    """Write images, each with its translation on its right, as a grid (.png) of at most BLOCKS a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    across = min(BLOCKS, len(made))
    channels = max(source.shape[1], made.shape[1])
    shown = [x.float().cpu().expand(-1, channels, -1, -1) for x in (source, made)]
    write_png(tile(torch.stack(shown, 1).flatten(0, 1), 2 * across), path)


def groups(kinds: dict[str, Tensor], title: str = "") -> ImageGrid:
    """Return a grid in which the images of each kind stand below one another, in groups of rows.

    Args:
        kinds: row label -> (n, C, H, W); gray images become color images where another kind has colors.
    """
    columns = min(COLUMNS, len(next(iter(kinds.values()))))
    images = interleaved(*kinds.values(), columns=columns)
    labels = list(kinds) * (len(images) // columns // len(kinds))
    return ImageGrid(images, columns, title, row_labels=labels, group=len(kinds))


def _translations(run: TrainedRun) -> Plot:
    origin = run.data.origin
    assert origin is not None
    rows = dealt(run.data, min(COLUMNS * GROUPS, len(origin.test)))
    source = source_images(run.data, rows).image
    assert source is not None
    kinds = {"source": source, "translation": run.sample(len(rows))}
    if "source" in run.data.test:
        kinds["target"] = run.to_model(run.data.test.examples(rows)).cpu()
    grid = groups(kinds)
    figure = draw_grids([grid], "Translations of test images", run_line(run))
    return Plot(figure, {name: stacked(list(images)) for name, images in kinds.items()})


def _cycles(run: TrainedRun) -> Plot:
    recipe, origin = run.recipe, run.data.origin
    assert isinstance(recipe, TwoWay)
    assert origin is not None
    count = COLUMNS * 2

    def seeds(x: Tensor) -> Seeds:
        return Seeds(run.config.sample.seed, range(len(x)), run.device)

    to_model = run.to_model
    a = to_model(origin.test.examples(dealt(run.data, min(count, len(origin.test)))))
    b = to_model(run.data.test.examples(torch.arange(min(count, len(run.data.test)))))
    with run.inference():
        there, back = recipe.translate(a, noise=seeds(a)), recipe.translate_back(b, noise=seeds(b))
        again_a = recipe.translate_back(there, noise=seeds(there))
        again_b = recipe.translate(back, noise=seeds(back))
    forth = {"A": a.cpu(), "A → B": there.cpu(), "A → B → A": again_a.cpu()}
    reverse = {"B": b.cpu(), "B → A": back.cpu(), "B → A → B": again_b.cpu()}
    grids = [groups(forth, "from the source domain A"), groups(reverse, "from the target domain B")]
    figure = draw_grids(grids, "Cycles of test images", run_line(run))
    numbers = {
        f"{k}": stacked(list(x))
        for k, x in zip(
            ("a", "a_b", "a_b_a", "b", "b_a", "b_a_b"), (*forth.values(), *reverse.values()), strict=True
        )
    }
    return Plot(figure, numbers)
