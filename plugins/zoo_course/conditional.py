"""Conditional GANs: what a discriminator sees with and without the condition, and with mismatched pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.viz.style import COLORS
from zoo_course.folder import Folder, make_figure
from zoo_course.gan import jensen_shannon
from zoo_course.kl import normal
from zoo_course.topic import Exercise, Slip, Topic

LINE = torch.linspace(-5, 5, 1001, dtype=torch.float64)
CENTERS, WIDTH = (-1.5, 1.5), 0.6
"""Of p(x | y) for the two classes."""


def class_densities() -> Tensor:
    """Return p(x | y) on LINE, (2, 1001)."""
    return torch.stack([normal(center, WIDTH)(LINE).exp() for center in CENTERS])


def joint_divergence(p: Tensor, q: Tensor) -> float:
    """Return JSD of two joint densities p(x, y) on LINE, (classes, points) each, in nats."""
    middle = (p + q) / 2
    terms = torch.special.xlogy(p, p / middle) + torch.special.xlogy(q, q / middle)
    return float(torch.trapezoid(terms.nan_to_num(0.0), LINE).sum()) / 2


def matching_optimum(right: Tensor, wrong: Tensor, fake: Tensor) -> Tensor:
    """Return the optimal D(x, t) of GAN-CLS: right / (right + wrong / 2 + fake / 2), densities of pairs."""
    return right / (right + wrong / 2 + fake / 2)


def labeled_divergence(accuracy: float) -> float:
    """Return JSD of (image, label) pairs in nats, for perfect images and labels of this accuracy.

    The classes have disjoint supports, so a pair is either right or wrong.
    """
    return jensen_shannon((1.0, 0.0), (accuracy, 1 - accuracy))


def _figure(out: Folder) -> Sequence[str]:
    data = class_densities() / 2
    swapped = data.flip(0)
    figure = make_figure(12, 3.8)
    left, middle, right = figure.subplots(1, 3)
    for y, color in enumerate((COLORS[0], COLORS[1])):
        left.plot(LINE, 2 * data[y], color=color, label=f"p(x | y = {y})")
        left.plot(LINE, 2 * swapped[y], color=color, linestyle="--", label=f"generated for y = {y}")
        middle.plot(LINE, data[y] / (data[y] + swapped[y]), color=color, label=f"D*(x, y = {y})")
    middle.plot(LINE, data.sum(0) / (data.sum(0) + swapped.sum(0)), color="black", label="D*(x), without y")
    left.set(title="a generator that swaps the classes", xlabel="x", ylim=(0, 1))
    middle.set(title="the optimal discriminators", xlabel="x", ylim=(-0.05, 1.4))
    left.legend(fontsize=8, ncols=2)
    middle.legend(fontsize=8)
    accuracies = torch.linspace(0, 1, 101).tolist()
    right.plot(accuracies, [labeled_divergence(a) for a in accuracies])
    right.set(title="JSD of pairs, perfect images", xlabel="probability that the label is right")
    out.plot(figure, "labels")
    out.table({"accuracy": accuracies, "jsd": [labeled_divergence(a) for a in accuracies]}, "labels")
    seen = float((data / (data + data))[0, 350]), float(matching_optimum(data, swapped, data)[0, 350])
    return [
        f"swapped classes: JSD of x "
        f"{joint_divergence(data.sum(0, keepdim=True), swapped.sum(0, keepdim=True)):.4f}, "
        f"of (x, y) {joint_divergence(data, swapped):.4f}, log 2 = {math.log(2):.4f}",
        f"perfect generator at a real pair: D* = {seen[0]:.3f} in the plain game, {seen[1]:.3f} in GAN-CLS",
    ]


TOPIC = Topic(
    question="how does a GAN learn to generate what it is asked for?",
    look=(
        "Swapped classes have the right marginal distribution: a discriminator without y answers 1/2 "
        "everywhere.",
        "With y it separates them: D*(x, y) is near 1 on one class and near 0 on the other.",
        "The divergence of pairs falls to 0 only if the label is always right.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="GAN-CLS with a perfect generator, and mismatched pairs that never look like "
            "matching ones. What is "
            "the optimal D at a matching pair?",
            answer=lambda: float(matching_optimum(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(1.0))),
            tolerance=5e-3,
            hint="The objective is log D(right) + 1/2 log(1 - D(wrong)) + 1/2 log(1 - D(fake)): "
            "maximize it at one pair.",
            slips=(Slip(lambda: 0.5, "Generated pairs have the weight 1/2, so this is not the plain game."),),
        ),
        Exercise(
            question="A generator makes perfect images of classes with disjoint supports, but with "
            "probability 1/4 of the "
            "wrong class. What is the JSD of the pairs (image, label), in nats?",
            answer=lambda: labeled_divergence(0.75),
            tolerance=1e-3,
            hint="Pairs are right or wrong: compare (1, 0) with (3/4, 1/4).",
            slips=(
                Slip(
                    lambda: 2 * labeled_divergence(0.75),
                    "The two divergences of the JSD have the weight 1/2.",
                ),
            ),
        ),
    ),
)
