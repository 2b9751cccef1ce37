"""Images that others are to be restored from: edges, low resolution, a hole, JPEG, gray, a crop.

Each is computed from the image itself, with integers or float64 values that are exact up to one square root,
so that every machine computes the same images; JPEG is Pillow's, whose rounding may differ between releases
of libjpeg.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.errors import UsageError

Maker = Callable[[Tensor, int], Tensor]
"""(uint8 images (n, C, H, W), number of gray levels) to the images that these are restored from."""

SMALL = 16
"""Sides below this are halved by `lowres`; longer ones are divided by 4."""
JPEG_QUALITY = 10
"""Of `jpeg`, on Pillow's scale of 1 to 95."""


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


def crop(levels: Tensor, count: int) -> Tensor:
    """Return images of which only the middle half is left, a quarter of the area; the rest is mid-gray."""
    kept = torch.full_like(levels, count // 2)
    middle = (..., *hole(*levels.shape[2:]))
    kept[middle] = levels[middle]
    return kept


def jpeg(levels: Tensor, count: int) -> Tensor:
    """Return images as JPEG of quality 10 leaves them, (n, C, H, W) uint8."""
    from PIL import Image

    eight = (levels.double() * (255 / (count - 1))).round().to(torch.uint8).cpu()
    decoded = []
    for one in eight.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(one.squeeze(2) if one.shape[2] == 1 else one).save(file, "JPEG", quality=JPEG_QUALITY)
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
}
"""By the name that `data.source` takes."""
