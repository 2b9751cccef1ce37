"""Residual generator and critic (Gulrajani et al. 2017, arXiv:1704.00028, appendix C; Miyato et al. 2018,
arXiv:1802.05957, table 4): the papers' networks for 32 x 32, for any even image size.

Every block has the same width. The generator doubles the side as often as DCGAN's; the critic halves it until
it is at most 8, goes on with two blocks of that size, and takes the mean (Gulrajani) or the sum (Miyato) over
the places.
"""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.nn.dcgan import Norm, doublings, make_norm

Resample = Literal["up", "down", "none"]


def _resampled(x: Tensor, how: Resample) -> Tensor:
    if how == "up":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.avg_pool2d(x, 2) if how == "down" else x


class ResidualBlock(nn.Module):
    """(n, inner, H, W) to (n, outer, H', W'): norm, ReLU, conv, norm, ReLU, conv, beside a shortcut.

    Args:
        inner, outer: channels.
        resample: "up" doubles the side before the first convolution, "down" halves it after the second.
        norm: before each ReLU.
        first: the critic's first block: no norm or ReLU before its first convolution, since its input is the
            image itself.
    """

    def __init__(
        self, inner: int, outer: int, resample: Resample = "none", norm: Norm = "none", first: bool = False
    ) -> None:
        super().__init__()
        self.resample = resample
        self.first = first
        self.norm1 = nn.Identity() if first else make_norm(norm, inner)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.norm2 = make_norm(norm, outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        learned = inner != outer or resample != "none"
        self.shortcut = nn.Conv2d(inner, outer, 1) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        before: Resample = "up" if self.resample == "up" else "none"
        after: Resample = "down" if self.resample == "down" else "none"
        h = x if self.first else F.relu(self.norm1(x))
        h = self.conv1(_resampled(h, before))
        h = _resampled(self.conv2(F.relu(self.norm2(h))), after)
        # A convolution of 1 x 1 and a resampling commute: each is done where it is cheaper.
        if self.resample == "down":
            return h + self.shortcut(_resampled(x, "down"))
        return h + _resampled(self.shortcut(x), before)


class ResNetGenerator(nn.Module):
    """Latents (n, latent_dim) to images (n, *shape) in [-1, 1].

    Args:
        latent_dim: of z, standard normal.
        shape: (C, H, W) of an image.
        width: channels of every block.
        norm: before each ReLU.

    Raises:
        UsageError: for an odd side.
    """

    def __init__(
        self, latent_dim: int, shape: tuple[int, ...], width: int = 128, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        channels, height, side = shape
        count = min(doublings(height), doublings(side))
        self.latent_shape = (latent_dim,)
        self._bottom = (width, height >> count, side >> count)
        self.project = nn.Linear(latent_dim, math.prod(self._bottom))
        self.blocks = nn.Sequential(*(ResidualBlock(width, width, "up", norm) for _ in range(count)))
        self.norm = make_norm(norm, width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, z: Tensor, cond: object = None) -> Tensor:
        h = self.blocks(self.project(z).unflatten(1, self._bottom))
        return self.last(F.relu(self.norm(h))).tanh()


class ResNetCritic(nn.Module):
    """Images (n, *shape) to unbounded scores (n,).

    Args:
        shape: (C, H, W) of an image.
        width: channels of every block.
        norm: before each ReLU.
        pool: over the places of the last block. A spectrally normalized head can't make up for a mean.

    Attributes:
        feature_dim: D of `features`.
        head: features (n, D) to scores (n, 1).

    Raises:
        UsageError: for an odd side.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 128,
        norm: Norm = "none",
        pool: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        channels, height, side = shape
        count = min(doublings(height), doublings(side))
        halvings = min(count, max(1, math.ceil(math.log2(max(height, side) / 8))))
        blocks = [ResidualBlock(channels, width, "down", norm, first=True)]
        blocks += [ResidualBlock(width, width, "down", norm) for _ in range(1, halvings)]
        blocks += [ResidualBlock(width, width, "none", norm) for _ in range(2)]
        self.blocks = nn.Sequential(*blocks)
        self.pool = pool
        self.feature_dim = width
        self.head = nn.Linear(width, 1)

    def features(self, x: Tensor) -> Tensor:
        """Return the features that the head maps linearly to scores, (n, D)."""
        h = F.relu(self.blocks(x))
        return h.sum((2, 3)) if self.pool == "sum" else h.mean((2, 3))

    def forward(self, x: Tensor, cond: object = None) -> Tensor:
        return self.head(self.features(x)).squeeze(1)
