"""The folder of a figure: plots as PNG, animations as WebP with a still, numbers as CSV or npz."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo_core.viz.style import make_figure

__all__ = ["Folder", "make_figure"]

FRAME_MS = 90
"""Duration of a frame of an animation, in milliseconds."""
LAST_MS = 1500
"""Duration of the last frame."""


class Folder:
    """A folder and the files written to it.

    Args:
        path: created where it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: list[Path] = []
        path.mkdir(parents=True, exist_ok=True)

    def _new(self, name: str) -> Path:
        self.files.append(self.path / name)
        return self.files[-1]

    def plot(self, figure: Any, name: str) -> None:
        """Write a matplotlib figure as NAME.png, in 256 colors."""
        _image(figure).quantize(256).save(self._new(f"{name}.png"), optimize=True)

    def image(self, image: Any, name: str) -> None:
        """Write a PIL image as NAME.png."""
        image.save(self._new(f"{name}.png"), optimize=True)

    def animation(self, frames: Iterable[Any], name: str) -> None:
        """Write matplotlib figures of one size as NAME.webp, and the last of them as NAME.png."""
        images = [_image(frame) for frame in frames]
        times = [FRAME_MS] * (len(images) - 1) + [LAST_MS]
        images[0].save(
            self._new(f"{name}.webp"),
            save_all=True,
            append_images=images[1:],
            duration=times,
            loop=0,
            quality=60,
        )
        images[-1].quantize(256).save(self._new(f"{name}.png"), optimize=True)

    def table(self, columns: Mapping[str, Sequence[float]], name: str) -> None:
        """Write columns of equal length as NAME.csv, with six digits."""
        with self._new(f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([f"{value:.6g}" for value in row] for row in zip(*columns.values(), strict=True))

    def arrays(self, name: str, **arrays: Any) -> None:
        """Write arrays as NAME.npz."""
        save: Any = np.savez_compressed
        save(self._new(f"{name}.npz"), **{key: np.asarray(value) for key, value in arrays.items()})


def _image(figure: Any) -> Any:
    """Return a matplotlib figure as an RGB image."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")
