"""Samples as `Run.sample` returns them: a tensor that can be shown and written to files."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.captions import Tokenizer
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo
from zoo_core.viz.drawing import enlarged, tile
from zoo_core.viz.plane import scatter_samples
from zoo_core.viz.plots import save_folder, save_lines, save_samples, texts_of


class SampleTensor(Tensor):
    """Samples of a run, (n, *shape) on the CPU: images in [-1, 1], points, or tokens of captions in [-1, 1].

    It is a tensor like any other. What is computed from it (`x[:4]`, `x + 1`, `x.to(device)`), a copy, and
    what is read back from a file are plain tensors.
    """

    # As for nn.Parameter: operations treat it as a plain tensor and return plain tensors.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    data_info: DataInfo
    """Shape, levels and classes of the data."""
    tokenizer: Tokenizer | None
    """Of the data's captions; None where there are none."""

    def plain(self) -> Tensor:
        """Return the same values, in the same memory, as a `torch.Tensor`."""
        return self.as_subclass(Tensor)

    def texts(self) -> list[str]:
        """Return the samples as texts, where they are captions.

        Raises:
            UsageError: for other samples.
        """
        return texts_of(self.plain(), self.data_info, self.tokenizer)

    def grid(self, columns: int | None = None) -> Any:
        """Return the samples as one PIL image: images side by side, or a scatter plot of points.

        Args:
            columns: images per row; None for a square grid.

        Raises:
            UsageError: for fewer columns than one, or points of more than two dimensions.
        """
        if columns is not None and columns < 1:
            raise UsageError(f"a grid of {columns} columns", "expected: at least 1")
        if self.data_info.is_image:
            return enlarged(tile(self.plain(), columns or math.ceil(math.sqrt(len(self)))))
        if self.data_info.shape != (2,):
            raise UsageError(
                f"samples of shape {self.data_info.shape} have no grid", "expected: images, or points (2,)"
            )
        from PIL import Image

        x = self.plain()
        return Image.open(io.BytesIO(scatter_samples(x, self.data_info.name).png()))

    def save(self, path: str | Path, columns: int | None = None) -> Path:
        """Write the samples as `zoo sample --out` does, and return the path.

        Args:
            path: `.png` for a grid, `.npz` for the array `samples`, or a folder for one PNG file per image;
                of captions `.txt`, one a line.
            columns: of a grid; None for a square one.

        Raises:
            UsageError: for another suffix, or a folder for points or captions.
        """
        path = Path(path)
        if path.suffix == ".txt":
            save_lines(self.texts(), path)
        elif path.suffix:
            save_samples(self.plain(), self.data_info, path, columns)
        else:
            save_folder(self.plain(), self.data_info, path)
        return path

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        shape = ", ".join(map(str, self.shape))
        values = f"{float(self.min()):.3g} to {float(self.max()):.3g}" if self.numel() else "empty"
        return f"SampleTensor({self.data_info.name}, ({shape}), {self.dtype}, {values})"

    def _repr_png_(self) -> bytes | None:
        """Return the grid for a notebook; None where there is none."""
        if not len(self) or not (self.data_info.is_image or self.data_info.shape == (2,)):
            return None
        file = io.BytesIO()
        self.grid().save(file, "PNG")
        return file.getvalue()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.plain().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self.plain().clone()


def sample_tensor(x: Tensor, info: DataInfo, tokenizer: Tokenizer | None = None) -> SampleTensor:
    """Return samples (n, *shape) with what is known of their data."""
    made = x.as_subclass(SampleTensor)
    made.data_info, made.tokenizer = info, tokenizer
    return made
