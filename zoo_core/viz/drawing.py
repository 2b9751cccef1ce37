"""Sheets of images: tensors to uint8 images (C, H, W), enlarged by whole factors without smoothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PIXELS = 512
"""Least width of a written grid: small images are enlarged by whole factors, without smoothing."""


def to_uint8(x: Tensor) -> Tensor:
    """Return images in [-1, 1] as 8-bit ones: clamp, then round."""
    return x.float().clamp(-1, 1).add(1).mul(127.5).round_().to(torch.uint8)


def tile(x: Tensor, columns: int, gap: int = 1) -> Tensor:
    """Return images (n, C, H, W) side by side, row by row, as one uint8 image (C, H', W')."""
    images = to_uint8(x).cpu()
    n, channels, height, width = images.shape
    rows = math.ceil(n / columns)
    sheet = torch.full(
        (channels, rows * (height + gap) + gap, columns * (width + gap) + gap), 110, dtype=torch.uint8
    )
    for place, image in enumerate(images):
        top, left = gap + place // columns * (height + gap), gap + place % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def enlarged(sheet: Tensor) -> Any:
    """Return one uint8 image (C, H, W) as PIL's, enlarged by a whole factor to at least PIXELS wide."""
    from PIL import Image

    factor = max(1, math.ceil(PIXELS / sheet.shape[2]))
    sheet = sheet.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    array = sheet[0].numpy() if sheet.shape[0] == 1 else sheet[:3].permute(1, 2, 0).numpy()
    return Image.fromarray(array)


def write_png(sheet: Tensor, path: Path) -> None:
    """Write one uint8 image (C, H, W), enlarged by a whole factor to at least PIXELS wide."""
    enlarged(sheet).save(path)
