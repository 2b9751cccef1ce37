"""Predictor-corrector sampling: Langevin steps that repair the errors of a coarse reverse SDE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from zoo_core.data.toy import Mixture
from zoo_core.diffusion.grids import geometric
from zoo_core.diffusion.langevin import predictor_corrector
from zoo_core.diffusion.sdes import VE
from zoo_core.seeds import Seeds
from zoo_course.ddim import spread_around_modes
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import OracleDenoiser, toy
from zoo_course.topic import Exercise, Slip, Topic

COUNTS = (5, 8, 12, 20, 40, 80)
CORRECTORS = (0, 1, 2)
POINTS = 1000
SHOWN = 6
"""Noise levels of the samples that are drawn."""


def run(
    density: Mixture, levels: int, correctors: int, snr: float = 0.3, n: int = POINTS, seed: int = 0
) -> Tensor:
    """Return n samples (n, D) of the sampler with this many noise levels and corrector steps at each."""
    denoise = OracleDenoiser(density, VE(0.02, 5.0))
    start = Seeds(seed, range(n)).randn((density.means.shape[1],)).double() * denoise.prior_std
    return predictor_corrector(
        denoise,
        start,
        geometric(denoise, levels),
        noise=Seeds(seed + 1, range(n)),
        corrector_steps=correctors,
        snr=snr,
    )


def evaluations(levels: int, correctors: int) -> int:
    """Return the number of score evaluations; the last level has no corrector."""
    return levels + (levels - 1) * correctors


def gaussian_variance(levels: Tensor, correctors: int, snr: float, data_var: float) -> Tensor:
    """Return the variance of a sampler's state at each level for data N(0, data_var), (levels,).

    A predictor step from t to s multiplies x by 1 - (t^2 - s^2) / (v + t^2) and adds t^2 - s^2; a corrector
    step multiplies x by 1 - a / (v + s^2) and adds 2 a, where a = 2 snr^2 s^2. v is data_var.

    Args:
        levels: descending, above 0.
    """
    var = data_var + levels[0] ** 2
    found = [var]
    for t, s in pairwise(levels):
        var = (1 - (t**2 - s**2) / (data_var + t**2)) ** 2 * var + t**2 - s**2
        a = 2 * snr**2 * s**2
        for _ in range(correctors):
            var = (1 - a / (data_var + s**2)) ** 2 * var + 2 * a
        found.append(var)
    return torch.stack(found)


def excess(levels: int, correctors: int, snr: float = 0.3) -> float:
    """Return the relative excess of the variance at the last level above 0, for data N(0, 1)."""
    sigmas = torch.logspace(math.log10(5.0), math.log10(0.02), levels, dtype=torch.float64)
    return float(gaussian_variance(sigmas, correctors, snr, 1.0)[-1] / (1 + sigmas[-1] ** 2)) - 1


def _figure(out: Folder) -> Sequence[str]:
    density = toy("ring")
    figure = make_figure(13, 4)
    axes = figure.subplots(1, 3)
    shown = {}
    for place, correctors in enumerate((0, 2)):
        x = shown[correctors] = run(density, SHOWN, correctors)
        axes[place].scatter(x[:, 0], x[:, 1], s=4)
        axes[place].scatter(density.means[:, 0], density.means[:, 1], marker="+", color="black")
        axes[place].set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
        axes[place].set_title(f"{SHOWN} levels, {correctors} corrector steps")
    rows = {correctors: [excess(n, correctors) for n in COUNTS] for correctors in CORRECTORS}
    for correctors, values in rows.items():
        nfe = [evaluations(n, correctors) for n in COUNTS]
        axes[2].plot(nfe, values, marker="o", label=f"{correctors} corrector steps")
    axes[2].set(xscale="log", yscale="log", xlabel="NFE", title="excess of the variance, data N(0, 1)")
    axes[2].legend(fontsize=8)
    out.plot(figure, "corrected")
    out.arrays("samples", **{f"correctors_{c}": x for c, x in shown.items()})
    out.table({"levels": COUNTS, **{f"correctors_{c}": v for c, v in rows.items()}}, "excess")
    spread = {c: spread_around_modes(x, density) for c, x in shown.items()}
    return [
        *(f"{c} corrector steps: excess {v[2]:.3f} with {COUNTS[2]} levels" for c, v in rows.items()),
        *(f"ring, {SHOWN} levels, {c} corrector steps: spread {v:.2f}" for c, v in spread.items()),
    ]


TOPIC = Topic(
    question="can errors of a coarse sampler be repaired on the way?",
    look=(
        "With few levels the modes are too wide; corrector steps narrow them.",
        "At the same NFE more levels are better at first; from about 60 evaluations on, corrector steps are.",
        "A corrector does not change the noise level: it brings points nearer to the density of that level.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="A sampler with 12 noise levels and 2 corrector steps at each level that it "
            "reaches, except at sigma = 0. "
            "How many score evaluations does a sample take?",
            answer=lambda: evaluations(12, 2),
            tolerance=0.5,
            hint="12 predictor steps; 11 of them are followed by 2 corrector steps.",
            slips=(Slip(lambda: 36, "The last step reaches sigma = 0, where there is nothing to correct."),),
        ),
        Exercise(
            question="Data N(0, 1). One Euler-Maruyama step of the reverse SDE in the variable x0 + "
            "sigma eps goes from sigma = 2 to "
            "sigma = 1, from the exact variance 5. Which variance does it reach (2 would be right)?",
            answer=lambda: float(gaussian_variance(torch.tensor([2.0, 1.0]).double(), 0, 0.3, 1.0)[-1]),
            tolerance=5e-3,
            hint="x <- x + 3 score(x) + sqrt(3) z, and score(x) = -x / 5.",
            slips=(
                Slip(lambda: 0.8, "The added noise has the variance t^2 - s^2 = 3."),
                Slip(lambda: 2.0, "This is the exact one."),
            ),
        ),
    ),
)
