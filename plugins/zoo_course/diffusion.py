"""Forward and reverse diffusion: a cloud of points at several times, and the step back in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.toy import Mixture
from zoo_core.diffusion.grids import trailing
from zoo_core.diffusion.samplers import ddpm
from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.seeds import Seeds
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import OracleDenoiser, record, sample, toy
from zoo_course.topic import Exercise, Slip, Topic

T, POINTS = 1000, 800
TIMES = (0, 50, 150, 300, 600, 1000)
"""Times at which the cloud is drawn."""
FRAMES = 16


def moons() -> Mixture:
    """Return two moons, twice as large as the toy dataset: their standard deviation is nearly 1."""
    small = toy("moons")
    return Mixture(2 * small.means, small.weights, 2 * small.std)


def chain() -> DiscreteVP:
    """Return the chain of Ho et al. 2020: T = 1000 steps, beta from 1e-4 to 0.02."""
    return DiscreteVP(linear_betas(T))


def noised(x0: Tensor, t: int, eps: Tensor) -> Tensor:
    """Return x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps, like x0."""
    schedule, at = chain(), torch.tensor(t)
    return schedule.alpha(at) * x0 + schedule.sigma(at) * eps


def stepwise(x0: Tensor, t: int, seed: int) -> Tensor:
    """Return x_t by t steps of x <- sqrt(1 - beta) x + sqrt(beta) eps, each with noise of its own."""
    rng = torch.Generator().manual_seed(seed)
    for beta in linear_betas(T)[:t].tolist():
        eps = torch.randn(x0.shape, generator=rng, dtype=x0.dtype)
        x0 = math.sqrt(1 - beta) * x0 + math.sqrt(beta) * eps
    return x0


def posterior(x_t: float, x0: float, beta: float, kept_before: float) -> tuple[float, float]:
    """Return mean and variance of q(x_{t-1} | x_t, x0) from the product of its two normal factors.

    Args:
        beta: of step t.
        kept_before: alpha_bar_{t-1}.
    """
    precision = (1 - beta) / beta + 1 / (1 - kept_before)
    mean = (math.sqrt(1 - beta) * x_t / beta + math.sqrt(kept_before) * x0 / (1 - kept_before)) / precision
    return mean, 1 / precision


def posterior_from_noise(x_t: float, eps: float, beta: float, kept: float) -> float:
    """Return the same mean from the noise: (x_t - beta / sqrt(1 - alpha_bar_t) eps) / sqrt(1 - beta)."""
    return (x_t - beta / math.sqrt(1 - kept) * eps) / math.sqrt(1 - beta)


def reverse_states(n: int, seed: int) -> tuple[list[Tensor], Tensor]:
    """Return the states of `ddpm` in units of x_t, from t = T down to 0, and the times; exact denoiser."""
    schedule = chain()
    denoise = OracleDenoiser(moons(), schedule)
    sigmas = trailing(denoise, T // 4)
    states: list[Tensor] = []
    start = Seeds(seed, range(n)).randn((2,)).double() * denoise.prior_std
    end = ddpm(denoise, start, sigmas, noise=Seeds(seed + 1, range(n)), callback=record(states))
    alphas = schedule.alpha_of(sigmas[:-1]).tolist()
    return [*(alpha * x for alpha, x in zip(alphas, states, strict=True)), end], sigmas


def _axes(figure: Any, columns: int) -> Any:
    found = figure.subplots(1, columns)
    for axes in found:
        axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
    return found


def _figure(out: Folder) -> Sequence[str]:
    x0 = sample(moons(), POINTS, seed=0)
    eps = torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    upper = x0[:, 1] > 0
    figure = make_figure(13, 2.6)
    for axes, t in zip(_axes(figure, len(TIMES)), TIMES, strict=True):
        x = noised(x0, t, eps)
        axes.scatter(x[:, 0], x[:, 1], c=upper, cmap="coolwarm", s=3)
        axes.set_title(f"t = {t}, alpha_bar = {float(chain().alpha_bar[t]):.2g}", fontsize=9)
    out.plot(figure, "cloud")
    states, _ = reverse_states(250, seed=2)
    back = [states[round(k * (len(states) - 1) / (FRAMES - 1))] for k in range(FRAMES)]
    there = [noised(x0[:250], round(k * T / (FRAMES - 1)), eps[:250]) for k in range(FRAMES)]

    def frame(k: int) -> Any:
        shown = make_figure(5.6, 3)
        for axes, (name, x) in zip(
            _axes(shown, 2), (("forward", there[k]), ("reverse", back[k])), strict=True
        ):
            axes.scatter(x[:, 0], x[:, 1], s=4)
            axes.set_title(
                f"{name}, t = {round(T * (k if name == 'forward' else FRAMES - 1 - k) / (FRAMES - 1))}"
            )
        return shown

    out.animation((frame(k) for k in range(FRAMES)), "process")
    out.arrays("cloud", x0=x0, **{f"t{t}": noised(x0, t, eps) for t in TIMES[1:]})
    kept = chain().alpha_bar
    log_likelihood = float(moons().log_prob(states[-1]).mean())
    return [
        f"alpha_bar at T = {T}: {float(kept[-1]):.4e}",
        f"mean log-density of generated points {log_likelihood:.3f}, of data "
        f"{float(moons().log_prob(x0).mean()):.3f} nats",
    ]


def _at_501() -> tuple[float, float, float, float]:
    """Return x_t, beta_t, alpha_bar_t and alpha_bar_{t-1} at t = 501 for x0 = 0.7 and eps = -0.3."""
    kept, before = (float(chain().alpha_bar[t]) for t in (501, 500))
    x_t = math.sqrt(kept) * 0.7 + math.sqrt(1 - kept) * -0.3
    return x_t, float(linear_betas(T)[500]), kept, before


def _right_mean() -> float:
    x_t, beta, _, before = _at_501()
    return posterior(x_t, 0.7, beta, before)[0]


def _slide_98() -> float:
    x_t, beta, kept, _ = _at_501()
    return (x_t + 0.3 * beta / math.sqrt(1 - kept)) / math.sqrt(kept)


def _slide_100() -> float:
    x_t, beta, _, _ = _at_501()
    return (x_t + 0.3 * math.sqrt(beta)) / math.sqrt(1 - beta)


TOPIC = Topic(
    question="how is data destroyed step by step, and what undoes one step?",
    look=(
        "cloud.png: at t = 300 the two moons are hardly visible, at t = 1000 nothing of them is left.",
        "process.webp: the reverse process decides late: the shape appears in the last third of the steps.",
        "Nothing was trained: the denoiser of a known density is known.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="Ho's chain (T = 1000, beta from 1e-4 to 0.02 on a line). What is alpha_bar at t = 500?",
            answer=lambda: float(chain().alpha_bar[500]),
            tolerance=1e-3,
            hint="The product of 1 - beta_i for i = 1 to 500, with beta_i = 1e-4 + (i - 1) (0.02 - "
            "1e-4) / 999.",
            slips=(
                Slip(
                    lambda: float(chain().alpha_bar[500].sqrt()),
                    "This is the coefficient of x0, sqrt(alpha_bar).",
                ),
                Slip(
                    lambda: 1 - float(chain().alpha_bar[500]),
                    "This is the variance of the noise, 1 - alpha_bar.",
                ),
            ),
        ),
        Exercise(
            question="The same chain. x_t was made from x0 = 0.7 with eps = -0.3 at t = 501. What is "
            "the mean of "
            "q(x_500 | x_501, x0)?",
            answer=_right_mean,
            tolerance=5e-4,
            hint="Compute x_501, then (x_t - beta_t / sqrt(1 - alpha_bar_t) eps) / sqrt(1 - beta_t).",
            slips=(
                Slip(_slide_98, "The prefix is 1 / sqrt(alpha_t), not 1 / sqrt(alpha_bar_t) (slide 98)."),
                Slip(
                    _slide_100, "Under eps stands sqrt(1 - alpha_bar_t), not sqrt(1 - alpha_t) (slide 100)."
                ),
            ),
        ),
    ),
)
