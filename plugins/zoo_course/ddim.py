"""DDIM: deterministic sampling in few steps, and how straight its paths are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.data.toy import Mixture
from zoo_core.diffusion.grids import trailing
from zoo_core.diffusion.samplers import ddim
from zoo_core.seeds import Seeds
from zoo_course.diffusion import chain
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import OracleDenoiser, record, toy
from zoo_course.topic import Exercise, Slip, Topic

COUNTS = (2, 5, 10, 20, 50, 100, 250)
POINTS = 1000
NEAR = 3.0
"""Noise level below which straightness is measured: above it every path leads straight to the center."""


def run(density: Mixture, steps: int, eta: float, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the path (steps + 1, n, D) of DDIM with the exact denoiser in sigma-space, and its levels."""
    denoise = OracleDenoiser(density, chain())
    sigmas = trailing(denoise, steps)
    states: list[Tensor] = []
    start = Seeds(seed, range(n)).randn((density.means.shape[1],)).double() * denoise.prior_std
    end = ddim(denoise, start, sigmas, noise=Seeds(seed + 1, range(n)), callback=record(states), eta=eta)
    return torch.stack([*states, end]), sigmas


def straightness(path: Tensor) -> float:
    """Return the mean of (distance from start to end) / (length of the path), for paths (steps, n, D)."""
    length = path.diff(dim=0).norm(dim=2).sum(0)
    return float(((path[-1] - path[0]).norm(dim=1) / length).mean())


def spread_around_modes(x: Tensor, density: Mixture) -> float:
    """Return the root mean square distance to the nearest mode over that of the data, std sqrt(D)."""
    nearest = torch.cdist(x, density.means).min(1).values
    return float(nearest.square().mean().sqrt()) / (density.std * x.shape[1] ** 0.5)


def _figure(out: Folder) -> Sequence[str]:
    density = toy("ring")
    figure = make_figure(13, 4)
    left, middle, right = figure.subplots(1, 3)
    straight = {}
    for axes, eta, name in ((left, 0.0, "eta = 0, DDIM"), (middle, 1.0, "eta = 1, ancestral")):
        path, sigmas = run(density, 250, eta, 24)
        straight[name] = straightness(path[sigmas <= NEAR])
        for one in path.unbind(1):
            axes.plot(one[:, 0], one[:, 1], linewidth=0.6)
        axes.scatter(path[-1, :, 0], path[-1, :, 1], s=12, color="black", zorder=3)
        axes.set(
            xlim=(-3, 3), ylim=(-3, 3), aspect="equal", title=f"{name}: straightness {straight[name]:.2f}"
        )
    rows = {
        eta: [
            spread_around_modes(run(density, steps, eta, POINTS, seed=3)[0][-1], density) for steps in COUNTS
        ]
        for eta in (0.0, 0.5, 1.0)
    }
    for eta, values in rows.items():
        right.plot(COUNTS, values, marker="o", label=f"eta = {eta}")
    right.axhline(1, linestyle="--", color="black", label="data")
    right.set(xscale="log", yscale="log", xlabel="steps = NFE", title="spread around the modes")
    right.legend(fontsize=8)
    out.plot(figure, "paths")
    out.table({"steps": COUNTS, **{f"eta_{eta}": values for eta, values in rows.items()}}, "spread")
    return [
        *(f"{name}: straightness {value:.3f} below sigma = {NEAR:g}" for name, value in straight.items()),
        *(
            f"eta = {eta}: spread around the modes "
            f"{', '.join(f'{v:.2f} in {n}' for n, v in zip(COUNTS, values, strict=True))} steps"
            for eta, values in rows.items()
        ),
    ]


def one_step(x: float, sigma: float, next_sigma: float, x0: float) -> float:
    """Return one deterministic step in sigma-space: x0 + next_sigma / sigma (x - x0)."""
    return x0 + next_sigma / sigma * (x - x0)


TOPIC = Topic(
    question="how can the same network sample in 20 steps instead of 1000?",
    look=(
        "Without noise a path bends little: its straightness is near 1. With noise it wanders.",
        "In 10 steps points are between the modes, in 50 on them. Below 1: the last step returns a mean.",
        "Every path without noise is a function of its start: the start is a code of the sample.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="In the variable x0 + sigma eps: x = 3 at sigma = 2, and the denoiser says x0 = "
            "1. Where is x after one "
            "DDIM step (eta = 0) to sigma = 0.5?",
            answer=lambda: one_step(3.0, 2.0, 0.5, 1.0),
            tolerance=5e-3,
            hint="Keep x0 and the direction eps = (x - x0) / sigma, and set sigma to 0.5.",
            slips=(
                Slip(
                    lambda: 1 + (0.5 / 2) ** 2 * 2,
                    "This is the mean of the ancestral step, which keeps (s / t)^2.",
                ),
                Slip(lambda: 1.0, "This is x0; the step stops at sigma = 0.5."),
            ),
        ),
    ),
)
