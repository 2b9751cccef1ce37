"""What translators make of held-out images, for each kind of source, as one figure.

Run from the checkout, on the folders of finished runs of data.task=paired:

    python ci/studies/image_tasks.py runs/emoji/{pix2pix,palette}/* --out docs/assets/image-tasks.png

The images are the first of the test split. A row is a kind of source; for each image it has the source, what
each model makes of it, and the image itself. Each run is read from its plots/translations.npz.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo_core.results import read_result
from zoo_core.viz.image_grid import ImageGrid, draw_grids

MODELS = ("pix2pix", "palette")
ORDER = ("gray", "edges", "labels", "lowres", "blur", "jpeg", "mask", "freeform", "crop")
"""Of the rows."""


def read(run: Path) -> dict[str, Tensor]:
    """Return a run's sources, translations and targets, (n, C, H, W) in [-1, 1]."""
    with np.load(run / "plots" / "translations.npz") as arrays:
        images = {name: torch.from_numpy(arrays[name]).permute(0, 3, 1, 2) for name in arrays.files}
    return {name: values.float() / 127.5 - 1 for name, values in images.items()}


def enlarged(image: Tensor, side: int) -> Tensor:
    """Return an image (C, H, W) with 3 channels, each pixel repeated until it is `side` wide."""
    image = image.expand(3, -1, -1)
    return image.repeat_interleave(side // image.shape[-1], -1).repeat_interleave(side // image.shape[-2], -2)


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs")
    parser.add_argument("--images", type=int, default=3, help="how many images of the test split")
    parser.add_argument("--out", type=Path, required=True, help="the figure, PNG")
    given = parser.parse_args()
    made: dict[tuple[str, str], dict[str, Tensor]] = {}
    for run in given.runs:
        if (run / "result.json").exists():
            result = read_result(run / "result.json")
            made[str(result.data.source), result.plugin] = read(run)
    sources = [source for source in ORDER if all((source, model) in made for model in MODELS)]
    if not sources:
        raise SystemExit(f"no kind of source has a run of each of {', '.join(MODELS)}")
    first = made[sources[0], MODELS[0]]["target"]
    grids = []
    for k in range(given.images):
        images: list[Tensor | None] = []
        for source in sources:
            if not torch.equal(made[source, MODELS[0]]["target"], first):
                raise SystemExit(f"runs of {source} show other images")
            side = first.shape[-1]
            images.append(enlarged(made[source, MODELS[0]]["source"][k], side))
            images += [*(made[source, model]["translation"][k] for model in MODELS), first[k]]
        heads = ("source", *MODELS, "real")
        grids.append(ImageGrid(images, len(heads), column_labels=heads, row_labels=sources if k == 0 else ()))
    figure = draw_grids(grids, "Images from images", "held-out emoji; seed 0 of each model")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.out)


if __name__ == "__main__":
    main()
