"""Views of an image: the image itself, or slightly rotated and recolored.

A model of views is scored by single images against the training split, so views must stay close to it: half
of them are the image itself, and the others differ little from it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PLAIN = 0.5
"""Probability that a view is the image itself."""
TURN = 15.0
"""Largest rotation of the others, degrees, either way."""
FADE = 0.7
"""Smallest factor on the values of each of their channels; the largest is 1."""


def numbers(channels: int) -> int:
    """Return how many uniforms a view of an image with these channels takes."""
    return 2 + channels


def view(images: Tensor, u: Tensor) -> Tensor:
    """Return a view of each image, uint8 (n, C, H, W) like `images`.

    Rotated images are resampled bilinearly, and their border pixels are replicated outwards.

    Args:
        images: uint8 (n, C, H, W).
        u: uniform in [0, 1), (n, 2 + C).
    """
    angle = (2 * u[:, 1] - 1) * math.radians(TURN)
    gain = (FADE + (1 - FADE) * u[:, 2:])[..., None, None]
    other = (turned(images, angle) * gain).round().to(images.dtype)
    return torch.where((u[:, 0] < PLAIN)[:, None, None, None], images, other)


def turned(images: Tensor, angle: Tensor) -> Tensor:
    """Return images rotated counterclockwise about their center, float32.

    Args:
        images: (n, C, H, W).
        angle: radians, (n,).
    """
    height, width = images.shape[2:]
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # The grid is in units of half a side; pixels are square, so sines carry the sides' ratio.
    across = torch.stack((cos, -sin * height / width, none), 1)
    down = torch.stack((sin * width / height, cos, none), 1)
    grid = F.affine_grid(torch.stack((across, down), 1), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
