"""From the ELBO to L_simple: the terms of the bound on normal data, and the weight of each step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.diffusion.schedule import linear_betas
from zoo_core.viz.style import COLORS
from zoo_course.folder import Folder, make_figure
from zoo_course.topic import Exercise, Slip, Topic

DATA_VAR = 0.25
"""Variance of the normal data."""


def betas(steps: int) -> Tensor:
    """Return the linear schedule of a chain of any length: from 0.1 / T to 20 / T; Ho's for T = 1000."""
    return linear_betas(steps, 0.1 / steps, 20 / steps)


def loss_weight(schedule: Tensor) -> Tensor:
    """Return beta^2 / (2 s^2 alpha (1 - alpha_bar)) of each step with variance s^2 = beta, (T,)."""
    kept = (1 - schedule).cumprod(0)
    return schedule / (2 * (1 - schedule) * (1 - kept))


def terms(schedule: Tensor, variance: str = "beta") -> Tensor:
    """Return the expected terms of the bound on N(0, DATA_VAR) data with the exact denoiser, (T + 1,) nats.

    They are L_0, L_1, ..., L_{T-1} and L_T. The model's step has the exact mean E[x_{t-1} | x_t] and the
    variance beta or beta-tilde; L_0 is a density with variance beta_1.

    Args:
        schedule: beta_1 to beta_T.
        variance: "beta" or "beta-tilde".
    """
    kept = torch.cat((schedule.new_ones(1), (1 - schedule).cumprod(0)))
    now, before = kept[1:], kept[:-1]
    # Under q the error of the posterior's mean comes from x0 alone: its factor times Var(x0 | x_t).
    factor = before.sqrt() * schedule / (1 - now)
    uncertainty = DATA_VAR * (1 - now) / (now * DATA_VAR + 1 - now)
    error = factor**2 * uncertainty
    tilde = (1 - before) / (1 - now) * schedule
    model = schedule if variance == "beta" else torch.cat((schedule[:1], tilde[1:]))
    ratio = tilde[1:] / model[1:]
    middle = 0.5 * (ratio - 1 - ratio.log() + error[1:] / model[1:])
    first = 0.5 * (math.log(2 * math.pi * float(schedule[0])) + float(error[0] / schedule[0]))
    last = 0.5 * (now[-1] * DATA_VAR + (1 - now[-1]) - 1 - torch.log(1 - now[-1]))
    return torch.cat((torch.tensor([first], dtype=torch.float64), middle, last[None]))


def entropy() -> float:
    """Return the expected negative log-likelihood of the data under their own density, in nats."""
    return 0.5 * math.log(2 * math.pi * math.e * DATA_VAR)


def gap(steps: int, variance: str = "beta") -> float:
    """Return the bound of a chain of this length minus the entropy of the data, in nats."""
    return float(terms(betas(steps), variance).sum()) - entropy()


def _figure(out: Folder) -> Sequence[str]:
    schedule = betas(1000)
    steps = torch.arange(1, 1001)
    figure = make_figure(12, 3.8)
    left, middle, right = figure.subplots(1, 3)
    found = terms(schedule)
    left.plot(steps[1:], found[1:-1])
    left.set(xscale="log", yscale="log", xlabel="t", ylabel="nats", title="terms L_{t-1} of the bound")
    middle.plot(steps, loss_weight(schedule), label="in the bound")
    middle.axhline(1, color=COLORS[1], label="in L_simple")
    middle.set(xscale="log", yscale="log", xlabel="t", title="weight of the squared error of eps")
    middle.legend(fontsize=8)
    lengths = [50, 100, 200, 500, 1000, 2000, 4000]
    for variance in ("beta", "beta-tilde"):
        right.plot(lengths, [gap(n, variance) for n in lengths], marker="o", label=f"variance {variance}")
    right.set(
        xscale="log",
        yscale="log",
        xlabel="T",
        ylabel="nats",
        title="bound minus true negative log-likelihood",
    )
    right.legend(fontsize=8)
    out.plot(figure, "terms")
    out.table({"t": steps.tolist(), "weight": loss_weight(schedule).tolist()}, "weight")
    out.table(
        {
            "T": lengths,
            "beta": [gap(n) for n in lengths],
            "beta_tilde": [gap(n, "beta-tilde") for n in lengths],
        },
        "gap",
    )
    return [
        f"T = {n}: gap {gap(n):.7f} nats with variance beta, {gap(n, 'beta-tilde'):.7f} with beta-tilde"
        for n in (1000, 2000)
    ] + [f"L_T of the chain on these data: {float(found[-1]):.3e} nats"]


TOPIC = Topic(
    question="why is predicting noise the same as maximizing a bound of the likelihood?",
    look=(
        "The weight of the bound is large for the first steps: L_simple gives it up for better samples.",
        "With variance beta the gap halves as T doubles; with beta-tilde it falls slowly: the last "
        "step is too narrow.",
        "The last term, L_T, is small: nothing of the data is left.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="Ho's chain, model variance beta_t. What is the weight of |eps - eps_theta|^2 in "
            "L_{t-1} at t = 501?",
            answer=lambda: float(loss_weight(linear_betas(1000))[500]),
            tolerance=5e-5,
            hint="beta^2 / (2 beta alpha_t (1 - alpha_bar_t)).",
            slips=(
                Slip(
                    lambda: float(
                        linear_betas(1000)[500]
                        / (2 * (1 - linear_betas(1000)[500]) * linear_betas(1000)[500])
                    ),
                    "1 - alpha_bar_t stands in the denominator, not 1 - alpha_t = beta_t (slide 100).",
                ),
            ),
        ),
        Exercise(
            question="One dimension with x0^2 = 1 and alpha_bar_T = 4.0358e-5. What is L_T = KL(q(x_T "
            "| x0) || N(0, 1)), in "
            "units of 1e-5 nats?",
            answer=lambda: 1e5 * 0.5 * (4.0358e-5 + (1 - 4.0358e-5) - 1 - math.log1p(-4.0358e-5)),
            tolerance=0.02,
            hint="1/2 (mean^2 + variance - 1 - log variance) with mean^2 = alpha_bar_T and variance 1 "
            "- alpha_bar_T.",
            slips=(
                Slip(lambda: 4.0358, "The first three terms cancel; half of -log(1 - alpha_bar_T) is left."),
            ),
        ),
    ),
)
