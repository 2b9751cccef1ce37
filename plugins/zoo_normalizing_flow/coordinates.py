"""The map from data to the coordinates that a flow models, with its log-determinant.

Images: a dequantized value s = 2 (k + u - 1/2) / (L - 1) - 1 of level k stands for v = (k + u) / L in [0, 1).
Its logit is unbounded, so the flow gets logit(a + (1 - 2 a) v) (Dinh, Sohl-Dickstein and Bengio 2017,
arXiv:1605.08803, section 4.1). Points are taken as they are. Both are then standardized.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo_core.data.loading import TrainData, dequantize
from zoo_core.seeds import generator
from zoo_core.types import DataInfo

REACH = 4.5
"""Greatest distance from 0, in standardized units, of the values that the scale is fitted to: splines act on
[-5, 5] only."""
MAX_ROWS = 10_000
"""Most training examples that the scale is fitted to."""


class Coordinates(nn.Module):
    """Data (n, *shape) to standardized coordinates (n, *shape), and back.

    Args:
        data: of images or points.
        alpha: distance of the logit's argument from 0 and 1; not used for points.

    Attributes:
        mean, scale: of each coordinate, (*shape,).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, data: DataInfo, alpha: float) -> None:
        super().__init__()
        self.levels, self.alpha = data.levels, alpha
        self.register_buffer("mean", torch.zeros(data.shape))
        self.register_buffer("scale", torch.ones(data.shape))

    def fit(self, train: TrainData) -> None:
        """Set mean and scale: the standard deviation, or more where a value would lie beyond REACH.

        The values of images are bounded by the logit of alpha: none lies beyond. A pixel that is nearly
        always black has a small deviation, and its few other values would lie beyond by the deviation alone.
        """
        rng = generator(train.seed, "coordinates", device=train.device)
        rows = torch.randperm(len(train), generator=generator(train.seed, "coordinates"))[:MAX_ROWS]
        x = torch.cat([train.batch(part).x for part in rows.split(1024)]).double()
        if self.levels is not None:
            x = dequantize(x, self.levels, torch.rand(x.shape, generator=rng, device=x.device))
        y, _ = self._spread(x)
        mean = y.mean(0)
        if self.levels is None:
            extent = (y - mean).abs().amax(0)
        else:
            extent = mean.abs() - math.log(self.alpha / (1 - self.alpha))
        scale = torch.maximum(y.std(0, correction=0), extent / REACH)
        self.mean.copy_(mean)
        self.scale.copy_(scale.clamp_min(1e-6))

    def _spread(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return coordinates before they are standardized and log |dy / dx| of each, like x."""
        if self.levels is None:
            return x, torch.zeros_like(x)
        count, inner = self.levels, 1 - 2 * self.alpha
        v = ((x + 1) * (count - 1) / 2 + 0.5) / count
        p = self.alpha + inner * v
        slope = math.log(inner * (count - 1) / (2 * count))
        return torch.logit(p), slope - torch.log(p) - torch.log1p(-p)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return standardized coordinates, like x, and the log-determinant, (n,).

        Args:
            x: (n, *shape) points, or images spread over their bins, in float64 to keep the values apart
                that are near the ends of the range.
        """
        y, log_slope = self._spread(x)
        log_det = (log_slope - self.scale.log()).flatten(1).sum(1)
        return (y - self.mean) / self.scale, log_det

    def inverse(self, y: Tensor) -> Tensor:
        """Return the data of standardized coordinates; images may lie outside [-1, 1] by a bin or more."""
        y = y * self.scale + self.mean
        if self.levels is None:
            return y
        v = (torch.sigmoid(y) - self.alpha) / (1 - 2 * self.alpha)
        return 2 * (self.levels * v - 0.5) / (self.levels - 1) - 1
