"""Score matching: explicit, implicit, sliced and denoising objectives of a linear score on normal data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.viz.style import COLORS
from zoo_course.folder import Folder, make_figure
from zoo_course.langevin import CLOSE
from zoo_course.oracle import normals, sample
from zoo_course.topic import Exercise, Slip, Topic

DATA_VAR = 1.0


def explicit(gain: Tensor | float, var: float) -> Tensor | float:
    """Return E |s(x) - grad log p(x)|^2 / 2 for s(x) = -gain x, x ~ N(0, var): (gain - 1 / var)^2 var / 2."""
    return (gain - 1 / var) ** 2 * var / 2


def implicit(gain: Tensor | float, var: float) -> Tensor | float:
    """Return E[|s(x)|^2 / 2 + div s(x)] for the same score and data: gain^2 var / 2 - gain."""
    return gain**2 * var / 2 - gain


def denoising(gain: Tensor | float, var: float, sigma: float) -> Tensor | float:
    """Return E |s(x + sigma eps) + eps / sigma|^2 / 2 for the same score, x ~ N(0, var).

    It is gain^2 (var + sigma^2) / 2 - gain + 1 / (2 sigma^2).
    """
    return gain**2 * (var + sigma**2) / 2 - gain + 1 / (2 * sigma**2)


def best_gain(var: float, sigma: float) -> float:
    """Return the gain at which the denoising objective is least: 1 / (var + sigma^2)."""
    return 1 / (var + sigma**2)


def denoising_variance(sigma: float) -> float:
    """Return the variance of the target -eps / sigma of one dimension, 1 / sigma^2."""
    return 1 / sigma**2


GRADIENTS = ("denoising", "implicit", "sliced", "sliced, first term estimated")
"""Objectives whose gradients are compared."""


def gradient_variance(objective: str, var: float, sigma: float, dims: int) -> float:
    """Return the variance of the derivative by g of one example's objective, at the minimum.

    Args:
        objective: of GRADIENTS.
        var: of the data in each of their values; the score is s(x) = -g x.
        sigma: noise level of all objectives.
        dims: number of values.
    """
    return {
        "denoising": dims * var / sigma**2,
        "implicit": 2.0 * dims,
        "sliced": 2.0 * dims,
        "sliced, first term estimated": 2.0 * dims**2,
    }[objective]


def gradients(objective: str, x: Tensor, eps: Tensor, v: Tensor, sigma: float, var: float) -> Tensor:
    """Return the derivative by g of each example's objective at the minimum, (n,).

    Args:
        objective: of GRADIENTS.
        x, eps: data and standard normal noise, (n, D).
        v: random signs, (n, D).
        sigma: noise level.
        var: of the data in each value.
    """
    noisy, gain = x + sigma * eps, best_gain(var, sigma)
    square, slope = noisy.square().sum(1), torch.tensor(x.shape[1], dtype=x.dtype)
    return {
        "denoising": -(noisy * (eps / sigma - gain * noisy)).sum(1),
        "implicit": gain * square - slope,
        "sliced": gain * square - v.square().sum(1),
        "sliced, first term estimated": gain * (noisy * v).sum(1).square() - v.square().sum(1),
    }[objective]


def _gradient_figure(out: Folder, dims: int = 4) -> None:
    """Plot the variance of the gradients against sigma: curves, and points of 4,000 examples each."""
    figure = make_figure(6, 4)
    axes = figure.subplots()
    sigmas = torch.logspace(-1.5, 0.7, 12, dtype=torch.float64)
    x, eps = (normals(4000, dims, seed=seed) for seed in (0, 1))
    v = normals(4000, dims, seed=2).sign()
    table: dict[str, list[float]] = {"sigma": sigmas.tolist()}
    for name in GRADIENTS:
        exact = [gradient_variance(name, DATA_VAR, s, dims) for s in sigmas.tolist()]
        found = [float(gradients(name, x, eps, v, s, DATA_VAR).var()) for s in sigmas.tolist()]
        (line,) = axes.plot(sigmas, exact, label=name, linestyle=":" if name == "sliced" else "-")
        axes.plot(sigmas, found, "o", color=line.get_color(), markersize=4)
        table[name.replace(", ", "_").replace(" ", "_")] = found
    axes.set(xscale="log", yscale="log", xlabel="sigma", title=f"variance of the gradient, D = {dims}")
    axes.legend(fontsize=8)
    out.plot(figure, "gradients")
    out.table(table, "gradients")


def conditional_mean(x: Tensor, sigma: float, data: Tensor) -> Tensor:
    """Return E[-(x~ - x) / sigma^2 | x~] at points x~ (n, D) for data points (N, D)."""
    weight = torch.softmax(-torch.cdist(x, data).square() / (2 * sigma**2), 1)
    return (weight @ data - x) / sigma**2


def _figure(out: Folder) -> Sequence[str]:
    sigma = 0.8
    gains = torch.linspace(-0.2, 1.8, 101, dtype=torch.float64)
    figure = make_figure(12, 3.9)
    left, middle, right = figure.subplots(1, 3)
    curves = {
        "explicit, noised data": explicit(gains, DATA_VAR + sigma**2),
        "denoising": denoising(gains, DATA_VAR, sigma),
        "explicit, clean data": explicit(gains, DATA_VAR),
    }
    for name, values in curves.items():
        assert isinstance(values, Tensor)
        (line,) = left.plot(gains, values, label=name)
        left.axvline(float(gains[values.argmin()]), color=line.get_color(), linestyle=":", linewidth=1)
    left.set(xlabel="gain of s(x) = -gain x", title=f"objectives at sigma = {sigma}", ylim=(0, 2.5))
    left.legend(fontsize=8)
    sigmas = torch.logspace(-2, 1, 60).tolist()
    middle.plot(sigmas, [denoising_variance(s) for s in sigmas], label="target -eps / sigma")
    middle.plot(sigmas, [1 / (DATA_VAR + s**2) for s in sigmas], label="score of the noised data")
    middle.set(xscale="log", yscale="log", xlabel="sigma", title="variance of target and of optimum")
    middle.legend(fontsize=8)
    data = sample(CLOSE, 2000, seed=0)
    coarse = torch.linspace(-2.4, 2.4, 15, dtype=torch.float64)
    points = torch.cartesian_prod(coarse, coarse)
    learned, exact = conditional_mean(points, 0.3, data), CLOSE.smoothed(0.3).score(points)
    right.quiver(
        points[:, 0], points[:, 1], exact[:, 0], exact[:, 1], color=COLORS[1], width=0.006, label="exact"
    )
    right.quiver(
        points[:, 0], points[:, 1], learned[:, 0], learned[:, 1], width=0.003, label="from 2,000 points"
    )
    right.set(aspect="equal", title="optimum of the regression, sigma = 0.3")
    right.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)
    out.plot(figure, "objectives")
    out.table(
        {
            "gain": gains.tolist(),
            **{
                name.replace(", ", "_").replace(" ", "_"): v.tolist()
                for name, v in curves.items()
                if isinstance(v, Tensor)
            },
        },
        "objectives",
    )
    _gradient_figure(out)
    near = CLOSE.smoothed(0.3).log_prob(points) > -3.5
    error = float((learned - exact)[near].square().sum() / exact[near].square().sum())
    return [
        f"minimum of the denoising objective: gain {best_gain(DATA_VAR, sigma):.4f}; score of clean "
        f"data: {1 / DATA_VAR:.4f}",
        f"relative squared error of the field from 2,000 points, where there are data: {error:.4f}",
    ]


TOPIC = Topic(
    question="how can a score be learned if the density of the data is unknown?",
    look=(
        "The denoising objective and the explicit one on noised data differ by a constant: same minimum.",
        "The minimum for clean data is elsewhere: the regression learns the score of the noised density.",
        "At small sigma the target is almost pure noise: its variance is much larger than that of the "
        "optimum.",
        "Gradients: denoising is the noisiest at small sigma, and the least noisy at large sigma.",
        "From data points alone the field is right where data are, and wrong far away from them.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="Data N(0, 2²), noise level sigma = 1. The score s(x) = -g x is trained by "
            "denoising. At which g is the "
            "loss least?",
            answer=lambda: best_gain(4.0, 1.0),
            tolerance=1e-3,
            hint="The optimum is the score of the noised data, whose variance is 4 + 1.",
            slips=(
                Slip(lambda: 0.25, "This is the score of the clean data (slide 117)."),
                Slip(
                    lambda: 1 / 3,
                    "The standard deviations do not add up; the variances do, and 2 is a standard deviation.",
                ),
            ),
        ),
    ),
)
