"""Stochastic differential equations: means, variances and paths of the three forward processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.diffusion.sdes import SDE, VE, VP, SubVP
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import line_mixture, normals, sample
from zoo_course.topic import Exercise, Slip, Topic

STEPS, PATHS = 500, 400
SDES: dict[str, Any] = {"VP": VP(), "sub-VP": SubVP(), "VE, 0.01 to 5": VE(0.01, 5.0)}


def euler_maruyama(sde: SDE, x: Tensor, steps: int, seed: int) -> Tensor:
    """Return states (steps + 1, n) of dx = f(t) x dt + g(t) dw from t = 0 to 1, dw of variance dt."""
    dt = 1 / steps
    states = [x]
    for k, z in enumerate(normals(steps, *x.shape, seed=seed)):
        t = torch.tensor((k + 0.5) * dt, dtype=x.dtype)
        x = x + sde.f(t) * x * dt + (sde.g2(t) * dt).sqrt() * z
        states.append(x)
    return torch.stack(states)


def moments(sde: SDE, t: float) -> tuple[float, float]:
    """Return alpha(t) and sigma(t)^2 of x_t = alpha x0 + sigma eps."""
    at = torch.tensor(t, dtype=torch.float64)
    return float(sde.alpha(at)), float(sde.sigma(at) ** 2)


def chain_signal(steps: int) -> float:
    """Return alpha_bar at the end of the chain of this length with betas 0.1 / T to 20 / T."""
    return float(DiscreteVP(linear_betas(steps, 0.1 / steps, 20 / steps)).alpha_bar[-1])


def _figure(out: Folder) -> Sequence[str]:
    x0 = sample(line_mixture(), PATHS, seed=0)[:, 0]
    times = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)
    figure = make_figure(12.5, 6.2)
    top, bottom = figure.subplots(2, 3)
    lines, columns = [], {"t": times.tolist()}
    for place, (name, sde) in enumerate(SDES.items()):
        states = euler_maruyama(sde, x0, STEPS, seed=place)
        top[place].plot(times, states[:, :25], linewidth=0.5)
        top[place].set(title=f"{name}: 25 paths", xlabel="t")
        alpha, var = sde.alpha(times), sde.sigma(times) ** 2
        exact = alpha**2 * x0.var() + var
        bottom[place].plot(times, states.var(1), label="variance of 400 paths")
        bottom[place].plot(times, exact, linestyle="--", color="black", label="alpha² Var(x0) + sigma²")
        bottom[place].plot(times, alpha, label="alpha")
        bottom[place].set(xlabel="t")
        bottom[place].legend(fontsize=8)
        columns |= {f"alpha_{name.split(',')[0]}": alpha.tolist(), f"var_{name.split(',')[0]}": var.tolist()}
        lines.append(f"{name}: alpha(1) = {float(alpha[-1]):.5g}, sigma(1)^2 = {float(var[-1]):.5g}")
    out.plot(figure, "forward")
    out.table(columns, "moments")
    limit = math.exp(-10.05)
    return [
        *lines,
        f"alpha_bar(1): continuous {limit:.4e}, chain of 1,000 steps {chain_signal(1000):.4e}, of "
        f"100,000 {chain_signal(100_000):.4e}",
    ]


TOPIC = Topic(
    question="what is the limit of a chain with many small steps?",
    look=(
        "VP pulls every path to 0 and adds noise: the variance stays near 1.",
        "sub-VP has the same alpha and less noise at every time; at t = 1 both are nearly N(0, 1).",
        "VE leaves the data where they are and adds noise on top.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="VP with beta(t) = 0.1 + 19.9 t. What is alpha(0.5) = exp(-1/2 integral of beta "
            "from 0 to 0.5)?",
            answer=lambda: moments(VP(), 0.5)[0],
            tolerance=1e-3,
            hint="The integral is 0.1 t + 19.9 t^2 / 2.",
            slips=(
                Slip(lambda: moments(VP(), 0.5)[0] ** 2, "This is alpha^2: the exponent has the factor 1/2."),
            ),
        ),
        Exercise(
            question="The same beta. What is sigma(0.5)^2 of sub-VP, (1 - exp(-B))^2 with B the "
            "integral of beta?",
            answer=lambda: moments(SubVP(), 0.5)[1],
            tolerance=1e-3,
            hint="B(0.5) is 0.05 + 19.9 / 8.",
            slips=(Slip(lambda: moments(VP(), 0.5)[1], "This is that of VP: 1 - exp(-B)."),),
        ),
    ),
)
