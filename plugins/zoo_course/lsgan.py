"""Least-squares GANs: the optimal critic, the divergence, and a gradient that grows with the distance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_course.folder import Folder, make_figure
from zoo_course.gan import generator_gradients
from zoo_course.kl import normal
from zoo_course.topic import Exercise, Slip, Topic
from zoo_gan.losses import least_squares

LINE = torch.linspace(-8, 8, 1601, dtype=torch.float64)


def optimal_critic(p: Tensor, q: Tensor, a: float, b: float) -> Tensor:
    """Return D*(x) = (b p + a q) / (p + q) of densities, like them."""
    return (b * p + a * q) / (p + q)


def generator_value(p: Tensor, q: Tensor, a: float, b: float, c: float) -> Tensor:
    """Return (p + q) (D* - c)^2 / 2 pointwise: the generator's objective with the term of the data."""
    return (p + q) * (optimal_critic(p, q, a, b) - c) ** 2 / 2


def pearson(p: Tensor, q: Tensor) -> Tensor:
    """Return (p - q)^2 / (p + q) pointwise; its integral is the Pearson divergence of p + q from 2 q."""
    return (p - q) ** 2 / (p + q)


def least_squares_gradient(scores: Tensor, c: float = 1.0) -> Tensor:
    """Return the derivative of the generator's loss with respect to each score: D - c."""
    at = scores.clone().requires_grad_()
    loss = least_squares(c=c).generator
    torch.stack([loss(one[None]) for one in at.unbind()]).sum().backward()
    assert at.grad is not None
    return at.grad


def _figure(out: Folder) -> Sequence[str]:
    scores = torch.linspace(-6, 6, 121, dtype=torch.float64)
    minimax, other = generator_gradients(scores)
    squares = least_squares_gradient(scores)
    shifts = torch.linspace(0, 6, 61).tolist()
    usual, chosen, divergence = [], [], []
    for shift in shifts:
        p, q = (normal(m, 0.5)(LINE).exp() + 1e-300 for m in (-shift / 2, shift / 2))
        usual.append(float(torch.trapezoid(generator_value(p, q, 0, 1, 1), LINE)))
        chosen.append(float(torch.trapezoid(generator_value(p, q, -1, 1, 0), LINE)))
        divergence.append(float(torch.trapezoid(pearson(p, q), LINE)))
    figure = make_figure(10.5, 3.8)
    left, right = figure.subplots(1, 2)
    left.plot(scores, minimax, label="log(1 - D), D = sigmoid(score)")
    left.plot(scores, other, label="-log D")
    left.plot(scores, squares, label="(D - 1)² / 2, D = score")
    left.set(xlabel="score of a generated sample", title="gradient of the generator's loss", ylim=(-7, 6))
    left.legend(fontsize=8)
    right.plot(shifts, [2 * value for value in chosen], label="2 C, a = -1, b = 1, c = 0")
    right.plot(shifts, divergence, linestyle="--", color="black", label="integral of (p - p_g)² / (p + p_g)")
    right.plot(shifts, [2 * value for value in usual], label="2 C, a = 0, b = c = 1")
    right.set(xlabel="distance of two normals, std 0.5", title="value of the game at the optimal critic")
    right.legend(fontsize=8)
    out.plot(figure, "squares")
    out.table({"distance": shifts, "pearson": divergence, "chosen": chosen, "usual": usual}, "squares")
    return [
        f"equal distributions: 2 C = {2 * chosen[0]:.4f} (a=-1, b=1, c=0) and {2 * usual[0]:.4f} (a=0, "
        f"b=c=1)",
        f"far apart: 2 C = {2 * chosen[-1]:.4f} and {2 * usual[-1]:.4f}; Pearson {divergence[-1]:.4f}",
    ]


TOPIC = Topic(
    question="what changes if the discriminator is a regression instead of a classifier?",
    look=(
        "The gradient of the squares is 0 only at the target 1. That of -log D vanishes for every "
        "sample with a high score.",
        "With a = -1, b = 1, c = 0 the value is a divergence: 0 for equal distributions.",
        "With the usual targets 2 C is 1/2 for equal distributions: it is not that divergence.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="The targets are a = 0 for generated and b = 1 for real samples, and at some x "
            "the densities are "
            "p(x) = 0.3 and p_g(x) = 0.1. What is the optimal critic at x?",
            answer=lambda: float(
                optimal_critic(torch.tensor(0.3).double(), torch.tensor(0.1).double(), 0, 1)
            ),
            tolerance=1e-3,
            hint="Minimize p (D - b)^2 + p_g (D - a)^2 over D.",
            slips=(
                Slip(lambda: 0.25, "Real samples have the target 1."),
                Slip(lambda: 3.0, "This is the ratio p / p_g."),
            ),
        ),
    ),
)
