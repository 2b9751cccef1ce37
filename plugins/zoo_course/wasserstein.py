"""The Wasserstein distance: optimal transport plans on the line and in the plane, and the dual."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zoo_core.viz.style import COLORS
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import normals, sample, toy
from zoo_course.topic import Exercise, Slip, Topic

Blocks = Sequence[tuple[float, float, float]]
"""A distribution of constant pieces: (mass, left end, right end) each, in order."""
SLIDE: tuple[Blocks, Blocks] = (((0.25, 1, 2), (0.25, 3, 4), (0.5, 9, 10)), ((1.0, 5, 7),))
"""The two distributions of slide 55: 1/4 on [1, 2], 1/4 on [3, 4] and 1/2 on [9, 10]; and 1/2 on [5, 7]."""
LEVELS = 2000


def quantiles(blocks: Blocks, count: int = LEVELS) -> Tensor:
    """Return the quantile function of a distribution at the middles of `count` equal steps of probability."""
    u = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    x, below = torch.zeros_like(u), 0.0
    for mass, left, right in blocks:
        inside = (u >= below) & (u < below + mass)
        x[inside] = left + (u[inside] - below) / mass * (right - left)
        below += mass
    return x


def distance_on_the_line(p: Blocks, q: Blocks) -> float:
    """Return W(p, q), the mean distance between equal quantiles."""
    return float((quantiles(p) - quantiles(q)).abs().mean())


def plan(x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """Return the optimal pairing of two sets of n points, y[index] for x, and its mean distance."""
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x, y)
    rows, columns = linear_sum_assignment(cost.numpy())
    return torch.from_numpy(np.asarray(columns)), float(cost[rows, columns].mean())


def dual_value(potential: Tensor, x: Tensor, y: Tensor) -> float:
    """Return E[f(x)] - E[f(y)] for the linear critic f(x) = w . x, |w| = 1, in the direction `potential`."""
    w = potential / potential.norm()
    return float((x @ w).mean() - (y @ w).mean())


def _line_plot(out: Folder) -> list[str]:
    p, q = SLIDE
    x, y = quantiles(p), quantiles(q)
    counts, edges_x, edges_y = np.histogram2d(x.numpy(), y.numpy(), bins=(80, 40), range=((0, 11), (4, 8)))
    figure = make_figure(11, 4)
    left, middle, right = figure.subplots(1, 3)
    for place, (blocks, name) in enumerate(((p, "mu"), (q, "mu'"))):
        color = (COLORS[3], COLORS[0])[place]
        for number, (mass, start, end) in enumerate(blocks):
            left.bar(
                (start + end) / 2,
                mass / (end - start),
                end - start,
                color=color,
                alpha=0.7,
                label=name if not number else None,
            )
    for u in range(LEVELS // 32, LEVELS, LEVELS // 16):
        left.annotate(
            "",
            (float(y[u]), 0.1 + u / LEVELS / 8),
            (float(x[u]), 0.1 + u / LEVELS / 8),
            arrowprops={"arrowstyle": "->", "lw": 0.7},
        )
    left.set(title="slide 55: where each piece moves", xlabel="x", ylabel="density")
    left.legend(fontsize=8)
    middle.pcolormesh(edges_x, edges_y, counts.T, cmap="binary")
    middle.set(title="the optimal plan", xlabel="from x", ylabel="to x'")
    shifts = torch.linspace(0, 3, 61).tolist()
    right.plot(shifts, shifts, label="Wasserstein distance")
    right.plot(shifts, [math.log(2) * min(1.0, s) for s in shifts], label="JSD, in nats")
    right.set(title="two uniforms of length 1", xlabel="shift")
    right.legend(fontsize=8)
    out.plot(figure, "line")
    out.arrays("line", x=x, y=y)
    return [f"slide 55: W = {distance_on_the_line(p, q):.4f} (3 expected)"]


def _plane_plot(out: Folder) -> list[str]:
    x, y = 0.5 * normals(200, 2, seed=0), sample(toy("ring"), 200, seed=1)
    optimal, cost = plan(x, y)
    shuffled = torch.randperm(200, generator=torch.Generator().manual_seed(2))
    other = float((x - y[shuffled]).norm(dim=1).mean())
    figure = make_figure(9.5, 4.6)
    for axes, (name, to, mean) in zip(
        figure.subplots(1, 2),
        (("random plan", shuffled, other), ("optimal plan", optimal, cost)),
        strict=True,
    ):
        for a, b in zip(x, y[to], strict=True):
            axes.plot((a[0], b[0]), (a[1], b[1]), color="gray", linewidth=0.4)
        axes.scatter(x[:, 0], x[:, 1], s=9, color=COLORS[1], label="from")
        axes.scatter(y[:, 0], y[:, 1], s=9, color=COLORS[0], label="to")
        axes.set(title=f"{name}: mean distance {mean:.3f}", aspect="equal")
    axes.legend(fontsize=8, loc="upper right")
    out.plot(figure, "plan")
    out.arrays("plan", x=x, y=y, optimal=optimal)
    return [f"200 points of the plane: random plan {other:.3f}, optimal plan {cost:.3f}"]


def _figure(out: Folder) -> Sequence[str]:
    return [*_line_plot(out), *_plane_plot(out)]


TOPIC = Topic(
    question="how far must mass be moved to turn one distribution into another?",
    look=(
        "line.png: on the line the optimal plan pairs equal quantiles: it never crosses itself.",
        "line.png: W grows with the shift. JSD stops at log 2 once the two no longer overlap.",
        "plan.png: the lines of the optimal plan do not cross; those of a random plan do and are longer.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="p is uniform on [0, 1] and q is uniform on [0, 3]. What is W(p, q)?",
            answer=lambda: distance_on_the_line(((1.0, 0, 1),), ((1.0, 0, 3),)),
            tolerance=5e-3,
            hint="On the line, W is the mean of |F^-1(u) - G^-1(u)| over u uniform in (0, 1).",
            slips=(
                Slip(lambda: 2.0, "This is the largest distance that mass moves, not the mean."),
                Slip(lambda: 1.5, "This is the mean of q."),
            ),
        ),
        Exercise(
            question="Slide 55 with the 1/2 on [9, 10] moved to [11, 12]: what is W now?",
            answer=lambda: distance_on_the_line((*SLIDE[0][:2], (0.5, 11, 12)), SLIDE[1]),
            tolerance=5e-3,
            hint="The plan pairs the same pieces as before; one of the three distances grows by 2.",
            slips=(Slip(lambda: 5.0, "Only half of the mass moves 2 further."),),
        ),
    ),
)
