"""The image of README.md: samples of one model of each family beside a leaderboard, drawn from results/."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pages.results import Scored
from zoo_core.viz.style import COLORS, GRAY, INK, MARKERS, SMALL, make_figure, styled
from zoo_eval.leaderboard.page.sprites import strip

FAMILIES = ("diffusion", "gan", "vae", "flow", "autoregressive", "normalizing-flow", "baseline")
"""Order of the colors and shapes; further families follow."""
STRIPS, DOTS = 7, 16
"""Most models with samples, and most rows of the leaderboard."""
SOURCE = "Source"
"""PNG text with the digest of what was drawn, by which a stale image is found."""


def digest(sampled: Sequence[Scored], ranked: Sequence[Scored], root: Path) -> str:
    """Return the sha256 of everything that the image shows: scores and sample grids."""
    shown = [row._asdict() for row in _dots(ranked)]
    strips = [
        (row.plugin, row.family, row.data, hashlib.sha256((root / row.samples).read_bytes()).hexdigest())
        for row in _strips(sampled)
    ]
    return hashlib.sha256(json.dumps([shown, strips]).encode()).hexdigest()


def drawn_from(path: Path) -> str:
    """Return the digest that an image was drawn from; "" for none."""
    if not path.exists():
        return ""
    with Image.open(path) as image:
        return str(image.info.get(SOURCE, ""))


def _strips(rows: Sequence[Scored]) -> list[Scored]:
    """Return the best row of each family that has samples, in the order of the rows."""
    best: dict[str, Scored] = {}
    for row in rows:
        if row.samples:
            best.setdefault(row.family, row)
    return list(best.values())[:STRIPS]


def _dots(rows: Sequence[Scored]) -> list[Scored]:
    return list(rows[:DOTS])


def _look(family: str) -> tuple[str, str]:
    """Return the color and the marker of a family."""
    place = FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)
    return COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)]


@styled
def draw(sampled: Sequence[Scored], ranked: Sequence[Scored], root: Path) -> bytes:
    """Return the image as a PNG.

    Args:
        sampled: rows of one leaderboard, in its order, whose samples are shown.
        ranked: rows of one leaderboard, in its order, whose scores are shown.
        root: of the repository, which the rows' sample grids lie in.
    """
    figure = make_figure(10.6, 4.1, layout=None)
    left, right = figure.subfigures(1, 2, width_ratios=[1.12, 1])
    _draw_strips(left, _strips(sampled), root)
    _draw_dots(right, _dots(ranked))
    written = io.BytesIO()
    source = digest(sampled, ranked, root)
    figure.savefig(written, format="png", dpi=200, metadata={"Software": None, SOURCE: source})
    return written.getvalue()


def _draw_strips(figure: Any, rows: Sequence[Scored], root: Path) -> None:
    """Draw a row of samples for each model: always the first of its grid, at seed 0."""
    title = f"First samples of the best model of each family on {rows[0].data}"
    figure.text(0.03, 0.955, title, weight="bold", color=INK)
    height = 0.88 / len(rows)
    for k, row in enumerate(rows):
        bottom = 0.92 - (k + 1) * height
        figure.text(
            0.03, bottom + 0.56 * height, row.plugin, va="center", weight="bold", color=_look(row.family)[0]
        )
        figure.text(0.03, bottom + 0.24 * height, row.family, va="center", size=SMALL, color=GRAY)
        found = strip((root / row.samples).read_bytes())
        for place, cell in enumerate(found or ()):
            axes = figure.add_axes((0.27 + place * 0.09, bottom + 0.04 * height, 0.085, 0.92 * height))
            axes.imshow(cell, cmap="gray" if cell.ndim == 2 else None, vmin=0, vmax=255)
            axes.set_axis_off()


def _draw_dots(figure: Any, rows: Sequence[Scored]) -> None:
    """Draw the scores with their intervals, best at the top, on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure.text(0.03, 0.955, f"{rows[0].column} on {rows[0].data}, lower is better", weight="bold", color=INK)
    axes = figure.add_axes((0.27, 0.13, 0.69, 0.77))
    labeled: set[str] = set()
    for k, row in enumerate(rows):
        color, marker = _look(row.family)
        axes.plot((max(row.low, row.mean / 10), row.high), (k, k), color=color, linewidth=1.6)
        label = None if row.family in labeled else row.family
        axes.plot(row.mean, k, marker, color=color, markersize=5, label=label, linestyle="none")
        labeled.add(row.family)
    floor = rows[0].floor
    if floor is not None:
        axes.axvline(floor, color=GRAY, linewidth=1, linestyle=":", label="noise floor")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(len(rows) - 0.4, -0.6)
    names = [f"{row.rank.partition(' ')[0]}  {row.plugin}" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("mean and 95 % interval over training seeds")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0))
