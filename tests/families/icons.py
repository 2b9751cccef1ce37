"""Synthetic icons: flat white, saturated shapes with anti-aliased edges, classes and captions, in 8 bits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_core.data.captions import Tokenizer
from zoo_core.data.loading import Dataset, Resident
from zoo_core.types import DataInfo

COLORS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "magenta": (255, 0, 255),
    "black": (0, 0, 0),
}
SHAPES = ("disk", "square", "diamond", "ring", "cross")
FINE = 4
"""Subpixels a side of a pixel: what edges are averaged over."""


def draw(shape: str, color: Tensor, center: Tensor, radius: float, side: int) -> Tensor:
    """Return one icon, (3, side, side) uint8; its center (row, column) and radius in units of the side."""
    place = (torch.arange(side * FINE) + 0.5) / (side * FINE)
    row, column = (place - center[0])[:, None].abs(), (place - center[1])[None].abs()
    distance = (row**2 + column**2).sqrt()
    inside = {
        "disk": distance < radius,
        "square": torch.maximum(row, column) < radius,
        "diamond": row + column < radius,
        "ring": (distance < radius) & (distance > radius / 2),
        "cross": (torch.maximum(row, column) < radius) & (torch.minimum(row, column) < radius / 3),
    }[shape]
    cover = F.avg_pool2d(inside[None].float(), FINE)
    return (255 + cover * (color[:, None, None] - 255)).round().to(torch.uint8)


def icons(count: int = 1900, side: int = 32, seed: int = 0) -> Dataset:
    """Return labeled and captioned icons: "a red disk" has the label of its shape."""
    rng = torch.Generator().manual_seed(seed)
    tokenizer = Tokenizer(("a", *COLORS, *SHAPES), 3)
    names = list(COLORS)
    shapes = torch.randint(len(SHAPES), (count,), generator=rng)
    colors = torch.randint(len(names), (count,), generator=rng)
    where = 0.35 + 0.3 * torch.rand(count, 3, generator=rng)
    x = torch.stack(
        [
            draw(SHAPES[s], torch.tensor(COLORS[names[c]]).float(), w[:2], float(w[2]) * 0.6, side)
            for s, c, w in zip(shapes.tolist(), colors.tolist(), where, strict=True)
        ]
    )
    captions = [f"a {names[c]} {SHAPES[s]}" for s, c in zip(shapes.tolist(), colors.tolist(), strict=True)]
    tokens = torch.tensor([tokenizer.encode(caption) for caption in captions])
    info = DataInfo(
        "folder",
        (3, side, side),
        256,
        classes=len(SHAPES),
        vocabulary=tokenizer.vocabulary,
        caption_length=tokenizer.length,
    )
    held_out = count // 10
    train, test = (
        Resident(x[rows], shapes[rows], tokens[rows]) for rows in (slice(held_out, None), slice(held_out))
    )
    return Dataset(info, train, test, sha256="", class_names=SHAPES, tokenizer=tokenizer)
