"""Image translation: what an L1 term asks for, and why cycle consistency does not fix the content."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from zoo_course.architectures import receptive_field
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import normals
from zoo_course.topic import Exercise, Slip, Topic

CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
SHIFT = torch.tensor([0.3, 0.15], dtype=torch.float64)
"""From domain A to domain B."""
TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
"""A quarter turn: it moves each corner of the square to the next."""
Map = Callable[[Tensor], Tensor]

MAPS: dict[str, tuple[Map, Map]] = {
    "right content": (lambda a: a + SHIFT, lambda b: b - SHIFT),
    "content exchanged": (lambda a: a @ TURN.T + SHIFT, lambda b: (b - SHIFT) @ TURN),
}
"""Translators A -> B and back."""


def best_constant(values: Tensor, weights: Tensor, power: int) -> float:
    """Return the constant c that minimizes the mean of |y - c|^power over weighted values, by search."""
    c = torch.linspace(float(values.min()) - 0.5, float(values.max()) + 0.5, 20_001, dtype=torch.float64)
    loss = (weights[:, None] * (values[:, None] - c).abs() ** power).sum(0)
    return float(c[loss.argmin()])


def cycle_loss(there: Map, back: Map, a: Tensor, b: Tensor) -> float:
    """Return E|back(there(a)) - a| + E|there(back(b)) - b|, mean over coordinates."""
    return float((back(there(a)) - a).abs().mean() + (there(back(b)) - b).abs().mean())


def identity_loss(there: Map, b: Tensor) -> float:
    """Return E|there(b) - b|, mean over coordinates."""
    return float((there(b) - b).abs().mean())


def domains(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return n points of domain A, their contents (corners) 0 to 3, and n unpaired points of domain B."""
    content = torch.arange(n) % 4
    a = CORNERS[content] + 0.15 * normals(n, 2, seed=seed)
    return a, content, CORNERS[content] + 0.15 * normals(n, 2, seed=seed + 1) + SHIFT


def patch_side(layers: int) -> int:
    """Return the receptive field of a PatchGAN: `layers` convolutions of stride 2 and two of 1, kernel 4."""
    return receptive_field([(4, 2)] * layers + [(4, 1)] * 2)


def _figure(out: Folder) -> Sequence[str]:
    values = torch.tensor([-0.8, 0.6], dtype=torch.float64)
    weights = torch.tensor([0.6, 0.4], dtype=torch.float64)
    c = torch.linspace(-1.2, 1.0, 300, dtype=torch.float64)
    figure = make_figure(12, 4)
    panels = figure.subplots(1, 3)
    for power, name in ((1, "L1"), (2, "L2")):
        loss = (weights[:, None] * (values[:, None] - c).abs() ** power).sum(0)
        best = best_constant(values, weights, power)
        panels[0].plot(c, loss, label=f"{name}: best answer {best:.2f}")
    panels[0].vlines(values, 0, 2 * weights, color="black", linewidth=3, label="targets of one source")
    panels[0].set(title="two targets, probabilities 0.6 and 0.4", xlabel="answer")
    panels[0].legend(fontsize=8)
    a, content, b = domains(400, seed=0)
    lines = []
    for axes, (name, (there, back)) in zip(panels[1:], MAPS.items(), strict=True):
        made = there(a)
        axes.scatter(a[:, 0], a[:, 1], c=content, cmap="tab10", vmax=9, s=6, marker="x", alpha=0.5)
        axes.scatter(made[:, 0], made[:, 1], c=content, cmap="tab10", vmax=9, s=10)
        cycle, same = cycle_loss(there, back, a, b), identity_loss(there, b)
        axes.set(title=f"{name}\ncycle {cycle:.2f}, identity {same:.2f}", aspect="equal")
        lines.append(f"{name}: cycle loss {cycle:.3f}, identity loss {same:.3f}")
    out.plot(figure, "maps")
    out.arrays("maps", a=a, content=content, b=b)
    return [*lines, f"receptive field of a PatchGAN with 3 strided layers: {patch_side(3)} pixels"]


TOPIC = Topic(
    question="what must a translator from one kind of image to another be told besides looking realistic?",
    look=(
        "L1 asks for the conditional median, one of the targets; L2 for the mean, which is none of "
        "them: blur.",
        "Crosses are sources, dots their translations, colors the contents. Both maps fill domain B in "
        "the same way.",
        "Both maps have cycle loss 0. Only the identity loss, or pairs, tells that the contents were "
        "exchanged.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="The target of a source pixel is 0 with probability 0.6 and 1 with probability "
            "0.4. Which constant "
            "minimizes the expected absolute error?",
            answer=lambda: round(
                best_constant(torch.tensor([0.0, 1.0]).double(), torch.tensor([0.6, 0.4]).double(), 1), 6
            ),
            tolerance=1e-3,
            hint="The derivative of E|y - c| is P(y < c) - P(y > c).",
            slips=(Slip(lambda: 0.4, "This is the mean; it minimizes the squared error."),),
        ),
        Exercise(
            question="A PatchGAN has two convolutions of stride 2 and two of stride 1, all with kernel "
            "4. How many pixels "
            "wide is the receptive field of a score?",
            answer=lambda: patch_side(2),
            tolerance=0.1,
            hint="1 + 3 (1 + 2 + 4 + 4).",
            slips=(
                Slip(lambda: patch_side(3), "This is for three convolutions of stride 2, as in the paper."),
            ),
        ),
    ),
)
