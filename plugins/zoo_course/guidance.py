"""Guidance: a sweep of the scale on a mixture whose conditional and unconditional scores are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.toy import Mixture
from zoo_core.diffusion.grids import karras
from zoo_core.diffusion.guidance import ClassifierFree
from zoo_core.diffusion.samplers import heun
from zoo_core.diffusion.sdes import VE
from zoo_core.seeds import Seeds
from zoo_core.types import Cond
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import OracleDenoiser
from zoo_course.topic import Exercise, Slip, Topic

STD = 0.5
MEANS = torch.tensor([[-1.0, 0.6], [-1.0, -0.6], [0.6, 0.9], [1.2, 0.0], [0.6, -0.9]], dtype=torch.float64)
CLASSES = torch.tensor([0, 0, 1, 1, 1])
"""Of each component: two of class 0 at the left, three of class 1 at the right, all of one weight."""
SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
POINTS = 500


def mixture(label: int | None) -> Mixture:
    """Return p(x | label), or p(x) for None."""
    means = MEANS if label is None else MEANS[CLASSES.eq(label)]
    return Mixture(means, torch.full((len(means),), 1 / len(means), dtype=torch.float64), STD)


class ConditionalOracle:
    """The exact denoiser of p(x | label), and of p(x) for the null label 2."""

    def __init__(self) -> None:
        self.denoisers = [OracleDenoiser(mixture(label), VE(0.01, 20.0)) for label in (0, 1, None)]
        one = self.denoisers[0]
        self.space, self.levels, self.alpha = one.space, one.levels, one.alpha
        self.sigma_min, self.sigma_max, self.prior_std = one.sigma_min, one.sigma_max, one.prior_std

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        """Return E[x0 | x, label], each row by its own label."""
        assert cond is not None
        assert cond.label is not None
        found = torch.empty_like(x)
        for label in cond.label.unique().tolist():
            rows = cond.label == label
            found[rows] = self.denoisers[label](x[rows], sigma if sigma.ndim == 0 else sigma[rows])
        return found


def class_probability(x: Tensor, label: int) -> Tensor:
    """Return p(label | x), (n,)."""
    joint = torch.stack([mixture(c).log_prob(x) + CLASSES.eq(c).double().mean().log() for c in (0, 1)], 1)
    return joint.softmax(1)[:, label]


def guided(scale: float, n: int = POINTS, label: int = 1, steps: int = 60, seed: int = 0) -> Tensor:
    """Return n samples (n, 2) with classifier-free guidance of this scale; 1 is the conditional model."""
    denoise: Any = ConditionalOracle()
    cond = Cond(label=torch.full((n,), label))
    start = Seeds(seed, range(n)).randn((2,)).double() * denoise.prior_std
    model: Any = ClassifierFree(denoise, cond, 2, scale)
    return heun(model, start, karras(denoise, steps), noise=Seeds(seed + 1, range(n)))


def extrapolated(conditional: float, unconditional: float, scale: float) -> float:
    """Return scale * conditional + (1 - scale) * unconditional."""
    return scale * conditional + (1 - scale) * unconditional


def tilted(x: Tensor, scale: float, label: int = 1) -> Tensor:
    """Return the log of p(x | label)^scale p(x)^(1 - scale) up to a constant, (n,)."""
    return scale * mixture(label).log_prob(x) + (1 - scale) * mixture(None).log_prob(x)


def _figure(out: Folder) -> Sequence[str]:
    samples = {scale: guided(scale) for scale in SCALES}
    line = torch.linspace(-3.2, 3.2, 161, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    figure = make_figure(13, 3.6)
    axes = figure.subplots(1, 4)
    for place, scale in enumerate((0.0, 1.0, 3.0)):
        for label, cmap in ((0, "Blues"), (1, "Oranges")):
            height = mixture(label).log_prob(points).exp().reshape(161, 161).T
            axes[place].contour(line, line, height, levels=5, cmap=cmap, linewidths=0.8)
        axes[place].scatter(samples[scale][:, 0], samples[scale][:, 1], s=4, color="black")
        axes[place].set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", title=f"scale {scale:g}")
    right = [float(class_probability(x, 1).mean()) for x in samples.values()]
    spread = [float(x.var(0).sum().sqrt()) for x in samples.values()]
    axes[3].plot(SCALES, right, marker="o", label="mean p(class | x)")
    axes[3].plot(SCALES, spread, marker="o", label="standard deviation")
    axes[3].set(xlabel="scale", title="sweep")
    axes[3].legend(fontsize=8)
    out.plot(figure, "sweep")
    out.table({"scale": SCALES, "class_probability": right, "std": spread}, "sweep")
    out.arrays("samples", **{f"scale_{scale:g}": x for scale, x in samples.items()})
    weight = torch.softmax(tilted(points, 3.0), 0)
    mean = (weight[:, None] * points).sum(0)
    return [
        *(
            f"scale {s:g}: mean p(class | x) {p:.3f}, standard deviation {d:.3f}"
            for s, p, d in zip(SCALES, right, spread, strict=True)
        ),
        f"scale 3: mean of the samples {samples[3.0].mean(0).numpy().round(2)}, of the density p(x | "
        f"c)^3 p(x)^-2 "
        f"{mean.numpy().round(2)}",
    ]


TOPIC = Topic(
    question="how can samples be made to fit their condition better, and what does it cost?",
    look=(
        "Scale 0 ignores the condition and 1 is the conditional model.",
        "Scale 3 pushes samples away from the other class, to the far side of their own.",
        "The sweep: the probability of the class rises, the standard deviation falls.",
        "Guided samples are not distributed like p(x | c)^s p(x)^(1-s): their means differ.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="At some x the conditional denoiser says 0.8 and the unconditional one 0.5. What "
            "does the guided denoiser say "
            "at the scale 3?",
            answer=lambda: extrapolated(0.8, 0.5, 3.0),
            tolerance=5e-3,
            hint="3 * 0.8 + (1 - 3) * 0.5.",
            slips=(
                Slip(
                    lambda: extrapolated(0.8, 0.5, 4.0),
                    "This is w = 3 of (1 + w) c - w u; the scale is 1 + w.",
                ),
                Slip(lambda: extrapolated(0.8, 0.5, 2.0), "This is w = 1; the scale 3 is w = 2."),
            ),
        ),
    ),
)
