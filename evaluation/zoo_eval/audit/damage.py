"""Known damage to images, in steps of strength: what a measure must see, and order rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo_core.data import corruptions
from zoo_core.data.loading import quantize, to_unit
from zoo_core.seeds import generator

Change = Callable[[Tensor, float, int], Tensor]
"""(uint8 levels (n, C, H, W), strength, L) to levels of the same shape."""


class Damage(NamedTuple):
    """One kind of damage.

    Attributes:
        name: for the table.
        change: does it to images.
        strengths: ascending; 0, for no damage, is added before them.
        seen_by: short names of the columns that must get worse with every step.
    """

    name: str
    change: Change
    strengths: tuple[float, ...]
    seen_by: tuple[str, ...]


def noise(levels: Tensor, strength: float, count: int) -> Tensor:
    """Add white Gaussian noise; strength is its standard deviation over the whole range of levels."""
    drawn = torch.randn(levels.shape, generator=generator(0, "damage", "noise"))
    return quantize(to_unit(levels, count) + 2 * strength * drawn, count)


def blur(levels: Tensor, strength: float, count: int) -> Tensor:
    """Convolve with a Gaussian, edges repeated; strength is its standard deviation over the width."""
    sigma = strength * levels.shape[3]
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    x = to_unit(levels, count).flatten(0, 1)[:, None]
    x = nn.functional.pad(x, (radius,) * 4, mode="replicate")
    x = nn.functional.conv2d(nn.functional.conv2d(x, kernel[None, None, None]), kernel[None, None, :, None])
    return quantize(x.view(levels.shape), count)


def jpeg(levels: Tensor, strength: float, count: int) -> Tensor:
    """Compress as JPEG, and back; strength is 100 - quality."""
    return corruptions.jpeg(levels, count, quality=100 - int(strength))


def repeats(levels: Tensor, strength: float, count: int) -> Tensor:
    """Keep one image in every `strength`, each repeated: as many images, fewer different ones."""
    kept = levels[: max(1, int(len(levels) / strength))]
    return kept[torch.arange(len(levels)) % len(kept)]


DISTANCES = ("FD", "FID", "FD-inf", "FID-inf", "FD-full", "FID-full", "KD", "KID", "sFD", "sFID")
FIDELITY = (*DISTANCES, "coverage", "clipped-density", "clipped-coverage", "FLD")
"""Columns that see images get worse. Not precision and density: their neighborhoods are wide enough to
take a lightly damaged image in, and blurred ones lie where real ones are dense."""
VARIETY = (*DISTANCES, "coverage", "clipped-coverage", "FLD")
"""Columns that see images repeated. Not recall: among copies a neighborhood has no width, and it is 0."""
DROPPED = (*VARIETY, "recall", "modes", "balance")
"""Columns that see classes left out."""

DAMAGES: tuple[Damage, ...] = (
    Damage("noise", noise, (0.05, 0.1, 0.2, 0.4), FIDELITY),
    Damage("blur", blur, (0.06, 0.1, 0.2), FIDELITY),
    Damage("JPEG", jpeg, (50, 80, 95), FIDELITY),
    Damage("repeats", repeats, (4, 16, 64), VARIETY),
)
"""Of images and of a set; dropped classes and copies need labels and a training set: see `audit`."""
