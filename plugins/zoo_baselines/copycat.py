"""Returns training images as samples, to test the memorization check.

Distances between distributions do not detect copies; the memorization check must.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_baselines.fitted import Fitted, FittedConfig
from zoo_core.data.levels import level_dtype
from zoo_core.data.loading import TrainData, to_unit
from zoo_core.errors import UsageError
from zoo_core.seeds import generator
from zoo_core.types import DataInfo, SampleRequest, Samples

MAX_BYTES = 2**29
"""Kept in memory and in the checkpoint; of a larger training set, a random share."""


class Copycat(Fitted):
    """Sample k is row k of a permutation of the training set, over and over.

    Attributes:
        rows: (N, *shape) training examples: levels of `level_dtype`, or float32 points.
    """

    data_sized = ("rows",)
    rows: Tensor

    def __init__(self, config: FittedConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        kind = torch.float32 if data.levels is None else level_dtype(data.levels)
        self.register_buffer("rows", torch.zeros(0, *data.shape, dtype=kind))

    def fit(self, train: TrainData) -> None:
        kept = min(len(train), max(1, MAX_BYTES // (self.data.dims * self.rows.element_size())))
        index = torch.randperm(len(train), generator=generator(train.seed, "copycat"))[:kept].sort().values
        rows = torch.cat([train.split.examples(part) for part in index.split(2048)])
        self.rows = rows.to(self.rows)  # tokens are stored wider

    def sample(self, request: SampleRequest) -> Samples:
        if len(self.rows) == 0:
            raise UsageError("plugin 'copycat' has nothing to replay yet", "next: zoo run plugin=copycat")
        noise = request.noise
        order = torch.randperm(len(self.rows), generator=generator(noise.seed, "copycat"))
        index = order[torch.tensor(noise.indices) % len(self.rows)]
        rows = self.rows[index.to(self.rows.device)]
        return Samples(rows if self.data.levels is None else to_unit(rows, self.data.levels))
