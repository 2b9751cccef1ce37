"""Independent pixels: each has the frequencies of its levels in the training data, add-0.1 smoothed.

Captions have independent places, each with the frequencies of its words. Points have an independent histogram
for each coordinate over the training data's range, with a tail of one bin's width (exponential) on either
side, so that no point has density 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_baselines.fitted import Fitted, FittedConfig, bounds, chunks
from zoo_core.data.loading import TrainData, quantize, to_unit
from zoo_core.seeds import Seeds
from zoo_core.types import DataInfo, Likelihood, SampleRequest, Samples

PSEUDO = 0.1
"""Count added to every level, or bin, so that none has probability 0."""
BINS = 100
"""Inner bins of a coordinate; a tail on either side comes on top."""


class Histogram(Fitted):
    """P(k) = prod_d p_d(k_d).

    Attributes:
        counts: (D, L) of levels; (D, BINS + 2) of bins, the tails first and last.
        low, high: (D,) range of points; the bins divide it evenly.
    """

    counts: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, config: FittedConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.register_buffer("counts", torch.zeros(data.dims, data.levels or BINS + 2, dtype=torch.int32))
        if data.levels is None:
            self.register_buffer("low", -torch.ones(data.shape, dtype=torch.float64))
            self.register_buffer("high", torch.ones(data.shape, dtype=torch.float64))

    def fit(self, train: TrainData) -> None:
        if self.data.levels is None:
            low, high = bounds(train)
            self.low.copy_(low)
            self.high.copy_(high.maximum(low + 1e-6))  # a coordinate that never varies still has bins
        self.counts.zero_()
        for x in chunks(train):
            self.counts += _count(self._cell(x), self.counts.shape[1])

    @property
    def width(self) -> Tensor:
        """Width of a bin, (D,)."""
        return (self.high - self.low) / BINS

    def _cell(self, x: Tensor) -> Tensor:
        """Return the level, or the bin with its tails, of each value: (n, D) int64."""
        if self.data.levels is not None:
            return quantize(x, self.data.levels).flatten(1).long()
        cell = ((x - self.low) / self.width).floor().clamp(-1, BINS).long()
        return torch.where(x == self.high, BINS - 1, cell) + 1  # the last bin holds its upper edge

    def _pmf(self) -> Tensor:
        """Return the probability of each cell, (D, cells) float64."""
        smoothed = self.counts.double() + PSEUDO
        return smoothed / smoothed.sum(1, keepdim=True)

    def sample(self, request: SampleRequest) -> Samples:
        cdf = self._pmf().cumsum(1)
        u = request.noise.rand(self.data.shape).flatten(1).double()
        cell = torch.searchsorted(cdf / cdf[:, -1:], u.T.contiguous(), right=True).T
        if self.data.levels is not None:
            return Samples(to_unit(cell.reshape(-1, *self.data.shape), self.data.levels))
        within = request.noise.rand(self.data.shape).double()
        beyond = -(-within).log1p()  # standard exponential
        inner = self.low + (cell - 1 + within) * self.width
        x = torch.where(cell == 0, self.low - beyond * self.width, inner)
        return Samples(torch.where(cell == BINS + 1, self.high + beyond * self.width, x).float())

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        cell = self._cell(x)
        log_p = self._pmf().log().T.gather(0, cell)
        if self.data.levels is None:
            beyond = torch.maximum(self.low - x, x - self.high).clamp_min(0) / self.width
            log_p = log_p - self.width.log() - beyond
        return [Likelihood(log_p.sum(1), "exact")]


def _count(cell: Tensor, cells: int) -> Tensor:
    """Return how often each cell of each value occurs, (D, cells) int32, in (n, D) cell numbers."""
    dims = cell.shape[1]
    offset = torch.arange(dims, device=cell.device) * cells
    return (cell + offset).flatten().bincount(minlength=dims * cells).reshape(dims, cells).int()
