"""Data as integers: the levels of pixels as they are, and points on a grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo_core.data.loading import TrainData, quantize, to_unit
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds
from zoo_core.types import DataInfo

CHUNK = 1 << 22
"""Probabilities that are computed at a time in sampling and evaluation."""
MAX_VALUES = 1 << 12
"""Most values of an example: each has a probability for every level."""


class Pixels(nn.Module):
    """Images as the levels of their pixels, and captions as their tokens.

    Attributes:
        count: K, the number of levels.
        note: what was done to the data, "" for nothing.
    """

    note = ""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.count = levels

    def encode(self, x: Tensor) -> Tensor:
        """Return the levels of images (n, C, H, W), or tokens (n, length), int64 in [0, K)."""
        return quantize(x, self.count).long()

    def decode(self, k: Tensor, noise: Seeds) -> Tensor:
        """Return images or tokens in [-1, 1] of levels like them; nothing is random."""
        return to_unit(k, self.count)

    def log_density(self, x: Tensor) -> Tensor:
        """Return 0 for each image, (n,) float64: the probability of levels needs no density."""
        return torch.zeros(len(x), dtype=torch.float64, device=x.device)


class Cells(nn.Module):
    """Points as the cells of a grid that is fitted to the training data.

    The inner K - 2 cells of an axis span the training data, and a point is uniform in its cell. The two outer
    cells are unbounded: there the distance from the data's range is exponential with the mean of a cell.

    Attributes:
        count: K, the number of cells of each axis.
        note: what was done to the data.
        low, width: of each axis, (D,) float64: the lower end of cell 0 if it were bounded, and the width of
            a cell.
    """

    low: Tensor
    width: Tensor

    def __init__(self, dims: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.note = f"points on a grid of {count} levels per axis, uniform within a cell"
        self.register_buffer("low", torch.full((dims,), -1.0, dtype=torch.float64))
        self.register_buffer("width", torch.full((dims,), 2 / count, dtype=torch.float64))

    def fit(self, train: TrainData) -> None:
        """Set the grid from the range of the training data."""
        x = torch.cat([train.batch(rows).x for rows in torch.arange(len(train)).split(4096)]).double()
        low, high = x.amin(0), x.amax(0)
        self.width.copy_(((high - low) / (self.count - 2)).clamp_min(1e-6))
        self.low.copy_(low - self.width)

    def _places(self, x: Tensor) -> Tensor:
        return (x.double() - self.low) / self.width

    def encode(self, x: Tensor) -> Tensor:
        """Return the cells of points (n, D), int64 in [0, K)."""
        return self._places(x).floor().clamp(0, self.count - 1).long()

    def decode(self, k: Tensor, noise: Seeds) -> Tensor:
        """Return points (n, D) float32 of cells (n, D), each at a random place in its cell."""
        return self.points(k, noise.rand(k.shape[1:], name="place"))

    def points(self, k: Tensor, u: Tensor) -> Tensor:
        """Return points (n, D) float32 of cells, at places u in [0, 1) of their cells, like k."""
        u = u.double()
        tail = -torch.log1p(-u)
        place = torch.where(k == 0, 1 - tail, torch.where(k == self.count - 1, k + tail, k + u))
        return (self.low + self.width * place).float()

    def log_density(self, x: Tensor) -> Tensor:
        """Return the log-density of points in their cells, (n,) float64 nats."""
        place = self._places(x)
        beyond = (1 - place).clamp_min(0) + (place - (self.count - 1)).clamp_min(0)
        return -(beyond + self.width.log()).sum(1)


def values_of(plugin: str, data: DataInfo, grid: int) -> Pixels | Cells:
    """Return the map of data to integers.

    Args:
        plugin: in errors.
        data: of images, or points where there is a grid.
        grid: levels of each axis for points; 0 for a model that refuses them.

    Raises:
        UsageError: for points without a grid, and for too many values.
    """
    if data.dims > MAX_VALUES:
        raise UsageError(
            f"plugin {plugin!r} computes a probability of each level of each value, and an example of "
            f"{data.name!r} has {data.dims:,} values",
            f"expected: at most {MAX_VALUES:,}, such as 36x36 in color",
            "next: smaller images (data.size)",
        )
    if data.levels is not None:
        return Pixels(data.levels)
    if not grid:
        raise UsageError(
            f"plugin {plugin!r} models levels, and {data.name!r} has continuous values of shape {data.shape}",
            "expected: images",
            "next: plugin=d3pm, which puts points on a grid",
        )
    return Cells(data.dims, grid)
