"""Grids of images with labels: every pixel of an image is a square of the same whole number of pixels."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.viz.drawing import to_uint8
from zoo_core.viz.style import DPI, FONT, GRAY, SMALL, STYLE, make_figure, styled

CELL = 60
"""Width that a cell is enlarged to, about, pixels."""
GAP, GROUP_GAP, MARGIN = 4, 14, 18
"""Pixels between images, between groups of rows, and around everything."""
NARROWEST = 540
"""Least width of a plot, pixels: titles need it."""
PER_POINT = DPI / 72
"""Pixels of a point of text."""
DESCENT = round(0.24 * SMALL * PER_POINT)
"""Pixels that a label's letters reach below their line."""
WIDE = 0.57
"""Mean width of a character in running text, as a fraction of the font size."""


@dataclass(frozen=True)
class ImageGrid:
    """Images in rows and columns, with what their labels say.

    Attributes:
        images: (n, C, H, W) in [-1, 1], row by row; None leaves a place empty.
        columns: images per row.
        title: above the grid, where a plot has several.
        column_labels, row_labels: of each column and row.
        cell_labels: below each image; "" for none.
        group: rows that belong together; a wider gap follows them.
    """

    images: Sequence[Tensor | None]
    columns: int
    title: str = ""
    column_labels: Sequence[str] = ()
    row_labels: Sequence[str] = ()
    cell_labels: Sequence[str] = ()
    group: int = 0


def text_width(text: str, size: float = SMALL, weight: str = "normal") -> float:
    """Return the width of a text's longest line in pixels, as it is drawn."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer = RendererAgg(1, 1, DPI)
    font = FontProperties(family=STYLE["font.family"], size=size, weight=weight)
    return max(renderer.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n"))


def line_height(size: float = SMALL) -> float:
    """Return the height of a line in pixels."""
    return size * 1.35 * PER_POINT


def wrapped(text: str, width: float, size: float = SMALL) -> str:
    """Return a text broken at words into lines of at most `width` pixels; a longer word keeps its line."""
    most = max(1, int(width / (size * WIDE * PER_POINT)))
    lines = textwrap.wrap(text, most, break_long_words=False)
    return "\n".join(lines)


class _Layout:
    """Places of one grid in pixels from its top left corner."""

    def __init__(self, grid: ImageGrid, scale: int) -> None:
        first = next(image for image in grid.images if image is not None)
        self.grid, self.scale = grid, scale
        self.height, self.width = first.shape[-2] * scale, first.shape[-1] * scale
        self.rows = math.ceil(len(grid.images) / grid.columns)
        self.left = max(map(text_width, grid.row_labels), default=0)
        self.left += 10 if grid.row_labels else 0
        self.column_labels = [wrapped(label, self.width) for label in grid.column_labels]
        # Words wider than a column are written at an angle.
        self.slanted = any(
            text_width(label) > self.width or label.count("\n") > 2 for label in self.column_labels
        )
        self.right = 0.0
        if self.slanted:
            self.column_labels = list(grid.column_labels)
            longest = max(map(text_width, self.column_labels))
            above = longest * math.sin(math.radians(40)) + line_height()
            last = text_width(self.column_labels[-1]) * math.cos(math.radians(40))
            self.right = max(0.0, last - self.width / 2)
        else:
            above = max((label.count("\n") + 1 for label in self.column_labels), default=0) * line_height()
        self.title_lines = wrapped(grid.title, self.grid_width + self.left, FONT) if grid.title else ""
        title = (self.title_lines.count("\n") + 1) * line_height(FONT) if grid.title else 0
        self.top = title + above + 6
        self.below = line_height() if any(grid.cell_labels) else 0

    @property
    def grid_width(self) -> float:
        columns = self.grid.columns
        return columns * self.width + (columns - 1) * GAP

    @property
    def whole_width(self) -> float:
        return self.left + max(self.grid_width + self.right, text_width(self.title_lines, FONT, "bold"))

    @property
    def whole_height(self) -> float:
        return self.top + self.row_top(self.rows - 1) + self.height + self.below

    def row_top(self, row: int) -> float:
        groups = row // self.grid.group if self.grid.group else 0
        return row * (self.height + self.below + GAP) + groups * GROUP_GAP

    def painted(self) -> np.ndarray:
        """Return the images at their places on white, (H', W', 3) uint8."""
        height = round(self.row_top(self.rows - 1) + self.height)
        sheet = np.full((height, round(self.grid_width), 3), 255, dtype=np.uint8)
        for place, image in enumerate(self.grid.images):
            if image is None:
                continue
            row, column = divmod(place, self.grid.columns)
            top, left = round(self.row_top(row)), column * (self.width + GAP)
            pixels = to_uint8(image).cpu().expand(3, -1, -1).permute(1, 2, 0).numpy()
            pixels = pixels.repeat(self.scale, 0).repeat(self.scale, 1)
            sheet[top : top + self.height, left : left + self.width] = pixels
        return sheet

    def frames(self) -> list[tuple[float, float]]:
        """Return the top left corner of each image."""
        places = [place for place, image in enumerate(self.grid.images) if image is not None]
        return [
            (self.row_top(p // self.grid.columns), p % self.grid.columns * (self.width + GAP)) for p in places
        ]


def scale_of(width: int) -> int:
    """Return the whole factor that images of a width are enlarged by."""
    return max(1, round(CELL / width))


@styled
def draw_grids(grids: Sequence[ImageGrid], title: str, subtitle: str = "", note: str = "") -> Any:
    """Return a figure of grids side by side under one title.

    Args:
        grids: at least one, each with at least one image.
        subtitle: a gray line below the title: the run.
        note: a gray paragraph below the grids: how to read them.
    """
    layouts = [
        _Layout(grid, scale_of(next(i for i in grid.images if i is not None).shape[-1])) for grid in grids
    ]
    apart = 3 * MARGIN
    width = sum(layout.whole_width for layout in layouts) + apart * (len(layouts) - 1) + 2 * MARGIN
    width = max(width, NARROWEST)
    inside = width - 2 * MARGIN
    title, subtitle = wrapped(title, inside, FONT + 2), wrapped(subtitle, inside)
    note = wrapped(note, inside)
    head = (title.count("\n") + 1) * line_height(FONT + 2)
    head += (subtitle.count("\n") + 1) * line_height() if subtitle else 0
    foot = (note.count("\n") + 1) * line_height() + 10 if note else 0
    body = max(layout.whole_height for layout in layouts)
    height = MARGIN + head + 12 + body + foot + MARGIN
    width, height = math.ceil(width), math.ceil(height)
    figure = make_figure(width / DPI, height / DPI, layout=None)

    def write(x: float, y: float, text: str, size: float = SMALL, **how: Any) -> None:
        how = {"ha": "left", "va": "top", "linespacing": 1.15, **how}
        figure.text(x / width, 1 - y / height, text, fontsize=size, **how)

    write(MARGIN, MARGIN, title, FONT + 1.5, weight="bold")
    if subtitle:
        write(MARGIN, MARGIN + head - (subtitle.count("\n") + 1) * line_height(), subtitle, color=GRAY)
    left, top = float(MARGIN), MARGIN + head + 12
    for layout in layouts:
        _draw_one(figure, layout, left, top, write)
        left += layout.whole_width + apart
    if note:
        write(MARGIN, height - MARGIN - foot + 10, note, color=GRAY)
    return figure


def _draw_one(figure: Any, layout: _Layout, left: float, top: float, write: Any) -> None:
    from matplotlib.patches import Rectangle

    grid = layout.grid
    width, height = figure.get_size_inches() * DPI
    if layout.title_lines:
        write(left, top, layout.title_lines, FONT, weight="bold")
    x0, y0 = round(left + layout.left), round(top + layout.top)
    sheet = layout.painted()
    box = (x0 / width, 1 - (y0 + sheet.shape[0]) / height, sheet.shape[1] / width, sheet.shape[0] / height)
    axes = figure.add_axes(box)
    axes.imshow(sheet, extent=(0, sheet.shape[1], sheet.shape[0], 0), aspect="auto")
    axes.set_axis_off()
    for y, x in layout.frames():
        axes.add_patch(
            Rectangle(
                (x, y),
                layout.width,
                layout.height,
                fill=False,
                linewidth=0.4,
                edgecolor="#b8bcc2",
                clip_on=False,
            )
        )
    for column, label in enumerate(layout.column_labels):
        x = x0 + column * (layout.width + GAP) + layout.width / 2
        if layout.slanted:
            write(x - 6, y0 - 4, label, va="bottom", rotation=40, rotation_mode="anchor")
        else:
            for up, line in enumerate(reversed(label.split("\n"))):
                y = y0 - 4 - DESCENT - up * line_height()
                write(x, y, line, ha="center", va="baseline")  # letters below the line or not: at one height
    for row, label in enumerate(grid.row_labels):
        y = y0 + layout.row_top(row) + layout.height / 2
        write(left + layout.left - 10, y, label, ha="right", va="center")
    for place, label in enumerate(grid.cell_labels):
        row, column = divmod(place, grid.columns)
        x = x0 + column * (layout.width + GAP) + layout.width / 2
        y = y0 + layout.row_top(row) + layout.height + 2
        write(x, y, label, SMALL - 1.5, ha="center", color=GRAY)


def interleaved(*kinds: Tensor, columns: int) -> list[Tensor | None]:
    """Return images so that the rows of a grid alternate between kinds, each below its counterpart.

    Args:
        kinds: (n, C, H, W) each; gray images become color images where another kind has colors.
        columns: of the grid; places that the last rows lack are None.
    """
    channels = max(kind.shape[1] for kind in kinds)
    shown = [kind.float().cpu().expand(-1, channels, -1, -1) for kind in kinds]
    found: list[Tensor | None] = []
    for start in range(0, len(shown[0]), columns):
        for kind in shown:
            row: list[Tensor | None] = list(kind[start : start + columns])
            found += row + [None] * (columns - len(row))
    return found


def stacked(images: Sequence[Tensor | None]) -> np.ndarray:
    """Return the images of a grid as uint8 (n, H, W, C), for the numbers of a plot; empty places left out."""
    kept = torch.stack([image for image in images if image is not None])
    return to_uint8(kept).permute(0, 2, 3, 1).cpu().numpy()
