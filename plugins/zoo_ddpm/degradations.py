"""Deterministic degradations of images, step by step from the image itself to a few values of it.

All are linear and act on rows and columns alike: D(x, s) = A_s x B_s^T for each channel, s = 0, ..., T.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from zoo_core.errors import UsageError

Kind = Literal["blur", "pixelate"]
LEAST_STD = 0.3
"""Standard deviation of the first blur, in pixels: it changes a neighbor's weight by 4%."""
KEPT = 1e-3
"""Least singular value of the last step that counts as kept, relative to the largest."""


def blurs(side: int, steps: int, end: float) -> Tensor:
    """Return the matrices of blurs of growing width, (T + 1, side, side) float64; the first is the identity.

    They solve the heat equation without flow through the border: the sum of an image's values is kept. The
    standard deviations are of one ratio.

    Args:
        side: in pixels.
        steps: T.
        end: standard deviation of the last blur as a fraction of the side.
    """
    k = torch.arange(side, dtype=torch.float64)
    waves = torch.cos(math.pi / side * k[:, None] * (k + 0.5))
    waves = waves / waves.norm(dim=1, keepdim=True)
    rates = 2 - 2 * torch.cos(math.pi / side * k)
    std = torch.logspace(math.log10(LEAST_STD), math.log10(end * side), steps, dtype=torch.float64)
    times = torch.cat((std.new_zeros(1), std.square() / 2))
    return waves.T @ (torch.exp(-times[:, None] * rates)[..., None] * waves)


def means(side: int, steps: int, block: int) -> Tensor:
    """Return the matrices of averages over ever larger blocks, (T + 1, side, side) float64.

    Blocks of 1, 2, 4, ... pixels are reached at even distances; a step between is on the line between two.

    Args:
        side: in pixels, a multiple of `block`.
        steps: T.
        block: of the last step, a power of two.
    """
    count = int(math.log2(block))
    sizes = [2**k for k in range(count + 1)]
    averages = torch.stack(
        [
            torch.block_diag(*[torch.full((size, size), 1 / size, dtype=torch.float64)] * (side // size))
            for size in sizes
        ]
    )
    place = torch.arange(steps + 1, dtype=torch.float64) * count / steps
    first = place.long().clamp(max=count - 1)
    part = (place - first)[:, None, None]
    return (1 - part) * averages[first] + part * averages[first + 1]


class Degradation(nn.Module):
    """D(x, s) = A_s x B_s^T for each channel of an image.

    Args:
        rows, columns: A and B, (T + 1, H, H) and (T + 1, W, W), the identity at s = 0.
    """

    rows: Tensor
    columns: Tensor
    left: Tensor
    right: Tensor

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        super().__init__()
        self.steps = len(rows) - 1
        self.register_buffer("rows", rows.float(), persistent=False)
        self.register_buffer("columns", columns.float(), persistent=False)
        for name, last in (("left", rows[-1]), ("right", columns[-1])):
            u, size, _ = torch.linalg.svd(last)
            self.register_buffer(name, u[:, size > KEPT * size[0]].float(), persistent=False)

    def forward(self, x: Tensor, s: Tensor | int) -> Tensor:
        """Return D(x, s), like x: x (n, C, H, W), s one step or one for each image, (n,), in 0..T."""
        rows, columns = (each[s].to(x) for each in (self.rows, self.columns))
        if rows.ndim == 3:
            rows, columns = rows[:, None], columns[:, None]
        return rows @ x @ columns.mT

    def kept(self, x: Tensor) -> Tensor:
        """Return the coordinates of fully degraded images (n, C, H, W) in what is left of them, (n, K)."""
        return (self.left.T.to(x) @ x @ self.right.to(x)).flatten(1)

    def image(self, kept: Tensor, channels: int) -> Tensor:
        """Return the fully degraded images of coordinates (n, K), (n, C, H, W)."""
        shape = (channels, self.left.shape[1], self.right.shape[1])
        return self.left.to(kept) @ kept.unflatten(1, shape) @ self.right.mT.to(kept)


def blur(shape: tuple[int, ...], steps: int, end: float, block: int) -> Degradation:
    """Return blurs up to a fraction `end` of each side, for images of shape (C, H, W)."""
    return Degradation(blurs(shape[1], steps, end), blurs(shape[2], steps, end))


def pixelate(shape: tuple[int, ...], steps: int, end: float, block: int) -> Degradation:
    """Return averages over blocks up to `block` pixels wide, for images of shape (C, H, W).

    Raises:
        UsageError: where blocks are no power of two, or do not tile the image.
    """
    if block < 2 or block & (block - 1) or shape[1] % block or shape[2] % block:
        raise UsageError(
            f"model.block={block} and images of {shape[1]}x{shape[2]} pixels: the blocks do not fit",
            "expected: a power of two, 2 or more, that divides both sides",
            "next: another model.block, or model.degradation=blur",
        )
    return Degradation(means(shape[1], steps, block), means(shape[2], steps, block))


DEGRADATIONS: Mapping[str, Callable[[tuple[int, ...], int, float, int], Degradation]] = {
    "blur": blur,
    "pixelate": pixelate,
}
