"""What drawing functions return: a plot with the numbers behind it, or an animation; how it is written."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from zoo_core.interfaces import RunView
from zoo_core.viz.drawing import enlarged
from zoo_core.viz.style import styled

Numbers = Mapping[str, Any]
"""Name -> array or sequence."""
SECONDS, PAUSE = 3.0, 2.0
"""Duration of an animation's movement, and of its last frame."""


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure and the numbers behind it.

    Attributes:
        figure: the figure.
        numbers: columns of one length are written as CSV, anything else as npz; nothing for none.
    """

    figure: Any
    numbers: Numbers = field(default_factory=dict)

    @styled
    def save(self, path: Path) -> list[Path]:
        """Write the plot in the format of the path's suffix, and the numbers beside it; return the files.

        Raises:
            OSError: where a file can't be written.
        """
        # No date, so that equal plots have equal bytes.
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
        self.figure.savefig(path, metadata=metadata)
        written = write_numbers(self.numbers, path.with_suffix(""))
        return [path] if written is None else [path, written]

    @styled
    def png(self) -> bytes:
        """Return the plot as a PNG file."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png")
        return file.getvalue()


@dataclass(frozen=True)
class Animation:
    """Frames of one size, uint8 (C, H, W), played for SECONDS and then again after a pause."""

    frames: Sequence[Tensor]

    def save(self, path: Path) -> list[Path]:
        """Write the frames as WebP (lossless) and GIF under the path's name; return the files.

        Raises:
            OSError: where a file can't be written.
        """
        images = [enlarged(frame).convert("RGB") for frame in self.frames]
        each = max(20, round(1000 * SECONDS / len(images)))
        times = [each] * (len(images) - 1) + [round(1000 * PAUSE)]
        files = [path.with_suffix(".webp"), path.with_suffix(".gif")]
        for file, how in zip(files, ({"lossless": True}, {"optimize": False}), strict=True):
            images[0].save(file, save_all=True, append_images=images[1:], duration=times, loop=0, **how)
        return files


def save_plot(drawn: Plot | Animation, run: Path, name: str, suffix: str) -> Path:
    """Write what was drawn into a run's folder `plots`, and return the first file.

    Raises:
        OSError: where a file can't be written.
    """
    folder = run / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    return drawn.save(folder / f"{name}.{suffix}")[0]


def write_numbers(numbers: Numbers, stem: Path) -> Path | None:
    """Write numbers as CSV where they are columns of one length, else as npz; return the file, or None."""
    arrays = {name: np.asarray(values) for name, values in numbers.items()}
    if not arrays:
        return None
    lengths = {array.shape for array in arrays.values()}
    if len(lengths) > 1 or len(next(iter(lengths))) != 1:
        path = stem.with_name(f"{stem.name}.npz")
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
        return path
    path = stem.with_name(f"{stem.name}.csv")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(arrays)
        writer.writerows(zip(*(array.tolist() for array in arrays.values()), strict=True))
    return path


Job = Callable[[], Plot | Animation | None]
"""Draws one plot; None where the run turns out to have nothing to show."""


def run_line(run: RunView) -> str:
    """Return the line that says which run a plot is of: model, data, steps, seed."""
    config = run.config
    return f"{config.plugin} on {config.data.name} · {run.step:,} steps · seed {config.seed}"
