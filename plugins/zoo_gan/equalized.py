"""Layers with equalized learning rate (Karras et al. 2018, arXiv:1710.10196, section 4.1).

Weights are N(0, 1) and scaled by 1/sqrt(fan-in) as they are used, so that Adam's step is as large for every
layer.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky rectifier."""


def activate(x: Tensor) -> Tensor:
    """Return sqrt(2) leaky_relu(x): unit variance stays about unit variance."""
    return F.leaky_relu(x, SLOPE) * math.sqrt(2)


class EqualLinear(nn.Module):
    """A linear layer.

    Args:
        inner, outer: features.
        bias: that it starts with.
    """

    def __init__(self, inner: int, outer: int, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outer, inner))
        self.bias = nn.Parameter(torch.full((outer,), bias))
        self.gain = 1 / math.sqrt(inner)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.gain, self.bias)


class EqualConv2d(nn.Module):
    """A convolution that keeps the side.

    Args:
        inner, outer: channels.
        size: of the kernel, odd.
    """

    def __init__(self, inner: int, outer: int, size: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outer, inner, size, size))
        self.bias = nn.Parameter(torch.zeros(outer)) if bias else None
        self.gain = 1 / math.sqrt(inner * size**2)
        self.padding = size // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.padding)
