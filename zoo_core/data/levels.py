"""The map between stored values and the floats that a model sees.

Images are stored as integers k in [0, L), uint8, L being the number of gray levels of a channel. A model sees
x = 2k / (L - 1) - 1 in [-1, 1]; each value has a bin of width 2 / (L - 1) around it. Captions are stored as
tokens in [0, L) and seen in the same way, L being the size of the vocabulary; the order of tokens means
nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_core.errors import UsageError


def level_dtype(count: int) -> torch.dtype:
    """Return the type that integers in [0, count) are stored in: uint8 for images, int32 beyond 256."""
    return torch.uint8 if count <= 256 else torch.int32


def to_unit(levels: Tensor, count: int) -> Tensor:
    """Return bin centers in [-1, 1], float32, for integer values in [0, count)."""
    return levels.to(torch.float32).mul_(2 / (count - 1)).sub_(1)


def quantize(x: Tensor, count: int) -> Tensor:
    """Return the nearest integer value in [0, count), of `level_dtype`; x is clamped to [-1, 1] first.

    Raises:
        UsageError: where x is not finite.
    """
    finite = torch.isfinite(x)
    if not bool(finite.all()):
        check_samples(finite.reshape(len(x), -1).all(1))
    return nearest_levels(x, count)


def finite_rows(x: Tensor) -> Tensor:
    """Return which rows of x, (n, ...), are finite throughout, (n,) bool."""
    return torch.isfinite(x).flatten(1).all(1)


def check_samples(finite: Tensor) -> None:
    """Raise where samples are not finite, by what `finite_rows` found of them.

    Raises:
        UsageError: as said.
    """
    if not bool(finite.all()):
        bad = int((~finite).sum())
        raise UsageError(
            f"{bad} of {len(finite)} samples hold a NaN or an infinity", "expected: finite images"
        )


def nearest_levels(x: Tensor, count: int) -> Tensor:
    """Return what `quantize` does of finite x; of others anything."""
    return x.float().clamp(-1, 1).add(1).mul((count - 1) / 2).round_().to(level_dtype(count))


def dequantize(x: Tensor, count: int, noise: Tensor) -> Tensor:
    """Spread bin centers uniformly over their bins: x = 2(k + u - 1/2) / (L - 1) - 1.

    Args:
        x: bin centers.
        count: L.
        noise: u, uniform in [0, 1), like x.
    """
    return x + (noise - 0.5) * (2 / (count - 1))
