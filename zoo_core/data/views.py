"""Views of one thing: each picture as it is, or turned a little and recoloured.

A model of views is scored by single pictures beside the training split, so a view must stay near it: half of
all views are the picture itself, and the others are moved by little.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_core.data.loading import Dataset, Split
from zoo_core.data.pairs import moved

PLAIN = 0.5
"""Share of the views that are the picture itself."""
TURN = 15.0
"""The others are turned by up to this many degrees, either way,"""
FADE = 0.7
"""and the levels of each of their channels are scaled by a number between this and 1."""


def view(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Return a view of each picture, uint8 levels (n, C, H, W) like `pictures`.

    Turned pictures are resampled bilinearly, and continued beyond their border by their outermost pixels.

    Args:
        pictures: uint8 levels (n, C, H, W).
        rng: on the pictures' device.
    """
    n, channels = pictures.shape[:2]
    u = torch.rand(n, 2 + channels, generator=rng, device=pictures.device)
    angle = (2 * u[:, 1] - 1) * math.radians(TURN)
    gain = (FADE + (1 - FADE) * u[:, 2:])[..., None, None]
    other = (turned(pictures, angle) * gain).round().to(pictures.dtype)
    return torch.where((u[:, 0] < PLAIN)[:, None, None, None], pictures, other)


def turned(pictures: Tensor, angle: Tensor) -> Tensor:
    """Return pictures turned counter-clockwise about their centre, float32.

    Args:
        pictures: (n, C, H, W).
        angle: radians, (n,).
    """
    height, width = pictures.shape[2:]
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # The grid is in units of half a side; pixels are square, so sines carry the sides' ratio.
    across = torch.stack((cos, -sin * height / width, none), 1)
    down = torch.stack((sin * width / height, cos, none), 1)
    grid = F.affine_grid(torch.stack((across, down), 1), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures.float(), grid, padding_mode="border", align_corners=False)


class Views:
    """A split learnt from in couples: two views of each picture, drawn anew at every step.

    Args:
        split: of the pictures, which `rows` returns as they are.
    """

    def __init__(self, split: Split) -> None:
        self.split, self.label = split, split.label
        self.tokens: Tensor | None = getattr(split, "tokens", None)

    def __len__(self) -> int:
        return len(self.split)

    def rows(self, index: Tensor) -> Tensor:
        return self.split.rows(index)

    def couples(self, index: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        pictures = self.split.rows(index)
        return view(pictures, rng), view(pictures, rng)

    def to(self, device: torch.device | str) -> Views:
        return Views(moved(self.split, device))


def views(dataset: Dataset, source: str) -> Dataset:
    """Return data whose training draws couples of views; samples are compared with the pictures themselves.

    Args:
        dataset: of pictures.
        source: not used; views are made of a picture alone.
    """
    return replace(dataset, learnt=Views(dataset.train))
