"""Uniform noise: every level of every pixel equally likely; log2 L bits/dim on any data.

Points are uniform over a box: the training data's own, a tenth wider on each side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_baselines.fitted import Fitted, FittedConfig, bounds
from zoo_core.data.loading import TrainData, to_unit
from zoo_core.seeds import Seeds
from zoo_core.types import DataInfo, Likelihood, SampleRequest, Samples

MARGIN = 0.1
"""Margin of the box as a fraction of the data's extent: held-out points may lie slightly outside."""


class Noise(Fitted):
    """P(k) = L^-D over images; p(x) = 1 / volume over the box of points, 0 outside it."""

    low: Tensor
    high: Tensor

    def __init__(self, config: FittedConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        if data.levels is None:
            self.register_buffer("low", -torch.ones(data.shape, dtype=torch.float64))
            self.register_buffer("high", torch.ones(data.shape, dtype=torch.float64))

    def fit(self, train: TrainData) -> None:
        if self.data.levels is not None:
            return
        low, high = bounds(train)
        margin = MARGIN * (high - low).clamp_min(1e-6)  # a coordinate that never varies still has a density
        self.low.copy_(low - margin)
        self.high.copy_(high + margin)

    def sample(self, request: SampleRequest) -> Samples:
        if self.data.levels is not None:
            levels = request.noise.randint(self.data.levels, self.data.shape)
            return Samples(to_unit(levels, self.data.levels))
        u = request.noise.rand(self.data.shape)
        return Samples((self.low + (self.high - self.low) * u).float())

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        if self.data.levels is not None:
            log_prob = torch.full(
                (len(x),), -self.data.dims * math.log(self.data.levels), dtype=torch.float64
            )
            return [Likelihood(log_prob.to(x.device), "exact")]
        inside = ((x >= self.low) & (x <= self.high)).all(1)
        log_prob = -(self.high - self.low).log().sum().expand(len(x))
        return [Likelihood(log_prob.masked_fill(~inside, -math.inf), "exact", note="uniform over a box")]
