"""Embeddings of time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoidal(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Return sines and cosines of t at `width / 2` frequencies from 1 to 1 / max_period, (n, width) float32.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5.

    Args:
        t: (n,) times; neighbours should differ by about 1.
        width: even.
    """
    half = width // 2
    rates = torch.exp(torch.arange(half, device=t.device) * (-math.log(max_period) / max(1, half - 1)))
    angles = t.float()[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)


class TimeEmbedding(nn.Module):
    """Sinusoids of t through two layers, (n,) to (n, width).

    Args:
        frequencies: width of the sinusoids, even.
        width: of the output.
        scale: t is multiplied by it first: 1000 for times in [0, 1].
    """

    def __init__(self, frequencies: int, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.scale = scale
        self.layers = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        return self.layers(sinusoidal(t * self.scale, self.frequencies))
