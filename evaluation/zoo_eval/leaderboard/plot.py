"""A table as a plot: each row's score with its interval, in the table's order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo_core.errors import UsageError
from zoo_core.machine.files import write_atomic
from zoo_core.viz.plot import Plot
from zoo_core.viz.style import COLORS, GRAY, INK, SMALL, make_figure, set_title, styled
from zoo_eval.leaderboard.ranks import noise_floor
from zoo_eval.leaderboard.rows import Row
from zoo_eval.leaderboard.table import Table
from zoo_eval.leaderboard.text import names, rank_text
from zoo_eval.statistics.student import mean_interval

LOOKS = {
    "diffusion": (COLORS[0], "o"),
    "gan": (COLORS[1], "^"),
    "vae": (COLORS[2], "s"),
    "flow": (COLORS[3], "D"),
    "autoregressive": (COLORS[4], "v"),
    "normalizing-flow": (COLORS[5], "<"),
    "discrete-diffusion": (COLORS[7], "X"),
    "outside": (COLORS[6], "*"),
}
"""Color and marker of each family, as on the leaderboard's page; others are gray pluses."""
MOST = 60
"""Most rows of a plot."""
WIDTH, ROW, TOP, BOTTOM, LINE = 7.5, 0.22, 0.62, 0.52, 0.2
"""Inches: width, height of a row, space for the titles, for the axis, and for a line of the key."""
DECADE = 10.0
"""Ratio of the largest to the smallest value above which the axis is logarithmic."""


class Dot(NamedTuple):
    """A row of a plot.

    Attributes:
        rank, name, family: as text.
        mean, low, high: score and the ends of its 95 % interval.
    """

    rank: str
    name: str
    family: str
    mean: float
    low: float
    high: float


def look(family: str) -> tuple[str, str]:
    """Return the color and the marker of a family."""
    return LOOKS.get(family, (GRAY, "P"))


def interval_of(row: Row, column: str) -> tuple[float, float, float]:
    """Return a score and the ends of its interval, over seeds or the samples of a single run.

    Raises:
        KeyError: where the row has no such score.
    """
    mean, width = mean_interval(row.scores[column])
    return (mean, *(row.within.get(column, (mean, mean)) if width is None else (mean - width, mean + width)))


def dots_of(table: Table) -> list[Dot]:
    """Return the rows of a table that have the score that ranks it, in its order."""
    column = table.column.name
    return [
        Dot(rank_text(ranked), name, ranked.row.family, *interval_of(ranked.row, column))
        for ranked, name in zip(table.rows, names(table.rows), strict=True)
        if column in ranked.row.scores
    ]


def draw_dots(
    axes: Any, dots: Sequence[Dot], floor: float | None, size: float, columns: tuple[float, float]
) -> None:
    """Draw scores with their intervals, the first at the top, with ranks and names at the left.

    Args:
        axes: of matplotlib.
        dots: one or more rows.
        floor: noise floor, drawn as a line; None for none.
        size: of letters, in points.
        columns: places of ranks and names as fractions of the axes' width, negative.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = [dot.mean for dot in dots] + ([] if floor is None else [floor])
    log = min(values) > 0 and max(values) > DECADE * min(values)
    where = {"transform": axes.get_yaxis_transform(), "va": "center", "size": size}
    for k, dot in enumerate(dots):
        color, marker = look(dot.family)
        low = max(dot.low, dot.mean / 10) if log else dot.low
        axes.plot((low, dot.high), (k, k), color=color, linewidth=0.22 * size)
        axes.plot(dot.mean, k, marker, color=color, markersize=0.78 * size, linestyle="none")
        axes.text(columns[0], k, dot.rank, color=GRAY, **where)
        axes.text(columns[1], k, dot.name, color=INK, **where)
    if floor is not None:
        axes.axvline(floor, color=GRAY, linewidth=1, linestyle=":")
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(len(dots) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.tick_params(axis="x", labelsize=size)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


@styled
def draw_table(table: Table) -> Plot:
    """Return a table's first rows as a plot.

    Raises:
        UsageError: for a table without a row that has a score.
    """
    from matplotlib.lines import Line2D

    dots = dots_of(table)
    if not dots:
        raise UsageError(f"no row of {table.group.title} has {table.column.name}")
    shown, column = dots[:MOST], table.column
    floor = noise_floor(table.group.rows, column.name)
    families = list(dict.fromkeys(dot.family for dot in shown))
    key = [
        Line2D([], [], color=look(name)[0], marker=look(name)[1], linestyle="none", markersize=5, label=name)
        for name in families
    ]
    key.append(Line2D([], [], color=GRAY, linewidth=1.8, label="95 % interval"))
    if floor is not None:
        key.append(Line2D([], [], color=GRAY, linewidth=1, linestyle=":", label="noise floor"))
    lines = -(-len(key) // 5)
    height = TOP + ROW * len(shown) + BOTTOM + LINE * lines
    figure = make_figure(WIDTH, height, layout=None)
    ranks, name = 0.14, 0.56
    left = name + 0.072 * max(len(dot.name) for dot in shown) + 0.12
    width = WIDTH - left - 0.25
    box = (left / WIDTH, (BOTTOM + LINE * lines) / height, width / WIDTH, ROW * len(shown) / height)
    axes = figure.add_axes(box)
    draw_dots(axes, shown, floor, SMALL, ((ranks - left) / width, (name - left) / width))
    figure.legend(handles=key, loc="lower left", ncols=5, handletextpad=0.4, columnspacing=1.2)
    of = "" if len(dots) == len(shown) else f"the first {len(shown)} of {len(dots)} rows; "
    unranked = "; ?, -: no rank" if any(dot.rank in ("?", "-") for dot in shown) else ""
    note = (
        f"{column.name}, {column.better} is better; {of}equal ranks (=): no significant difference{unranked}"
    )
    set_title(figure, f"Leaderboard: {table.group.title}", note)
    return Plot(figure)


def write_png(table: Table, path: Path) -> None:
    """Write a table's plot as a PNG file.

    Raises:
        UsageError: for a table without a row that has a score.
        MachineError: where the file can't be written.
    """
    write_atomic(path, draw_table(table).png(), parents=True)
