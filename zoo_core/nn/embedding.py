"""Embeddings of time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoidal(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Return sines and cosines of t at `width / 2` frequencies from 1 to 1 / max_period, (n, width) float32.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5.

    Args:
        t: (n,) times; neighbors should differ by about 1.
        width: even.
    """
    half = width // 2
    rates = torch.exp(torch.arange(half, device=t.device) * (-math.log(max_period) / max(1, half - 1)))
    angles = t.float()[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)


class FourierFeatures(nn.Module):
    """Sines and cosines of t at random rates that are never trained, (n,) to (n, 2 count) float32.

    Source: Tancik et al. 2020, arXiv:2006.10739; for noise levels, Song et al. 2021, arXiv:2011.13456,
    appendix H.2, on log sigma with scale 16.

    Args:
        count: of rates.
        scale: standard deviation of the rates, in periods per unit of t.
    """

    rates: Tensor

    def __init__(self, count: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("rates", scale * torch.randn(count))

    def forward(self, t: Tensor) -> Tensor:
        angles = 2 * math.pi * t.float()[:, None] * self.rates
        return torch.cat((angles.sin(), angles.cos()), dim=1)


class TimeEmbedding(nn.Module):
    """Sinusoids of t through two layers, (n,) or (n, times) to (n, width).

    Args:
        frequencies: width of the sinusoids, even; random Fourier features are twice as wide.
        width: of the output.
        scale: t is multiplied by it first: 1000 for times in [0, 1].
        fourier: standard deviation of the rates of random Fourier features of t itself, in periods per unit,
            which stand in for the sinusoids; 0 for none.
        times: number of times of an example; their sinusoids are side by side.
    """

    def __init__(
        self, frequencies: int, width: int, scale: float = 1.0, fourier: float = 0.0, times: int = 1
    ) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.scale = scale
        self.fourier = FourierFeatures(frequencies, fourier) if fourier else None
        inputs = times * (2 * frequencies if fourier else frequencies)
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        return self.layers(self._waves(t.flatten()).reshape(t.shape[0], -1))

    def _waves(self, t: Tensor) -> Tensor:
        if self.fourier is not None:
            return self.fourier(t)
        return sinusoidal(t * self.scale, self.frequencies)
