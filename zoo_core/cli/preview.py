"""A preview of samples in the terminal: half blocks, two pixels in each character."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo_core.machine.terminal import has_colors, terminal_width

SIDE = 16
"""Most columns and rows of pixels that an image is shown with; larger ones are averaged down."""
MOST = 8
"""Most images of a preview."""
UPPER = "\u2580"


def half_blocks(images: Sequence[Any], truecolor: bool = True) -> list[str]:
    """Return lines that show images side by side, the foreground of each character above its background.

    Args:
        images: uint8 arrays (H, W, 3) of one size; an odd last row is shown over black.
        truecolor: False uses the 6 x 6 x 6 colors of 256-color terminals.
    """
    lines = []
    height = images[0].shape[0]
    for row in range(0, height, 2):
        line = ""
        for image in images:
            upper = image[row]
            lower = image[row + 1] if row + 1 < height else upper * 0
            for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
                line += f"\x1b[{_code(38, above, truecolor)};{_code(48, below, truecolor)}m{UPPER}"
            line += "\x1b[0m  "
        lines.append(line.rstrip(" "))
    return lines


def _code(plane: int, color: Sequence[int], truecolor: bool) -> str:
    if truecolor:
        return f"{plane};2;{color[0]};{color[1]};{color[2]}"
    red, green, blue = (round(value / 255 * 5) for value in color)
    return f"{plane};5;{16 + 36 * red + 6 * green + blue}"


def shrunk(image: Any, side: int = SIDE) -> Any:
    """Return an image (H, W, C) uint8 as (h, w, 3), averaged over blocks so that no side is above `side`."""
    import numpy as np

    height, width, channels = image.shape
    block = -(-max(height, width) // side)
    rows, columns = height // block * block, width // block * block
    parts = image[:rows, :columns].reshape(rows // block, block, columns // block, block, channels)
    small = parts.mean((1, 3)).round().astype("uint8")
    return np.repeat(small, 3, axis=2) if channels == 1 else small[..., :3]


def preview(run: Path) -> list[str]:
    """Return lines that show the first samples of a run; none without colors, images or their numbers."""
    path = run / "plots" / "samples.npz"
    if not has_colors() or not path.is_file():
        return []
    import numpy as np

    try:
        with np.load(path) as numbers:
            samples = numbers["samples"]
    except (OSError, ValueError, KeyError):
        return []
    if samples.ndim != 4 or not len(samples):
        return []
    first = [shrunk(image) for image in samples[:MOST]]
    fit = max(1, ((terminal_width() or 80) + 2) // (first[0].shape[1] + 2))
    return half_blocks(first[:fit], os.environ.get("COLORTERM", "") in ("truecolor", "24bit"))
