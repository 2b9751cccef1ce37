"""Differentiable augmentation of what a critic sees, real and generated alike.

Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training" (arXiv:2006.10738), section
3.2. Random parameters are drawn per image; gradients pass through to the generator. Empty pixels are 0,
mid-gray.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

Augmentation = Literal["color", "translation", "cutout", "flip", "rotation"]

SHIFT = 1 / 8
"""Of the side: the farthest that an image is moved."""
HOLE = 1 / 2
"""Of the side: the hole that is cut."""


def _uniform(x: Tensor, rng: torch.Generator, low: float, high: float) -> Tensor:
    """Return one number an image, (n, 1, 1, 1), uniform in [low, high)."""
    drawn = torch.rand(len(x), 1, 1, 1, generator=rng, device=rng.device)
    return low + (high - low) * drawn.to(x.dtype)


def color(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return images of another brightness (+-1/2), saturation (0 to 2) and contrast (1/2 to 3/2).

    Saturation is the distance from the mean over channels: it leaves images of one channel as they are.
    """
    x = x + _uniform(x, rng, -0.5, 0.5)
    gray = x.mean(1, keepdim=True)
    x = torch.lerp(gray, x, _uniform(x, rng, 0.0, 2.0))
    mean = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, x, _uniform(x, rng, 0.5, 1.5))


def _places(x: Tensor, rng: torch.Generator, dim: int) -> tuple[Tensor, Tensor]:
    """Return where each row (dim 2) or column (dim 3) of a moved image comes from, and which lie inside.

    Both are (n, side).
    """
    side = x.shape[dim]
    most = max(1, round(side * SHIFT))
    shift = torch.randint(-most, most + 1, (len(x), 1), generator=rng, device=rng.device)
    place = torch.arange(side, device=rng.device) + shift
    return place.clamp(0, side - 1), (place >= 0) & (place < side)


def translation(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return images (n, C, H, W) moved by whole pixels, up to an eighth of the side each way."""
    (row, row_in), (column, column_in) = _places(x, rng, 2), _places(x, rng, 3)
    rows = torch.arange(len(x), device=rng.device)[:, None, None]
    # Indices on both sides of the slice put the channels last.
    moved = x[rows, :, row[:, :, None], column[:, None, :]].movedim(-1, 1)
    return moved * (row_in[:, None, :, None] & column_in[:, None, None, :])


def cutout(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return images (n, C, H, W) with a hole of half the side, its center anywhere in the image."""
    holes = []
    for dim in (2, 3):
        side = x.shape[dim]
        half = side * HOLE / 2
        center = side * torch.rand(len(x), 1, generator=rng, device=rng.device)
        middle = torch.arange(side, device=rng.device) + 0.5
        holes.append((middle - center).abs() < half)
    row, column = holes
    return x * ~(row[:, None, :, None] & column[:, None, None, :])


def flip(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return images (n, C, H, W), each mirrored left to right with probability 1/2."""
    mirrored = torch.rand(len(x), 1, 1, 1, generator=rng, device=rng.device) < 0.5
    return torch.where(mirrored, x.flip(3), x)


def rotation(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return images (n, C, H, W), each turned by a multiple of 90 degrees, of 180 where not square."""
    step = 1 if x.shape[2] == x.shape[3] else 2
    turned = [torch.rot90(x, k, (2, 3)) for k in range(0, 4, step)]
    choice = torch.randint(len(turned), (len(x),), generator=rng, device=rng.device)
    return torch.stack(turned)[choice, torch.arange(len(x), device=rng.device)]


AUGMENTATIONS: Mapping[Augmentation, Callable[[Tensor, torch.Generator], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
    "flip": flip,
    "rotation": rotation,
}


def augment(
    x: Tensor, kinds: Sequence[Augmentation], rng: torch.Generator, p: float | Tensor = 1.0
) -> Tensor:
    """Return images after each of the kinds in turn, in the order given.

    Args:
        x: (n, C, H, W).
        kinds: names of `AUGMENTATIONS`; none leave x as it is.
        rng: of the draws.
        p: probability that a kind is applied to an image, drawn for each.
    """
    for kind in kinds:
        changed = AUGMENTATIONS[kind](x, rng)
        chosen = torch.rand(len(x), 1, 1, 1, generator=rng, device=rng.device) < p
        x = torch.where(chosen, changed, x)
    return x
