"""Points of the plane: scatter plots, the score over a density, and walks of Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.viz.plot import Plot
from zoo_core.viz.style import COLORS, DENSITY, INK, make_figure, set_title, styled

Surface = Callable[[Tensor], Tensor]
"""Points (n, 2) to a log-density there, (n,)."""
DROPS = (0.5, 2.0, 4.5, 8.0)
"""In nats below the highest point: the contours of a normal at 1, 2, 3 and 4 standard deviations."""
DATA, MODEL = COLORS[1], COLORS[0]


def _frame(axes: Any, limit: float) -> None:
    limit = limit or 1.0  # where all points lie in the origin
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="x₁", ylabel="x₂")
    axes.locator_params(nbins=5)


def outside(points: Tensor, limit: float) -> int:
    """Return how many points (n, 2) lie outside [-limit, limit]^2."""
    return int((points.abs() > limit).any(1).sum())


@styled
def scatter(
    left: Tensor, right: Tensor, title: str, subtitle: str = "", names: tuple[str, str] = ("data", "samples")
) -> Plot:
    """Return two sets of points (n, 2), each under its name, side by side on the first one's scale.

    Points outside the frame are counted in the panel's title.
    """
    figure = make_figure(7.6, 4.3)
    limit = 1.15 * float(left.abs().max())
    for place, (name, points, color) in enumerate(zip(names, (left, right), (DATA, MODEL), strict=True)):
        _cloud(figure.add_subplot(1, 2, place + 1), points, name, color, limit)
    set_title(figure, title, subtitle)
    return Plot(figure, {names[0]: left.numpy(), names[1]: right.numpy()})


@styled
def scatter_samples(points: Tensor, title: str) -> Plot:
    """Return samples (n, 2) alone, on their own scale."""
    figure = make_figure(4.3, 4.3)
    _cloud(figure.add_subplot(), points, "samples", MODEL, 1.15 * float(points.abs().max()))
    set_title(figure, title)
    return Plot(figure, {"samples": points.numpy()})


def _cloud(axes: Any, points: Tensor, name: str, color: str, limit: float) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=4, alpha=0.45, linewidths=0, color=color, rasterized=True)
    _frame(axes, limit)
    beyond = outside(points, limit)
    axes.set_title(f"{len(points):,} {name}" + (f" ({beyond:,} outside the frame)" if beyond else ""))


def _background(axes: Any, surface: Surface | None, real: Tensor, limit: float) -> None:
    """Draw contours of a density, or data points where it is not known, over [-limit, limit]^2."""
    _frame(axes, limit)
    axes.grid(False)
    if surface is None:
        axes.scatter(real[:1000, 0], real[:1000, 1], s=4, alpha=0.3, color=DATA, linewidths=0)
        return
    line = torch.linspace(-limit, limit, 161)
    height = surface(torch.cartesian_prod(line, line)).reshape(len(line), len(line)).T.cpu()
    top = float(height.max())
    levels = [top - drop for drop in reversed(DROPS)]
    axes.contourf(line, line, height, levels=[*levels, top + 1e-6], cmap=DENSITY, alpha=0.55)
    axes.contour(line, line, height, levels=levels, colors=DATA, linewidths=0.4, alpha=0.7)


def background_name(surface: Surface | None, what: str) -> str:
    """Return what lies behind a plot of the plane: the true density, or data points."""
    return f"orange: the true {what}" if surface is not None else "orange: training points"


@styled
def score_field(
    score: Callable[[Tensor, float], Tensor],
    panels: Sequence[tuple[float, Surface | None]],
    real: Tensor,
    subtitle: str,
) -> Plot:
    """Return the direction of a learned score over the plane at several noise levels, the density behind it.

    Args:
        score: (points (n, 2), sigma) to the gradient of log p_sigma, (n, 2).
        panels: a noise level each, with log p_sigma, or None where it is not known: data are drawn instead.
        real: data points.
    """
    figure = make_figure(3.5 * len(panels) + 0.3, 4.5)
    numbers: dict[str, Any] = {}
    for place, (sigma, surface) in enumerate(panels):
        limit = 1.15 * float(real.abs().max()) + sigma
        line = torch.linspace(-limit, limit, 22)
        points = torch.cartesian_prod(line, line)
        learned = score(points, sigma)
        arrows = learned / learned.norm(dim=1, keepdim=True).clamp_min(1e-9)
        axes = figure.add_subplot(1, len(panels), place + 1)
        _background(axes, surface, real, limit)
        axes.quiver(
            points[:, 0],
            points[:, 1],
            arrows[:, 0],
            arrows[:, 1],
            angles="xy",
            width=0.004,
            color=MODEL,
            scale=26,
            pivot="mid",
        )
        axes.set_title(f"σ = {sigma:.2g}")
        numbers |= {
            f"points_{place}": points.numpy(),
            f"score_{place}": learned.numpy(),
            f"sigma_{place}": sigma,
        }
    behind = background_name(panels[0][1] if panels else None, "density of data + σ·noise")
    how = f"blue: direction of the learned score, all arrows of one length; {behind}"
    set_title(figure, "Score field", f"{subtitle} · {how}")
    return Plot(figure, numbers)


WIDEST = 2.5
"""Widest frame of walks, as a multiple of the data's largest coordinate."""
FADED, SOLID = 0.15, 0.95
"""Opacity of a walk at its start and at its end."""


@styled
def walks(
    panels: Sequence[tuple[str, Tensor]],
    surface: Surface | None,
    real: Tensor,
    title: str,
    subtitle: str = "",
    shown: int = 8,
) -> Plot:
    """Return walks over a density, each from a ring to a dot and more opaque with time.

    Args:
        panels: a name each, and the states of its walkers, (steps, n, 2).
        surface: log p, or None where it is not known: data are drawn instead.
        real: data points.
        shown: walkers that are drawn; the numbers hold all.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    figure = make_figure(4.1 * len(panels) + 0.2, 4.9)
    reach = float(real.abs().max())
    furthest = max(float(states[:, :shown].abs().max()) for _, states in panels)
    limit = min(max(1.2 * reach, 1.08 * furthest), WIDEST * reach)
    for place, (name, states) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        _background(axes, surface, real, limit)
        drawn = states[:, :shown].numpy()
        fade = np.linspace(FADED, SOLID, len(drawn) - 1)
        for number, walk in enumerate(drawn.transpose(1, 0, 2)):
            color = COLORS[number % len(COLORS)]
            pieces = np.stack([walk[:-1], walk[1:]], 1)
            axes.add_collection(
                LineCollection(list(pieces), colors=[to_rgba(color, a) for a in fade], linewidths=1.0)
            )
            axes.scatter(*walk[0], s=28, facecolors="white", edgecolors=color, linewidths=1.2, zorder=3)
            axes.scatter(*walk[-1], s=26, color=color, edgecolors="white", linewidths=0.6, zorder=4)
        beyond = outside(states[-1, :shown], limit)
        axes.set_title(name + (f" ({beyond} of {drawn.shape[1]} end outside the frame)" if beyond else ""))
        if place == 0:
            axes.scatter([], [], s=28, facecolors="white", edgecolors=INK, linewidths=1.2, label="start")
            axes.scatter([], [], s=26, color=INK, label="end")
            axes.legend(loc="lower left", frameon=True, framealpha=0.8)
    behind = background_name(surface, "density")
    set_title(figure, title, f"{subtitle} · lines become opaque with time; {behind}")
    return Plot(figure, {f"walks_{k}": states.numpy() for k, (_, states) in enumerate(panels)})


@styled
def draw_worst(
    real: Tensor,
    samples: Tensor,
    worst: Sequence[tuple[str, Tensor]],
    subtitle: str,
    numbers: Mapping[str, Any],
) -> Plot:
    """Return samples of the plane over data, those that are worst by each criterion marked.

    Args:
        real, samples: (n, 2) and (m, 2).
        worst: criterion and points (k, 2), the worst first; they are in view.
        numbers: of the plot.
    """
    figure = make_figure(4.1 * len(worst) + 0.2, 4.7)
    limit = 1.15 * max(float(real.abs().max()), *(float(points.abs().max()) for _, points in worst))
    for place, (name, points) in enumerate(worst):
        axes = figure.add_subplot(1, len(worst), place + 1)
        axes.scatter(
            real[:, 0], real[:, 1], s=4, alpha=0.3, linewidths=0, color=DATA, label="training points"
        )
        axes.scatter(samples[:, 0], samples[:, 1], s=4, alpha=0.4, linewidths=0, color=MODEL, label="samples")
        axes.scatter(
            points[:, 0], points[:, 1], s=42, facecolors="none", edgecolors=INK, linewidths=1, label="worst"
        )
        _frame(axes, limit)
        axes.set_title(name, wrap=True)
        if place == 0:
            axes.legend(loc="lower left", frameon=True, framealpha=0.8)
    set_title(figure, "Worst samples", subtitle)
    return Plot(figure, numbers)
