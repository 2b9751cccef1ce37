"""The one style of all plots: fonts, colors, markers, and figures that need no display."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

DPI = 150
"""Resolution of plots that are written as PNG."""
FONT = 9.0
"""Size of plain text, points."""
SMALL = 8.0
"""Size of labels and notes, points."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Colors that are told apart under every common color vision deficiency (Okabe and Ito 2008), and a brown."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
INK, GRAY, FAINT = "#1a1a1a", "#5f6368", "#d0d3d8"
"""Colors of text, of secondary text, and of grid lines and frames."""
DENSITY = "Oranges"
"""Color map of densities; what a model does is drawn over it in COLORS[0]."""

STYLE: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "text.color": INK,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "figure.titlesize": 10.5,
    "figure.titleweight": "bold",
    "axes.titlesize": FONT,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": FONT,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRAY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": GRAY,
    "ytick.color": GRAY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.4,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "image.interpolation": "nearest",
    # text stays text in vector files, and equal plots have equal bytes
    "svg.fonttype": "none",
    "svg.hashsalt": "zoo",
    "pdf.fonttype": 42,
}
"""matplotlib settings of every plot."""


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Return a drawing function that draws in the one style, whatever the caller's settings are."""

    @functools.wraps(draw)
    def within(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib
        from cycler import cycler

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            matplotlib.rcParams["axes.prop_cycle"] = cycler(color=COLORS)
            return draw(*args, **kwargs)

    return within


def make_figure(
    width: float = 8, height: float = 5, *, layout: Literal["constrained"] | None = "constrained"
) -> Any:
    """Return a matplotlib figure of a size in inches that needs no display.

    Args:
        layout: engine that places the axes; None for axes that are placed by hand.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def set_title(figure: Any, title: str, subtitle: str = "") -> None:
    """Write a bold title above all axes of a figure, and below it a gray line."""
    import textwrap

    width = int(figure.get_figwidth() * 72 / (FONT * 0.62))
    title = "\n".join(textwrap.wrap(title, width)) or title
    lines = textwrap.wrap(subtitle, width)
    # Empty lines below the title make the layout leave space for the subtitle.
    top = figure.suptitle(title + "\n" * len(lines), x=0.012, ha="left")
    if lines:
        figure.canvas.draw()
        low = top.get_window_extent().y0 / figure.bbox.height
        figure.text(0.012, low + 0.002, "\n".join(lines), ha="left", va="bottom", color=GRAY, fontsize=SMALL)
