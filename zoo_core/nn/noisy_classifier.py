"""Classifiers of noisy data, conditioned on the time, for classifier guidance."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.nn.embedding import TimeEmbedding
from zoo_core.nn.mlp import MLPBlock, fourier, fourier_width
from zoo_core.nn.unet import ResidualBlock, Shrink, group_norm
from zoo_core.types import DataInfo


class ImageClassifier(nn.Module):
    """(n, C, H, W) and (n,) to (n, classes) logits: a U-Net's way down, then the mean over pixels.

    Args:
        data: whose images and classes.
        channels: of the first level, even; the second has twice as many.
        time_scale: factor on t.
    """

    def __init__(self, data: DataInfo, channels: int, time_scale: float = 1.0) -> None:
        super().__init__()
        time = 4 * channels
        self.time = TimeEmbedding(channels, time, time_scale)
        self.first = nn.Conv2d(data.shape[0], channels, 3, padding=1)
        self.block1 = ResidualBlock(channels, channels, time, 0.0)
        self.shrink = Shrink(channels)
        self.block2 = ResidualBlock(channels, 2 * channels, time, 0.0)
        self.norm = group_norm(2 * channels)
        self.last = nn.Linear(2 * channels, data.classes)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.time(t)
        h = self.block1(self.first(x), time)
        h = self.block2(self.shrink(h, time), time)
        return self.last(F.silu(self.norm(h)).mean((2, 3)))


class PointClassifier(nn.Module):
    """(n, D) and (n,) to (n, classes) logits.

    Args:
        data: whose points and classes.
        width: of the hidden layers, even.
        time_scale: factor on t.
    """

    def __init__(self, data: DataInfo, width: int, time_scale: float = 1.0) -> None:
        super().__init__()
        self.time = TimeEmbedding(width, width, time_scale)
        self.first = nn.Linear(fourier_width(data.dims), width)
        self.block = MLPBlock(width)
        self.last = nn.Linear(width, data.classes)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.last(F.silu(self.block(self.first(fourier(x)), self.time(t))))
