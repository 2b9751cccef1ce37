"""Noise conditional score networks: noise levels, and annealed Langevin dynamics down them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.diffusion.langevin import annealed_langevin
from zoo_core.diffusion.sdes import VE
from zoo_core.seeds import Seeds
from zoo_course.folder import Folder, make_figure
from zoo_course.langevin import FAR, langevin, right_fraction
from zoo_course.oracle import OracleDenoiser, record, sample, toy
from zoo_course.topic import Exercise, Slip, Topic

LEVELS, REPEATS, WALKERS = 30, 20, 1000


def geometric(count: int, lowest: float, highest: float) -> Tensor:
    """Return noise levels of a constant ratio, (count,), ascending."""
    return torch.logspace(
        torch.tensor(lowest).log10(), torch.tensor(highest).log10(), count, dtype=torch.float64
    )


def ratio(count: int, lowest: float, highest: float) -> float:
    """Return the ratio of two neighboring levels."""
    return (highest / lowest) ** (1 / (count - 1))


def anneal(seed: int = 0) -> list[Tensor]:
    """Return the states of annealed Langevin dynamics on two distant modes, (WALKERS, 1) each."""
    schedule = VE(0.02, 8.0)
    denoise = OracleDenoiser(FAR, schedule)
    sigmas = torch.cat((geometric(LEVELS, 0.02, 8.0).flip(0), torch.zeros(1, dtype=torch.float64)))
    states: list[Tensor] = []
    start = Seeds(seed, range(WALKERS)).randn((1,)).double() * 8.0
    end = annealed_langevin(
        denoise,
        start,
        sigmas,
        noise=Seeds(seed + 1, range(WALKERS)),
        callback=record(states),
        step=0.15,
        repeats=REPEATS,
    )
    return [*states, end]


def _figure(out: Folder) -> Sequence[str]:
    states = anneal()
    plain = langevin(FAR.score, states[0].clamp(-4, 4), 0.05, LEVELS * REPEATS, seed=7)
    fractions = [float((x > 0).double().mean()) for x in states]
    figure = make_figure(11, 7.2)
    grid_of_axes = figure.add_gridspec(2, 6, height_ratios=(1, 1.05))
    left, middle = (figure.add_subplot(grid_of_axes[0, at : at + 3]) for at in (0, 3))
    left.plot(fractions, label="annealed, noise falls from 8 to 0.02")
    left.plot(right_fraction(plain), label="one level")
    left.axhline(0.8, linestyle="--", color="black", label="weight of the right mode")
    left.set(ylim=(0.3, 1), xlabel="step", title="walkers in the right mode")
    left.legend(fontsize=8, loc="lower right")
    grid = torch.linspace(-6, 6, 400, dtype=torch.float64)[:, None]
    for sigma in (8.0, 2.0, 1.0, 0.02):
        density = FAR.smoothed(sigma).log_prob(grid).exp()
        middle.plot(grid[:, 0], density / density.max(), label=f"sigma = {sigma:g}")
    middle.set(title="the noised density, scaled", xlabel="x")
    middle.legend(fontsize=8)
    roll = toy("swiss-roll")
    sizes = []
    for place, sigma in enumerate((0.5, 0.2, 0.05)):
        noised = roll.smoothed(sigma)
        points = sample(noised, 300, seed=place)
        arrows = sigma * noised.score(points)
        sizes.append(f"{float(arrows.square().sum(1).mean().sqrt()):.2f}")
        axes = figure.add_subplot(grid_of_axes[1, 2 * place : 2 * place + 2])
        axes.quiver(points[:, 0], points[:, 1], arrows[:, 0], arrows[:, 1], width=0.005, scale=25)
        axes.set(title=f"sigma score at sigma = {sigma}", aspect="equal", xlim=(-2, 2), ylim=(-2, 2))
    out.plot(figure, "annealing")
    out.table({"step": list(range(len(fractions))), "right": fractions}, "weights")
    return [
        f"fraction in the right mode: annealed {fractions[-1]:.3f}, one level "
        f"{float(right_fraction(plain)[-1]):.3f}, weight 0.8",
        f"ratio of the paper's 10 levels from 0.01 to 1: {ratio(10, 0.01, 1.0):.4f}",
        f"root mean square of sigma score at sigma = 0.5, 0.2, 0.05: {', '.join(sizes)}",
        f"levels of the figure: {LEVELS}, ratio {ratio(LEVELS, 0.02, 8.0):.3f}",
    ]


TOPIC = Topic(
    question="how do many noise levels fix what Langevin dynamics at one level get wrong?",
    look=(
        "At sigma = 8 there is one mode: walkers cross freely. Below sigma = 1 nobody crosses any more.",
        "At one level the fraction stays that of the start; annealed, it is close to the weight.",
        "On noised data sigma times the score has about one size at all levels: one loss weight suits all.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="10 noise levels of a constant ratio from 0.01 to 1. What is the ratio of "
            "neighboring levels?",
            answer=lambda: ratio(10, 0.01, 1.0),
            tolerance=2e-3,
            hint="10 levels have 9 steps between them.",
            slips=(Slip(lambda: 100 ** (1 / 10), "There are 9 steps between 10 levels."),),
        ),
        Exercise(
            question="Annealed Langevin dynamics with 12 levels and 100 steps at each, no final "
            "denoising. How many score "
            "evaluations does a sample take?",
            answer=lambda: 12 * 100,
            tolerance=0.5,
            hint="Every step of every level evaluates the score once.",
            slips=(Slip(lambda: 12 * 99, "Slide 121 counts i = 1 to N - 1 but uses x_0 to x_N: N steps."),),
        ),
    ),
)
