"""The adversarial game: its optimal discriminator, its value, its gradients, and the game of two Diracs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_core.viz.style import COLORS
from zoo_course.folder import Folder, make_figure
from zoo_course.kl import discrete_kl, normal
from zoo_course.topic import Exercise, Slip, Topic
from zoo_gan.losses import minimax_generator, nonsaturating_generator

LINE = torch.linspace(-7, 7, 1401, dtype=torch.float64)
STEPS, RATE = 120, 0.2
"""Of the Dirac game."""


def optimal_discriminator(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return D*(x) = p / (p + q) of log-densities, like them."""
    return torch.sigmoid(log_p - log_q)


def jensen_shannon(p: Sequence[float], q: Sequence[float]) -> float:
    """Return JSD(p || q) of probabilities in nats, between 0 and log 2."""
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (discrete_kl(p, middle) + discrete_kl(q, middle)) / 2


def game_value(p: Sequence[float], q: Sequence[float]) -> float:
    """Return C(g), the value of the game at the optimal discriminator: -log 4 + 2 JSD."""
    return -math.log(4) + 2 * jensen_shannon(p, q)


def generator_gradients(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the derivatives of both generator losses with respect to the logit: minimax, non-saturating."""
    found = []
    for loss in (minimax_generator, nonsaturating_generator):
        at = logits.clone().requires_grad_()
        torch.stack([loss(one[None]) for one in at.unbind()]).sum().backward()
        assert at.grad is not None
        found.append(at.grad)
    return found[0], found[1]


def dirac_game(rate: float, steps: int, *, alternate: bool, penalty: float = 0.0) -> Tensor:
    """Return the path (theta, psi), (steps + 1, 2), of gradient play between two Diracs.

    Data are at 0, the generator's point is theta and the discriminator is sigmoid(psi x). The value is
    L = log sigmoid(0) + log sigmoid(-psi theta); psi ascends and theta descends. Mescheder et al. 2018
    (arXiv:1801.04406), section 2.

    Args:
        rate: learning rate of both.
        steps: updates of each.
        alternate: update theta with the new psi; else both at once.
        penalty: weight of the R1 penalty psi^2 / 2 on the discriminator.
    """
    theta, psi = 1.0, 1.0
    path = [(theta, psi)]
    for _ in range(steps):
        slope = 1 / (1 + math.exp(-psi * theta))
        new = psi - rate * (theta * slope + penalty * psi)
        used = new if alternate else psi
        theta += rate * used / (1 + math.exp(-used * theta))
        psi = new
        path.append((theta, psi))
    return torch.tensor(path, dtype=torch.float64)


def _optimum_plot(out: Folder) -> list[str]:
    figure = make_figure(12, 3.8)
    left, middle, right = figure.subplots(1, 3)
    p, q = normal(-1.0, 0.8), normal(1.2, 1.1)
    left.plot(LINE, p(LINE).exp(), label="data p")
    left.plot(LINE, q(LINE).exp(), label="generated p_g")
    left.plot(LINE, optimal_discriminator(p(LINE), q(LINE)), color="black", label="D* = p / (p + p_g)")
    left.set(xlim=(-4, 5), xlabel="x", title="the optimal discriminator")
    left.legend(fontsize=8)
    shifts = torch.linspace(0, 6, 61).tolist()
    values = []
    for shift in shifts:
        log_p, log_q = normal(-shift / 2, 0.5)(LINE), normal(shift / 2, 0.5)(LINE)
        log_m = torch.logaddexp(log_p, log_q) - math.log(2)
        both = log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)
        values.append(float(torch.trapezoid(both, LINE)) / 2)
    middle.plot(shifts, values)
    middle.axhline(math.log(2), linestyle="--", color="gray")
    middle.set(xlabel="distance of two normals, std 0.5", title="JSD is flat at log 2", ylim=(0, 0.75))
    logits = torch.linspace(-6, 6, 121, dtype=torch.float64)
    saturating, other = generator_gradients(logits)
    right.plot(logits, saturating, label="log(1 - D)")
    right.plot(logits, other, label="-log D")
    right.set(xlabel="logit of a generated sample", title="gradient of the generator's loss")
    right.legend(fontsize=8)
    out.plot(figure, "optimum")
    out.table({"distance": shifts, "jsd": values}, "jsd")
    return [f"JSD at distance 6: {values[-1]:.4f} nats, log 2 = {math.log(2):.4f}"]


def _dirac_plot(out: Folder) -> list[str]:
    games: dict[str, Any] = {
        "at once": dirac_game(RATE, STEPS, alternate=False),
        "in turn": dirac_game(RATE, STEPS, alternate=True),
        "in turn, R1 penalty": dirac_game(RATE, STEPS, alternate=True, penalty=0.5),
    }

    def frame(shown: int) -> Any:
        figure = make_figure(8.5, 3.2)
        for axes, (name, path) in zip(figure.subplots(1, 3), games.items(), strict=True):
            axes.plot(path[: shown + 1, 0], path[: shown + 1, 1], linewidth=1)
            axes.plot(*path[shown], marker="o", color=COLORS[1])
            axes.plot(0, 0, marker="+", color="black", markersize=10)
            axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", title=name, xlabel="generator theta")
            axes.set_ylabel("discriminator psi")
        return figure

    out.animation((frame(shown) for shown in range(0, STEPS + 1, 6)), "dirac")
    out.arrays("dirac", **dict(zip(("at_once", "in_turn", "penalized"), games.values(), strict=True)))
    return [
        f"{name}: distance from the equilibrium {float(path[0].norm()):.2f} at the start, "
        f"{float(path[-1].norm()):.2f} "
        f"after {STEPS} steps"
        for name, path in games.items()
    ]


def _figure(out: Folder) -> Sequence[str]:
    return [*_optimum_plot(out), *_dirac_plot(out)]


TOPIC = Topic(
    question="what does a generator learn from a classifier of real and generated samples?",
    look=(
        "optimum.png: D* is a ratio of densities; it is 1/2 where they are equal.",
        "optimum.png: once the distributions are apart, JSD does not change with their distance: no "
        "gradient.",
        "optimum.png: -log D has its largest gradient where the discriminator is sure, log(1 - D) its "
        "smallest.",
        "dirac.webp: gradient play moves around the equilibrium: outwards if both move at once, on a "
        "closed orbit in turn.",
        "dirac.webp: a gradient penalty on the discriminator turns the orbit into a spiral towards the "
        "equilibrium.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="The data have p = (1/2, 1/2) and the generator p_g = (1, 0). What is the value "
            "C(g) of the game at "
            "the optimal discriminator, in nats?",
            answer=lambda: game_value((0.5, 0.5), (1.0, 0.0)),
            tolerance=2e-3,
            hint="D* = p / (p + p_g) is 1/3 and 1. Insert it into E_p[log D] + E_g[log(1 - D)].",
            slips=(
                Slip(lambda: jensen_shannon((0.5, 0.5), (1.0, 0.0)), "This is JSD; C = -log 4 + 2 JSD."),
                Slip(
                    lambda: -math.log(4) + jensen_shannon((0.5, 0.5), (1.0, 0.0)),
                    "The divergence counts twice.",
                ),
            ),
        ),
        Exercise(
            question="A generated sample has D = 0.01. By which factor is the gradient of -log D with "
            "respect to the "
            "logit larger than that of log(1 - D)?",
            answer=lambda: 0.99 / 0.01,
            tolerance=0.5,
            hint="With D = sigmoid(l) the derivatives are -(1 - D) and -D.",
            slips=(Slip(lambda: 100.0, "The ratio is (1 - D) / D, not 1 / D."),),
        ),
    ),
)
