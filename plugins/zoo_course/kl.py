"""The KL divergence: its closed form for normals, and what its two directions fit to two modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from zoo_core.data.toy import Mixture
from zoo_core.viz.style import COLORS
from zoo_course.folder import Folder, make_figure
from zoo_course.topic import Exercise, Slip, Topic

GRID = torch.linspace(-8, 8, 3201, dtype=torch.float64)
"""Points of the quadratures."""

TWO_MODES = Mixture(
    torch.tensor([[-1.5], [1.5]], dtype=torch.float64), torch.tensor([0.4, 0.6], dtype=torch.float64), std=0.5
)

LogDensity = Callable[[Tensor], Tensor]
"""Points (n,) to a log-density, (n,)."""


def gaussian_kl(mean_p: float, std_p: float, mean_q: float, std_q: float) -> float:
    """Return KL(N(mean_p, std_p^2) || N(mean_q, std_q^2)) in nats."""
    ratio = (std_p / std_q) ** 2
    return 0.5 * (ratio + ((mean_p - mean_q) / std_q) ** 2 - 1 - math.log(ratio))


def discrete_kl(p: Sequence[float], q: Sequence[float]) -> float:
    """Return KL(p || q) of probabilities in nats; infinite where q is 0 and p is not."""
    return sum(a * (math.log(a / b) if b > 0 else math.inf) for a, b in zip(p, q, strict=True) if a > 0)


def normal(mean: float, std: float) -> LogDensity:
    """Return the log-density of a normal distribution."""
    return lambda x: -0.5 * ((x - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))


def numeric_kl(log_p: LogDensity, log_q: LogDensity) -> float:
    """Return KL(p || q) by quadrature on GRID, in nats."""
    p = log_p(GRID)
    return float(torch.trapezoid(p.exp() * (p - log_q(GRID)), GRID))


def _two_modes(x: Tensor) -> Tensor:
    return TWO_MODES.log_prob(x[:, None])


def forward_fit() -> tuple[float, float]:
    """Return mean and standard deviation of the normal q that minimizes KL(p || q): the moments of p."""
    means, weights = TWO_MODES.means[:, 0], TWO_MODES.weights
    mean = float(weights @ means)
    var = float(weights @ (means - mean) ** 2) + TWO_MODES.std**2
    return mean, math.sqrt(var)


def reverse_fit(start: float) -> tuple[float, float]:
    """Return mean and standard deviation of a normal q that is a local minimum of KL(q || p).

    Args:
        start: mean from which the minimization starts.
    """
    from scipy.optimize import minimize

    found = minimize(
        lambda v: numeric_kl(normal(v[0], math.exp(v[1])), _two_modes),
        [start, math.log(0.5)],
        method="Nelder-Mead",
    )
    return float(found.x[0]), math.exp(float(found.x[1]))


def _figure(out: Folder) -> Sequence[str]:
    fits = {
        "KL(p || q)": forward_fit(),
        "KL(q || p), left": reverse_fit(-1.5),
        "KL(q || p), right": reverse_fit(1.5),
    }
    figure = make_figure(10.5, 4)
    left, right = figure.subplots(1, 2)
    left.fill_between(GRID, _two_modes(GRID).exp(), color=COLORS[4], alpha=0.35, label="p, two modes")
    for label, (mean, std) in fits.items():
        left.plot(GRID, normal(mean, std)(GRID).exp(), label=f"q minimizes {label}")
    left.set(xlim=(-4.5, 4.5), xlabel="x", ylabel="density", title="one normal fitted to two modes")
    left.legend(fontsize=8, loc="upper left")
    left.set_ylim(0, 1.15)
    q, prior = normal(1.0, 0.5), normal(0.0, 1.0)
    integrand = q(GRID).exp() * (q(GRID) - prior(GRID))
    right.plot(GRID, q(GRID).exp(), label="q = N(1, 0.5²)")
    right.plot(GRID, prior(GRID).exp(), label="p = N(0, 1)")
    value = gaussian_kl(1.0, 0.5, 0.0, 1.0)
    right.fill_between(
        GRID, integrand, color=COLORS[2], alpha=0.4, label=f"q log(q / p), integral {value:.3f}"
    )
    right.set(xlim=(-3, 3.5), xlabel="x", title="the integrand may be negative, the integral may not")
    right.legend(fontsize=8, loc="upper left")
    out.plot(figure, "directions")
    rows = [
        (numeric_kl(_two_modes, normal(*fit)), numeric_kl(normal(*fit), _two_modes)) for fit in fits.values()
    ]
    out.table(
        {
            "mean": [fit[0] for fit in fits.values()],
            "std": [fit[1] for fit in fits.values()],
            "KL(p||q)": [row[0] for row in rows],
            "KL(q||p)": [row[1] for row in rows],
        },
        "fits",
    )
    return [
        f"q minimizes {label}: N({mean:.2f}, {std:.2f}²), KL(p || q) = {row[0]:.3f}, KL(q || p) = "
        f"{row[1]:.3f} nats"
        for (label, (mean, std)), row in zip(fits.items(), rows, strict=True)
    ]


TOPIC = Topic(
    question="how different are two distributions, and why does the direction matter?",
    look=(
        "KL(p || q) punishes q where it misses mass of p: the fit covers both modes and the gap "
        "between them.",
        "KL(q || p) punishes q where p has no mass: the fit stays on one mode, and which one depends "
        "on the start.",
        "The integrand is negative where q < p; the integral is 0 only if q = p.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="What is KL(N(0.5, 2²) || N(0, 1)) in nats? The standard deviation of the first is 2.",
            answer=lambda: gaussian_kl(0.5, 2.0, 0.0, 1.0),
            tolerance=2e-3,
            hint="1/2 (variance + mean^2 - 1 - log variance).",
            slips=(
                Slip(
                    lambda: gaussian_kl(0.5, math.sqrt(2), 0, 1),
                    "2 is the standard deviation; the variance is 4.",
                ),
                Slip(lambda: gaussian_kl(0, 1, 0.5, 2), "This is the other direction."),
            ),
        ),
        Exercise(
            question="p = (1/2, 1/2) and q = (1/4, 3/4). What is KL(p || q) in nats?",
            answer=lambda: discrete_kl((0.5, 0.5), (0.25, 0.75)),
            tolerance=1e-3,
            hint="The sum of p log(p / q) over both outcomes, with the natural logarithm.",
            slips=(
                Slip(lambda: discrete_kl((0.25, 0.75), (0.5, 0.5)), "This is KL(q || p)."),
                Slip(lambda: discrete_kl((0.5, 0.5), (0.25, 0.75)) / math.log(2), "This is in bits."),
            ),
        ),
    ),
)
