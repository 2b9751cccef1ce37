"""Importance sampling of the evidence p(x) of a linear Gaussian model, whose evidence is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.viz.style import COLORS
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import normals
from zoo_course.topic import Exercise, Slip, Topic

NOISE, X = 0.2, 2.0
"""Of the model z ~ N(0, 1), x | z ~ N(z, NOISE^2), and the observed value."""
POSTERIOR_VAR = NOISE**2 / (1 + NOISE**2)
POSTERIOR_MEAN = X / (1 + NOISE**2)
LOG_EVIDENCE = -0.5 * X**2 / (1 + NOISE**2) - 0.5 * math.log(2 * math.pi * (1 + NOISE**2))
COUNTS = (1, 3, 10, 30, 100, 300, 1000)
REPEATS = 2000


def _log_normal(x: Tensor, mean: Tensor | float, std: float) -> Tensor:
    return -0.5 * ((x - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))


def log_weights(eps: Tensor, mean: float, std: float) -> Tensor:
    """Return log p(x | z) p(z) / q(z) at z = mean + std eps, for the proposal q = N(mean, std^2)."""
    z = mean + std * eps
    return _log_normal(torch.full_like(z, X), z, NOISE) + _log_normal(z, 0.0, 1.0) - _log_normal(z, mean, std)


def relative_variance(ratio: float) -> float:
    """Return Var(w) / p(x)^2 for the proposal N(posterior mean, (ratio posterior std)^2).

    It is ratio^2 / sqrt(2 ratio^2 - 1) - 1, and infinite where ratio^2 <= 1/2.
    """
    return ratio**2 / math.sqrt(2 * ratio**2 - 1) - 1 if ratio**2 > 0.5 else math.inf


def prior_relative_variance() -> float:
    """Return Var(w) / p(x)^2 where the proposal is the prior: w = p(x | z)."""
    var = 1 + NOISE**2 / 2
    log_square = (
        -0.5 * X**2 / var - 0.5 * math.log(2 * math.pi * var) - math.log(2 * NOISE * math.sqrt(math.pi))
    )
    return math.exp(log_square - 2 * LOG_EVIDENCE) - 1


def bounds(mean: float, std: float, seed: int) -> list[float]:
    """Return E[log 1/K sum w] for each K of COUNTS, averaged over REPEATS sets of samples."""
    weights = log_weights(normals(REPEATS, COUNTS[-1], seed=seed), mean, std)
    return [float((weights[:, :k].logsumexp(1) - math.log(k)).mean()) for k in COUNTS]


def _figure(out: Folder) -> Sequence[str]:
    wide = 2 * math.sqrt(POSTERIOR_VAR)
    proposals = {
        "prior": (0.0, 1.0),
        "posterior, twice as wide": (POSTERIOR_MEAN, wide),
        "posterior": (POSTERIOR_MEAN, math.sqrt(POSTERIOR_VAR)),
    }
    found = {name: bounds(*q, seed=1) for name, q in proposals.items()}
    figure = make_figure(10.5, 4)
    left, right = figure.subplots(1, 2)
    for name, values in found.items():
        left.plot(COUNTS, values, marker="o", label=f"proposal: {name}")
    left.axhline(LOG_EVIDENCE, color="black", linestyle="--", label="log p(x)")
    left.set(xscale="log", xlabel="K samples", ylabel="nats", title="mean of log(1/K sum of weights)")
    left.set_ylim(LOG_EVIDENCE - 4, LOG_EVIDENCE + 0.4)
    left.legend(fontsize=8, loc="lower right")
    ratios = torch.linspace(0.72, 6, 200).tolist()
    right.plot(ratios, [relative_variance(r) for r in ratios], label="proposal around the posterior mean")
    right.axhline(prior_relative_variance(), color=COLORS[1], linestyle=":", label="proposal: prior")
    right.axvline(math.sqrt(0.5), color="gray", linestyle="--", label="infinite to the left of this")
    right.set(xlabel="width of the proposal / width of the posterior", title="Var(w) / p(x)²", yscale="log")
    right.set_ylim(1e-3, 100)
    right.legend(fontsize=8)
    out.plot(figure, "bounds")
    out.table({"K": COUNTS, **found}, "bounds")
    return [
        f"log p(x) = {LOG_EVIDENCE:.4f} nats",
        *(
            f"{name}: {values[0]:.3f} with 1 sample, {values[-1]:.3f} with {COUNTS[-1]}"
            for name, values in found.items()
        ),
        f"Var(w) / p(x)^2 of the prior as proposal: {prior_relative_variance():.1f}",
    ]


TOPIC = Topic(
    question="how can p(x) be estimated if almost no latent of the prior explains x?",
    look=(
        "All curves are below log p(x) and rise with K: the logarithm of an unbiased estimate is a "
        "lower bound.",
        "With the posterior as proposal all weights are equal to p(x): one sample suffices.",
        "A proposal that is too narrow is worse than one that is too wide: its variance is infinite.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="The proposal has the mean of a normal posterior and twice its standard deviation. "
            "What is Var(w) / p(x)^2 of one weight?",
            answer=lambda: relative_variance(2.0),
            tolerance=5e-3,
            hint="E[w^2] / p(x)^2 is the integral of posterior^2 / proposal; complete the square.",
            slips=(
                Slip(
                    lambda: relative_variance(2.0) + 1,
                    "This is E[w^2] / p(x)^2. Subtract the square of the mean.",
                ),
                Slip(
                    lambda: relative_variance(math.sqrt(2)),
                    "This is for twice the variance, not twice the width.",
                ),
            ),
        ),
    ),
)
