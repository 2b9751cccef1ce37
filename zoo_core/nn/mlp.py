"""A residual network for points, conditioned on time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Config
from zoo_core.nn.conditioning import condition_embedding
from zoo_core.nn.embedding import TimeEmbedding
from zoo_core.types import Cond, DataInfo


class MLPConfig(Config):
    """Options of the MLP."""

    width: int = Field(128, ge=2, multiple_of=2)
    """MLP and transformer: width."""
    layers: int = Field(3, ge=1)
    """MLP and transformer: number of blocks."""


class MLPBlock(nn.Module):
    """h + W2 silu(W1 norm(h) + W_t silu(time)); W2 starts at zero, so that a new block changes nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.time = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        return h + self.second(F.silu(self.first(self.norm(h)) + self.time(F.silu(time))))


OCTAVES = 3
"""Number of frequencies of the coordinates' sinusoids; the lowest has wavelength 6."""


def fourier_width(dims: int) -> int:
    """Return the width of `fourier` of points in `dims` dimensions."""
    return (1 + 2 * OCTAVES) * dims


def fourier(x: Tensor) -> Tensor:
    """Return coordinates with their sinusoids, (n, D) to (n, (1 + 2 OCTAVES) D).

    A network of bare coordinates learns the fine structure of a density last (Tancik et al. 2020,
    arXiv:2006.10739).
    """
    near = x.clamp(-1.5, 1.5)  # outside the range of training data, sinusoids would add false structure
    waves = [near * (math.pi / 3 * 2**octave) for octave in range(OCTAVES)]
    return torch.cat([x, *(w.sin() for w in waves), *(w.cos() for w in waves)], dim=1)


class MLP(nn.Module):
    """Points and times to points: (n, D) and (n,) to (n, D); the last layer starts at zero.

    Args:
        config: width and layers.
        data: D, and the labels or captions of its task, which the network is conditioned on.
        time_scale: factor on t: 1 for steps of a chain, 1000 for times in [0, 1].
        outputs: number of points returned, side by side along axis 1.
        times: number of times of an example: with several, t is (n, times).
    """

    def __init__(
        self,
        config: MLPConfig,
        data: DataInfo,
        *,
        time_scale: float = 1.0,
        outputs: int = 1,
        times: int = 1,
    ) -> None:
        super().__init__()
        width = config.width
        self.time = TimeEmbedding(width, width, time_scale, times=times)
        self.condition = condition_embedding(data, width)
        self.first = nn.Linear(fourier_width(data.dims), width)
        self.blocks = nn.ModuleList(MLPBlock(width) for _ in range(config.layers))
        self.last = nn.Linear(width, outputs * data.dims)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        time, _ = self.condition(cond, self.time(t))
        h = self.first(fourier(x))
        for block in self.blocks:
            h = block(h, time)
        # No norm: at high noise levels the output is nearly linear in x.
        return self.last(h)
