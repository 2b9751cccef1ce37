"""The image of README.md: rows of samples of several models beside a leaderboard.

It is a white card with round corners, so that it is read on a light and on a dark page.
Places and sizes are in pixels.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pages.assets import SOURCE
from pages.results import Scored
from zoo_core.viz.style import FAINT, GRAY, make_figure, styled
from zoo_eval.leaderboard import plot
from zoo_eval.leaderboard.plot import Dot, draw_dots, look

DOTS = 17
"""Most rows of the leaderboard."""
TILE, GAP, CELLS = 96, 8, 7
"""Side of a sample, enlarged by the largest whole factor that fits; distance and number of samples."""
PITCH, TOP, BOTTOM = TILE + 16, 166, 40
"""Distance of two rows of samples, and the space above and below all rows."""
MARGIN, NAMES, BETWEEN, BOARD = 40, 344, 64, 576
"""Space at both sides, widths of the models' names, of the space before the leaderboard, and of that."""
WIDTH = 2 * MARGIN + NAMES + CELLS * (TILE + GAP) - GAP + BETWEEN + BOARD
DPI = 200
HEADING, TEXT, NOTE = 34, 27, 23
"""Heights of letters."""


class Strip(NamedTuple):
    """A row of images.

    Attributes:
        name, note: written beside it.
        family: of the model, whose marker it has; "" for images that no model made.
        images: (h, w) or (h, w, 3) levels, at least CELLS.
    """

    name: str
    note: str
    family: str
    images: Sequence[Any]


class Shown(NamedTuple):
    """What the image shows.

    Attributes:
        title, note: above the samples.
        strips: of samples.
        ranked: rows of one leaderboard, in its order, whose scores are shown.
    """

    title: str
    note: str
    strips: Sequence[Strip]
    ranked: Sequence[Scored]


def digest(shown: Shown) -> str:
    """Return the sha256 of everything that the image shows: scores, samples, and how they are drawn."""
    scores = [row._asdict() for row in _dots(shown)]
    strips = [
        (
            *strip[:3],
            [hashlib.sha256(one.tobytes()).hexdigest() for one in strip.images[:CELLS]],
        )
        for strip in shown.strips
    ]
    code = Path(__file__).read_bytes() + Path(plot.__file__).read_bytes()
    drawing = hashlib.sha256(code).hexdigest()
    return hashlib.sha256(json.dumps([shown[:2], scores, strips, drawing]).encode()).hexdigest()


def _dots(shown: Shown) -> list[Scored]:
    return list(shown.ranked[:DOTS])


class Sheet:
    """A figure whose places are pixels from its upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = make_figure(width / DPI, height / DPI, layout=None)

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Return axes in a rectangle."""
        bottom = self.height - top - height
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )

    def text(self, left: float, top: float, text: str, size: float, **how: Any) -> None:
        """Write a line whose vertical center is at `top`."""
        where = left / self.width, 1 - top / self.height
        self.figure.text(*where, text, size=points(size), va="center", **how)


def points(pixels: float) -> float:
    """Return a length in points."""
    return pixels * 72 / DPI


@styled
def draw(shown: Shown) -> bytes:
    """Return the image as a PNG."""
    sheet = Sheet(WIDTH, TOP + PITCH * len(shown.strips) + BOTTOM)
    _draw_card(sheet)
    _draw_strips(sheet, shown)
    _draw_dots(sheet, _dots(shown), len(shown.ranked))
    written = io.BytesIO()
    marks = {"Software": None, SOURCE: digest(shown)}
    sheet.figure.savefig(written, format="png", dpi=DPI, metadata=marks, facecolor="none")
    return written.getvalue()


def _draw_card(sheet: Sheet) -> None:
    """Draw the white card, with nothing outside its corners."""
    from matplotlib.patches import FancyBboxPatch

    axes = sheet.axes(0, 0, sheet.width, sheet.height)
    axes.set(xlim=(0, sheet.width), ylim=(0, sheet.height))
    axes.set_axis_off()
    corners = "round,pad=0,rounding_size=28"
    axes.add_patch(
        FancyBboxPatch(
            (2, 2),
            sheet.width - 4,
            sheet.height - 4,
            corners,
            facecolor="white",
            edgecolor=FAINT,
            linewidth=1,
        )
    )


def _draw_strips(sheet: Sheet, shown: Shown) -> None:
    """Draw each strip's first images with its name, and the title above all of them."""
    sheet.text(MARGIN, 60, shown.title, HEADING, weight="bold")
    sheet.text(MARGIN, 106, shown.note, NOTE, color=GRAY)
    for k, strip in enumerate(shown.strips):
        top = TOP + k * PITCH
        if strip.family:
            color, marker = look(strip.family)
            mark = sheet.axes(MARGIN, top + 20, 28, 28)
            mark.plot(0, 0, marker, color=color, markersize=points(20), clip_on=False)
            mark.set_axis_off()
        left = MARGIN + (44 if strip.family else 0)
        sheet.text(left, top + 33, strip.name, TEXT, weight="bold")
        sheet.text(left, top + 70, strip.note, NOTE, color=GRAY)
        for place, image in enumerate(strip.images[:CELLS]):
            _draw_sample(sheet, MARGIN + NAMES + place * (TILE + GAP), top, image)


def _draw_sample(sheet: Sheet, left: int, top: int, cell: Any) -> None:
    """Draw a sample, each of its pixels as a square of whole pixels, in a thin frame."""
    factor = max(1, TILE // max(cell.shape[:2]))
    large = np.repeat(np.repeat(cell, factor, 0), factor, 1)
    height, width = large.shape[:2]
    axes = sheet.axes(left + (TILE - width) // 2, top + (TILE - height) // 2, width, height)
    axes.imshow(large, cmap="gray", vmin=0, vmax=255, aspect="auto")
    axes.set(xticks=(), yticks=())
    axes.spines[:].set(visible=True, color=FAINT, linewidth=0.5)


def _draw_dots(sheet: Sheet, rows: Sequence[Scored], ranked: int) -> None:
    """Draw the scores with their intervals, best at the top, and what their marks mean; say of how many."""
    left = sheet.width - MARGIN - BOARD
    first = rows[0]
    sheet.text(left, 60, f"Leaderboard: {first.data}", HEADING, weight="bold")
    shown = f"the best {len(rows)} of {ranked}" if len(rows) < ranked else f"{ranked} models"
    note = f"{shown} by {first.column}, lower is better"
    sheet.text(left, 106, note, NOTE, color=GRAY)
    families = list(dict.fromkeys(row.family for row in rows))
    keys = -(-(len(families) + 2) // 3) * 36  # height of the key: three names in a line
    names = 228
    height = sheet.height - TOP - BOTTOM - keys - 44
    axes = sheet.axes(left + names, TOP - 8, BOARD - names, height)
    dots = [
        Dot(row.rank.partition(" ")[0], row.plugin, row.family, row.mean, row.low, row.high) for row in rows
    ]
    columns = -names / (BOARD - names), (72 - names) / (BOARD - names)
    draw_dots(axes, dots, first.floor, points(NOTE), columns)
    _draw_key(sheet, left, sheet.height - BOTTOM - keys + 18, families, first.floor is not None)


def _draw_key(sheet: Sheet, left: int, top: int, families: Sequence[str], floor: bool) -> None:
    """Draw the families' markers with their names, three in a line, and what the lines are."""
    lines = {"95 % interval": ((-1, 1), (0, 0), "-", points(5))}
    if floor:
        lines["noise floor"] = ((0, 0), (-1, 1), ":", 1)
    for k, name in enumerate([*families, *lines]):
        x, y = left + (0, 0.3, 0.68)[k % 3] * BOARD, top + k // 3 * 36
        axes = sheet.axes(x, y - 10, 20, 20)
        axes.set(xlim=(-1, 1), ylim=(-1, 1))
        axes.set_axis_off()
        if name in lines:
            across, up, style, width = lines[name]
            axes.plot(across, up, style, color=GRAY, linewidth=width, clip_on=False)
        else:
            color, marker = look(name)
            axes.plot(0, 0, marker, color=color, markersize=points(18), clip_on=False)
        sheet.text(x + 32, y, name, NOTE, color=GRAY)
