"""EDM: preconditioning, noise levels and the order of the solver, on distributions with known denoisers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.toy import Mixture
from zoo_core.diffusion.grids import karras
from zoo_core.diffusion.preconditioning import preconditioning, weight
from zoo_core.diffusion.samplers import euler, heun
from zoo_core.diffusion.sdes import VE
from zoo_core.seeds import Seeds
from zoo_core.viz.style import GRAY
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import OracleDenoiser, toy
from zoo_course.probability_flow import gaussian_flow
from zoo_course.topic import Exercise, Slip, Topic

SIGMA_DATA = 0.5
COUNTS = (4, 6, 9, 13, 20, 30, 50)


def levels(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Tensor:
    """Return the noise levels of the paper, evenly spaced in sigma^(1/7), without the last 0."""
    ends: Any = SimpleNamespace(sigma_min=sigma_min, sigma_max=sigma_max)
    return karras(ends, steps)[:-1]


def evaluations(steps: int) -> int:
    """Return the NFE of Heun's method: two for each step, one for the last, which goes to 0."""
    return 2 * steps - 1


def target_of_the_network(x0: Tensor, x: Tensor, sigma: float) -> Tensor:
    """Return what F must output for D(x) to be x0: (x0 - c_skip x) / c_out."""
    c_skip, c_out, _ = preconditioning(torch.tensor(sigma, dtype=torch.float64), SIGMA_DATA)
    return (x0 - c_skip * x) / c_out


def solver_errors(sampler: Any) -> list[float]:
    """Return |end - exact end| of the flow of N(0, SIGMA_DATA^2) from 1.5 at level 3 to 0.01, for COUNTS."""
    normal = Mixture(torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), SIGMA_DATA)
    denoise = OracleDenoiser(normal, VE(0.01, 3.0))
    exact = gaussian_flow(1.5, SIGMA_DATA, 3.0, 0.01)
    found = []
    for steps in COUNTS:
        sigmas = karras(denoise, steps)
        states: list[Tensor] = []
        # The last step, to 0, is Euler's for both: what it starts from is the solution at 0.01.
        sampler(
            denoise,
            torch.tensor([[1.5]], dtype=torch.float64),
            sigmas,
            noise=Seeds(0, range(1)),
            callback=lambda step, sigma, x, x0, kept=states: kept.append(x),
        )
        found.append(abs(float(states[-1]) - exact))
    return found


def order(counts: Sequence[int], errors: Sequence[float]) -> float:
    """Return the slope of log error over log 1 / steps between the last two."""
    return math.log(errors[-2] / errors[-1]) / math.log(counts[-1] / counts[-2])


def _figure(out: Folder) -> Sequence[str]:
    sigma = torch.logspace(-3, 2, 200, dtype=torch.float64)
    c_skip, c_out, c_in = preconditioning(sigma, SIGMA_DATA)
    figure = make_figure(13, 3.8)
    axes = figure.subplots(1, 3)
    for coefficient, name in ((c_skip, "c_skip"), (c_out, "c_out"), (c_in, "c_in")):
        axes[0].plot(sigma, coefficient, label=name)
    axes[0].set(xscale="log", xlabel="sigma", title=f"preconditioning, sigma_data = {SIGMA_DATA}")
    axes[0].legend(fontsize=8)
    for steps in (10, 18):
        axes[1].plot(levels(steps), torch.full((steps,), float(steps)), "o", markersize=4)
    axes[1].hist(
        torch.exp(-1.2 + 1.2 * torch.special.ndtri((torch.arange(2000) + 0.5) / 2000)).numpy(),
        bins=torch.logspace(-3, 2, 40).numpy().tolist(), color=GRAY, alpha=0.4, weights=[0.06] * 2000,
    )  # fmt: skip
    axes[1].set(
        xscale="log", xlabel="sigma", title="levels of 10 and 18 steps; training levels (gray)", yticks=[]
    )
    errors = {name: solver_errors(sampler) for name, sampler in (("Euler", euler), ("Heun", heun))}
    for name, values in errors.items():
        nfe = [n if name == "Euler" else evaluations(n) for n in COUNTS]
        axes[2].plot(nfe, values, marker="o", label=f"{name}, order {order(COUNTS, values):.2f}")
    axes[2].set(xscale="log", yscale="log", xlabel="NFE", title="error of the flow, normal data")
    axes[2].legend(fontsize=8)
    out.plot(figure, "design")
    out.table({"steps": COUNTS, **errors}, "errors")
    out.table(
        {"sigma": sigma.tolist(), "c_skip": c_skip.tolist(), "c_out": c_out.tolist(), "c_in": c_in.tolist()},
        "preconditioning",
    )
    x0 = toy("ring").means
    return [
        *(
            f"{name}: error {values[-1]:.2e} in {COUNTS[-1]} steps, order {order(COUNTS, values):.2f}"
            for name, values in errors.items()
        ),
        f"18 steps of Heun: {evaluations(18)} NFE; levels {float(levels(18)[0]):g} to "
        f"{float(levels(18)[-1]):g}",
        f"standard deviation of the ring's coordinates: {float(x0.std(correction=0)):.3f}, lambda(1) = "
        f"{float(weight(torch.tensor(1.0), SIGMA_DATA)):g}",
    ]


TOPIC = Topic(
    question="which choices of a diffusion model are independent, and which are good?",
    look=(
        "At small sigma c_skip is 1: the network predicts noise. At large sigma it is 0: it predicts "
        "the image.",
        "Sampling levels cover five decades, in steps that shrink towards 0. Training levels (gray) "
        "are in the middle.",
        "Heun's error falls with the square of the number of steps: from about 12 evaluations on it is "
        "the smaller.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="sigma_data = 0.5 and sigma = 0.5. What is c_skip?",
            answer=lambda: float(preconditioning(torch.tensor(0.5).double(), 0.5)[0]),
            tolerance=1e-3,
            hint="sigma_data^2 / (sigma^2 + sigma_data^2).",
            slips=(Slip(lambda: 0.25, "This is sigma_data^2."),),
        ),
        Exercise(
            question="How many network evaluations do 40 steps of Heun's method take, with an Euler "
            "step at the end?",
            answer=lambda: evaluations(40),
            tolerance=0.5,
            hint="Two for each step, but the step to sigma = 0 has no second one.",
            slips=(Slip(lambda: 80, "At sigma = 0 the slope is not defined: the last step is Euler's."),),
        ),
    ),
)
