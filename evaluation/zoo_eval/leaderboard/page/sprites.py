"""Small images of samples: the first cells of each entry's grid, in one image for the whole board."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Levels = NDArray[np.uint8]

CELLS = 8
"""Samples of an entry: always the first of its grid, which fixed seeds made."""
SIDE = 48
"""Largest height and width of a cell, in pixels."""
MOST = 1000
"""Entries of a board that have a strip; the best come first."""
WIDEST = 4096
GAP = 110
"""Gray level of the lines between the cells of a grid (`zoo_core.viz.drawing.tile`)."""
LOSSLESS = 40_000
"""Bytes up to which an image is stored without loss."""
QUALITY = 82


def read_png(content: bytes) -> Levels | None:
    """Return a PNG as levels (H, W) or (H, W, 3); None where it can't be decoded."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
            return np.asarray(opened.convert("L" if opened.mode in ("1", "L") else "RGB"))
    except (OSError, ValueError, Image.DecompressionBombError, SyntaxError):
        return None


def native(grid: Levels) -> Levels:
    """Return a grid without the enlargement by a whole factor that it was written with."""
    bands = _bands(grid, 0)
    factor = bands[0][0] if bands else 1
    small = grid[::factor, ::factor]
    again = small.repeat(factor, 0).repeat(factor, 1)
    return small if factor > 1 and again.shape == grid.shape and (again == grid).all() else grid


def cells(grid: Levels) -> list[Levels]:
    """Return the first cells of a grid of samples, row by row; the whole image where it is not a grid."""
    rows, columns = _bands(grid, 0), _bands(grid, 1)
    if not rows or not columns:
        rows, columns = _even(grid, 0), _even(grid, 1)
    if not rows or not columns:
        return [grid]
    found = [grid[top:bottom, left:right] for top, bottom in rows for left, right in columns]
    return found[:CELLS]


def _bands(grid: Levels, axis: int) -> list[tuple[int, int]]:
    """Return start and end of each row (or column) of cells, between lines of the gap's level."""
    beside = tuple(k for k in range(grid.ndim) if k != axis)
    line = np.concatenate([[True], (grid == GAP).all(axis=beside), [True]])
    edges = np.flatnonzero(np.diff(line.astype(np.int8)))
    bands = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    sizes = {b - a for a, b in bands}
    return bands if bands and bands[0][0] > 0 and len(sizes) == 1 else []


def _even(grid: Levels, axis: int) -> list[tuple[int, int]]:
    """Return eight equal rows (or columns) where lines between them are near the gap's level.

    A grid that was halved in size has lines mixed with their neighbors.
    """
    size = grid.shape[axis]
    beside = tuple(k for k in range(grid.ndim) if k != axis)
    far = np.abs(grid.astype(np.float64) - GAP).mean(axis=beside)
    if size < 4 * CELLS:
        return []
    edges = [round(k * (size - 1) / CELLS) for k in range(CELLS + 1)]
    near = [far[max(0, edge - 1) : edge + 2].min() for edge in edges]
    if np.mean(near) > 0.8 * np.median(far):
        return []
    return [(a + 2, b - 1) for a, b in itertools.pairwise(edges)]


def _image(levels: Levels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(levels))


def webp(image: Image.Image, lossless: int = LOSSLESS) -> bytes:
    """Return an image as WebP, without loss where that takes few bytes."""
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=True, method=4)
    if file.tell() > lossless:
        file = io.BytesIO()
        image.save(file, "WEBP", quality=QUALITY, method=4)
    return file.getvalue()


def data_url(content: bytes) -> str:
    """Return a WebP as the source of an image in a page that fetches nothing."""
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


Strip = tuple[Levels, ...]
"""The first samples of an entry, (h, w) or (h, w, 3), each at most SIDE high and wide."""


def strip(content: bytes) -> Strip | None:
    """Return the strip of a PNG that holds a grid of samples; None where it can't be decoded."""
    grid = read_png(content)
    if grid is None:
        return None
    found = [_image(cell) for cell in cells(native(grid))]
    for image in found:
        image.thumbnail((SIDE, SIDE) if len(found) > 1 else (4 * SIDE, SIDE), Image.Resampling.BOX)
    return tuple(np.asarray(image) for image in found)


def sprite(strips: Sequence[Strip | None]) -> dict[str, Any] | None:
    """Return one image with the strips of a board, as plain data; None where no entry has one.

    Returns:
        src: the image. cell: width and height of a cell. across: strips in a row of the image. at: for each
        entry, the place of its strip and its number of cells, or None.
    """
    shown = [(k, one) for k, one in enumerate(strips) if one is not None][:MOST]
    if not shown:
        return None
    sizes = Counter(cell.shape[1::-1] for _, one in shown for cell in one)
    width, height = sizes.most_common(1)[0][0]
    across = max(1, WIDEST // (CELLS * width))
    color = any(cell.ndim == 3 for _, one in shown for cell in one)
    columns, lines = min(across, len(shown)), math.ceil(len(shown) / across)
    sheet = Image.new("RGB" if color else "L", (columns * CELLS * width, lines * height))
    at: list[list[int] | None] = [None] * len(strips)
    for place, (k, one) in enumerate(shown):
        left, top = place % across * CELLS * width, place // across * height
        for number, cell in enumerate(one):
            image = _image(cell).convert(sheet.mode)
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BOX)
            sheet.paste(image, (left + number * width, top))
        at[k] = [place, len(one)]
    source = data_url(webp(sheet, lossless=10 * LOSSLESS))
    return {"src": source, "cell": [width, height], "across": columns, "at": at}


def shown_grid(content: bytes) -> str | None:
    """Return a PNG of a grid as the source of an image, at its own size; None where it can't be decoded."""
    grid = read_png(content)
    return None if grid is None else data_url(webp(_image(native(grid))))
