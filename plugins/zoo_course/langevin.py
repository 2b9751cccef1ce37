"""Langevin dynamics: walks along the score, their variance, and why distant modes keep wrong weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.toy import Mixture
from zoo_core.viz.style import COLORS
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import normals
from zoo_course.topic import Exercise, Slip, Topic

Score = Callable[[Tensor], Tensor]

CLOSE = Mixture(
    torch.tensor([[-1.0, -0.4], [0.9, 0.7], [0.6, -1.0]], dtype=torch.float64),
    torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64),
    std=0.45,
)
FAR = Mixture(
    torch.tensor([[-3.0], [3.0]], dtype=torch.float64), torch.tensor([0.2, 0.8], dtype=torch.float64), std=0.6
)
STEP, STEPS, WALKERS = 0.02, 300, 120


def langevin(score: Score, x: Tensor, step: float, steps: int, seed: int, noise: float = 1.0) -> Tensor:
    """Return the states (steps + 1, n, D) of x <- x + step score(x) + noise sqrt(2 step) z.

    Args:
        score: gradient of log p.
        x: starts, (n, D).
        noise: 1 for Langevin dynamics, 0 for gradient ascent.
    """
    states = [x]
    eps = normals(steps, *x.shape, seed=seed)
    for z in eps:
        x = x + step * score(x) + noise * math.sqrt(2 * step) * z
        states.append(x)
    return torch.stack(states)


def stationary_variance(step: float) -> float:
    """Return the variance at which x <- x - step x + sqrt(2 step) z settles: 1 / (1 - step / 2)."""
    return 1 / (1 - step / 2)


def right_fraction(states: Tensor) -> Tensor:
    """Return the fraction of walkers at x > 0 in each state, (steps + 1,)."""
    return (states[..., 0] > 0).double().mean(1)


def _field(axes: Any, density: Mixture, reach: float) -> None:
    line = torch.linspace(-reach, reach, 121, dtype=torch.float64)
    height = density.log_prob(torch.cartesian_prod(line, line)).exp().reshape(121, 121).T
    axes.contourf(line, line, height, levels=8, cmap="Oranges", alpha=0.6)
    coarse = torch.linspace(-reach, reach, 17, dtype=torch.float64)
    points = torch.cartesian_prod(coarse, coarse)
    arrows = density.score(points)
    arrows = arrows / arrows.norm(dim=1, keepdim=True)
    axes.quiver(points[:, 0], points[:, 1], arrows[:, 0], arrows[:, 1], width=0.003, alpha=0.6)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])


def _walk_plots(out: Folder) -> None:
    starts = 4.4 * (
        torch.rand(WALKERS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    )
    walk = langevin(CLOSE.score, starts, STEP, STEPS, seed=1)
    climb = langevin(CLOSE.score, starts, STEP, STEPS, seed=1, noise=0.0)
    figure = make_figure(10, 4.8)
    for axes, (name, states) in zip(
        figure.subplots(1, 2), (("gradient ascent", climb), ("Langevin dynamics", walk)), strict=True
    ):
        _field(axes, CLOSE, 2.4)
        for one in states[:, :12].unbind(1):
            axes.plot(one[:, 0], one[:, 1], linewidth=0.6, color=COLORS[0])
        axes.scatter(states[-1, :, 0], states[-1, :, 1], s=10, color="black", zorder=3)
        axes.set_title(f"score field and {name}")
    out.plot(figure, "field")
    out.arrays("walk", states=walk[::10])

    def frame(k: int) -> Any:
        shown = make_figure(3.4, 3.4)
        axes = shown.add_subplot()
        _field(axes, CLOSE, 2.4)
        axes.scatter(walk[k, :, 0], walk[k, :, 1], s=9, color="black")
        axes.set_title(f"step {k}")
        return shown

    out.animation((frame(k) for k in (0, 2, 4, 7, 10, 14, 19, 25, 32, 40, 60, 100, 200, STEPS)), "walk")


def _figure(out: Folder) -> Sequence[str]:
    _walk_plots(out)
    steps = [0.01, 0.05, 0.1, 0.2, 0.5, 1.0]
    measured = [
        float(langevin(torch.neg, normals(4000, 1, seed=2), a, int(10 / a) + 20, seed=3)[-1].var())
        for a in steps
    ]
    starts = 8 * (torch.rand(1000, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64) - 0.5)
    weights = right_fraction(langevin(FAR.score, starts, 0.05, 1000, seed=5))
    figure = make_figure(10.5, 3.8)
    left, right = figure.subplots(1, 2)
    left.plot(steps, [stationary_variance(a) for a in steps], label="1 / (1 - step / 2)")
    left.plot(steps, measured, "o", label="4,000 walkers")
    left.set(xlabel="step", ylabel="variance", title="target N(0, 1): finite steps are too wide")
    left.legend()
    right.plot(weights, label="walkers in the right mode")
    right.axhline(0.8, linestyle="--", color="black", label="weight of the right mode")
    right.set(ylim=(0, 1), xlabel="steps of 0.05", title="modes at -3 and 3, std 0.6")
    right.legend(fontsize=8)
    out.plot(figure, "limits")
    out.table(
        {"step": steps, "variance": measured, "closed_form": [stationary_variance(a) for a in steps]},
        "variance",
    )
    return [
        f"variance with step 0.1: {measured[2]:.3f}, in closed form {stationary_variance(0.1):.5f}",
        f"two distant modes: {float(weights[0]):.2f} of the walkers start right, "
        f"{float(weights[-1]):.2f} end there; "
        "the weight is 0.80",
    ]


TOPIC = Topic(
    question="how can a distribution be sampled if only the gradient of its log-density is known?",
    look=(
        "field.png: without noise every walker ends on a mode; with noise they spread like the density.",
        "walk.webp: walkers reach the density in about 50 steps and keep moving in it.",
        "limits.png: a finite step widens the distribution; the closed form is exact for a normal target.",
        "limits.png: between distant modes nobody crosses: the fractions stay those of the start.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="x <- x + a score(x) + sqrt(2 a) z with a = 0.2 on the target N(0, 1). At which "
            "variance does x settle?",
            answer=lambda: stationary_variance(0.2),
            tolerance=2e-3,
            hint="The variance v satisfies v = (1 - a)^2 v + 2 a.",
            slips=(
                Slip(lambda: 1.0, "This is the limit of small steps."),
                Slip(
                    lambda: stationary_variance(0.1),
                    "This is for a / 2 and sqrt(a), the convention of the paper.",
                ),
            ),
        ),
    ),
)
