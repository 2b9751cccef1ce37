"""Images that others are to be restored from: edges, low resolution, holes, JPEG, gray, blur, a crop.

Each is computed from the image itself, with integers or float64 values that are exact up to one square root,
so that every machine computes the same images; JPEG is Pillow's, whose rounding may differ between releases
of libjpeg.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.errors import UsageError

Maker = Callable[[Tensor, int], Tensor]
"""(uint8 images (n, C, H, W), number of gray levels) to the images that these are restored from."""

SMALL = 16
"""Sides below this are halved by `lowres` and blurred half as much; longer ones are divided by 4."""
JPEG_QUALITY = 10
"""Of `jpeg`, on Pillow's scale of 1 to 95."""
STROKES, CORNERS = 2, 3
"""Brush strokes of `freeform`, and the points that each one connects."""


def luminance(levels: Tensor) -> Tensor:
    """Return the luminance of images, (n, 1, H, W) int32: ITU-R BT.601's weights of red, green and blue."""
    if levels.shape[1] != 3:
        return levels[:, :1].int()
    red, green, blue = levels.int().split(1, dim=1)
    return (299 * red + 587 * green + 114 * blue + 500) // 1000


def edges(levels: Tensor, count: int) -> Tensor:
    """Return a quarter of the magnitude of the Sobel gradient, bright on black, (n, 1, H, W) uint8.

    A straight edge between the lowest and the highest gray level gets the highest one; the border is
    replicated outwards.
    """
    x = F.pad(luminance(levels).double(), (1, 1, 1, 1), mode="replicate")
    across = x[..., :, 2:] - x[..., :, :-2]
    down = x[..., 2:, :] - x[..., :-2, :]
    gx = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    gy = down[..., :, :-2] + 2 * down[..., :, 1:-1] + down[..., :, 2:]
    magnitude = (gx.square() + gy.square()).sqrt() / 4
    return magnitude.round().clamp_(max=count - 1).to(torch.uint8)


def lowres(levels: Tensor, count: int) -> Tensor:
    """Return means of blocks at full size: blocks of 2 x 2 pixels, of 4 x 4 where sides are at least 16.

    Raises:
        UsageError: for a side that the block's does not divide.
    """
    n, channels, height, width = levels.shape
    block = 2 if min(height, width) < SMALL else 4
    if height % block or width % block:
        raise UsageError(
            f"data.source=lowres averages {block}x{block} pixels, and images are {height}x{width}",
            f"expected: sides that {block} divides",
            "next: for a folder, data.size=...; or another data.source",
        )
    blocks = levels.int().reshape(n, channels, height // block, block, width // block, block)
    means = (blocks.sum((3, 5)) + block * block // 2) // (block * block)
    return means.to(torch.uint8).repeat_interleave(block, 2).repeat_interleave(block, 3)


def mask(levels: Tensor, count: int) -> Tensor:
    """Return images whose middle half, a quarter of the area, is mid-gray."""
    hidden = levels.clone()
    hidden[(..., *hole(*levels.shape[2:]))] = count // 2
    return hidden


def hole(height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns that `mask` hides."""
    return slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)


def freeform(levels: Tensor, count: int) -> Tensor:
    """Return images with mid-gray brush strokes over them, about a quarter of the area at 32x32.

    The strokes depend on the image alone: their corners are bytes of a hash of its levels. Free-form masks
    are those of Yu et al. 2019 (arXiv:1806.03589), with straight strokes of one width.
    """
    return levels.masked_fill(strokes(levels), count // 2)


def strokes(levels: Tensor) -> Tensor:
    """Return the pixels that `freeform` hides, (n, 1, H, W) bool."""
    n, _, height, width = levels.shape
    lines = np.zeros((n, 1, height, width), np.float32)
    for one, line in zip(levels.cpu().numpy(), lines, strict=True):
        content = hashlib.shake_128(one.tobytes()).digest(2 * STROKES * CORNERS)
        rows, columns = zip(*_polylines(content, height, width), strict=True)
        line[0, rows, columns] = 1
    radius = min(height, width) // 16
    across = torch.arange(-radius, radius + 1)
    brush = (across[:, None].square() + across.square() <= radius**2).float()
    return (F.conv2d(torch.from_numpy(lines), brush[None, None], padding=radius) > 0.5).to(levels.device)


def _polylines(content: bytes, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the pixels on the strokes whose corners two bytes each stand for, the row's first."""
    corners = [
        (a * height // 256, b * width // 256) for a, b in zip(content[::2], content[1::2], strict=True)
    ]
    for k in range(STROKES * CORNERS):
        (row, column), (last_row, last_column) = corners[k], corners[k + 1 if (k + 1) % CORNERS else k]
        down, right = last_row - row, last_column - column
        steps = max(abs(down), abs(right), 1)
        for step in range(steps + 1):
            yield row + down * step // steps, column + right * step // steps


def blur(levels: Tensor, count: int) -> Tensor:
    """Return blurred images: binomial weights, standard deviation 2 pixels, 1 where sides are below 16.

    The border is replicated outwards.
    """
    order = 4 if min(levels.shape[2:]) < SMALL else 16
    weights = torch.tensor([math.comb(order, k) for k in range(order + 1)], dtype=torch.float64)
    channels, around = levels.shape[1], order // 2
    kernel = weights.to(levels.device).expand(channels, 1, -1)
    # sums of integers below 2^53 are exact in float64, whatever their order
    x = F.pad(levels.double(), (around,) * 4, mode="replicate")
    x = F.conv2d(x, kernel[..., None], groups=channels)
    x = F.conv2d(x, kernel[..., None, :], groups=channels)
    total = 4**order
    return ((x + total // 2) / total).floor().to(torch.uint8)


def labels(levels: Tensor, count: int) -> Tensor:
    """Return images whose channels are rounded to the lowest, middle or highest level: 27 colors, 3 grays."""
    top = count - 1
    nearest = (4 * levels.int() + top) // (2 * top)
    return ((nearest * top + 1) // 2).to(torch.uint8)


def crop(levels: Tensor, count: int) -> Tensor:
    """Return images of which only the middle half is left, a quarter of the area; the rest is mid-gray."""
    kept = torch.full_like(levels, count // 2)
    middle = (..., *hole(*levels.shape[2:]))
    kept[middle] = levels[middle]
    return kept


def jpeg(levels: Tensor, count: int, quality: int = JPEG_QUALITY) -> Tensor:
    """Return images as JPEG of a quality on Pillow's scale leaves them, (n, C, H, W) uint8."""
    from PIL import Image

    eight = (levels.double() * (255 / (count - 1))).round().to(torch.uint8).cpu()
    decoded = []
    for one in eight.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(one.squeeze(2) if one.shape[2] == 1 else one).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            decoded.append(np.asarray(image).reshape(one.shape))
    made = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)
    return (made.double() * ((count - 1) / 255)).round().to(levels)


def gray(levels: Tensor, count: int) -> Tensor:
    """Return the luminance of color images, (n, 1, H, W) uint8.

    Raises:
        UsageError: for images that are gray already.
    """
    if levels.shape[1] != 3:
        raise UsageError(
            "data.source=gray needs color images, and these have 1 channel",
            "expected: data of 3 channels",
            f"next: data.source={' or '.join(name for name in SOURCES if name != 'gray')}",
        )
    return luminance(levels).to(torch.uint8)


def itself(levels: Tensor, count: int) -> Tensor:
    """Return the images unchanged: two domains are then two halves of one."""
    return levels


SOURCES: Mapping[str, Maker] = {
    "edges": edges,
    "lowres": lowres,
    "mask": mask,
    "gray": gray,
    "itself": itself,
    "crop": crop,
    "jpeg": jpeg,
    "freeform": freeform,
    "blur": blur,
    "labels": labels,
}
"""By the name that `data.source` takes."""
