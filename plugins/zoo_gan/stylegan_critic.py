"""The critics of StyleGAN and StyleGAN2: no normalization, and one map that tells how varied a batch is."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from zoo_core.nn.resampling import FIR, Resampler
from zoo_core.training.whole_batch import rows_of_all
from zoo_core.types import DataInfo
from zoo_gan.equalized import EqualConv2d, EqualLinear, activate
from zoo_gan.stylegan_networks import StyleNetworksModel, widths

GROUP = 4
"""Most images whose spread is measured together."""


def minibatch_deviation(x: Tensor, group: int = GROUP) -> Tensor:
    """Return maps (n, c + 1, H, W) whose last channel tells how much the images of a group differ.

    Karras et al. 2018 (arXiv:1710.10196), section 3: the standard deviation of every value over the group,
    then its mean over channels and places; it is low for a generator that repeats itself. The batch is split
    into groups of `group`, or of the largest size below that divides both; a batch that several processes
    share is split as a whole.
    """
    rows, own = rows_of_all(x)
    size = math.gcd(len(rows), group)
    grouped = rows.unflatten(0, (size, -1))
    spread = (grouped.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3)).repeat(size)[own]
    return torch.cat((x, spread[:, None, None, None].expand(-1, 1, *x.shape[2:])), 1)


class CriticBlock(nn.Module):
    """(n, inner, H, W) to (n, outer, H/2, W/2) by two convolutions; residual in version 2."""

    def __init__(self, inner: int, outer: int, residual: bool) -> None:
        super().__init__()
        self.first = EqualConv2d(inner, inner, 3)
        self.second = EqualConv2d(inner, outer, 3)
        self.shortcut = EqualConv2d(inner, outer, 1, bias=False) if residual else None
        self.resample = Resampler(FIR)

    def forward(self, x: Tensor) -> Tensor:
        h = activate(self.second(self.resample.down(activate(self.first(x)))))
        if self.shortcut is None:
            return h
        return (h + self.shortcut(self.resample.down(x))) / math.sqrt(2)


class StyleCritic(nn.Module):
    """Images (n, *shape) to unbounded scores (n,).

    A score depends on the group that its image is in, by one number; a slope at one example still exists.

    Args:
        model: options; version 2 has residual blocks.
        data: (C, H, W) of an image.
    """

    def __init__(self, model: StyleNetworksModel, data: DataInfo) -> None:
        super().__init__()
        small_first, (height, side) = widths(data.shape, model.critic_width, model.max_width)
        channels, residual = small_first[::-1], model.version == 2
        self.colors = EqualConv2d(data.shape[0], channels[0], 1)
        self.blocks = nn.Sequential(
            *(CriticBlock(inner, outer, residual) for inner, outer in itertools.pairwise(channels))
        )
        self.last = EqualConv2d(channels[-1] + 1, channels[-1], 3)
        self.hidden = EqualLinear(channels[-1] * height * side, channels[-1])
        self.head = EqualLinear(channels[-1], 1)

    def forward(self, x: Tensor, cond: object = None) -> Tensor:
        h = self.blocks(activate(self.colors(x)))
        h = activate(self.last(minibatch_deviation(h)))
        return self.head(activate(self.hidden(h.flatten(1)))).squeeze(1)
