"""The bound of a chain on normal data: known values, the project's own terms, and its side."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from zoo_core.diffusion.schedule import linear_betas
from zoo_course.elbo import DATA_VAR, TOPIC, betas, entropy, gap, loss_weight, terms


@pytest.mark.parametrize(
    ("steps", "variance", "expected"),
    [
        (1000, "beta", 0.0010923),
        (1000, "beta-tilde", 0.4563484),
        (2000, "beta-tilde", 0.3870),
        (4000, "beta-tilde", 0.3456),
    ],
)
def test_the_gap(steps: int, variance: str, expected: float) -> None:
    assert gap(steps, variance) == pytest.approx(expected, abs=1e-4 if steps > 1000 else 1e-7)


def test_the_gap_halves() -> None:
    assert gap(1000) / gap(2000) == pytest.approx(2, rel=0.02)


def test_e9_the_bound_lies_above() -> None:
    """Catches L as a lower bound: it lies above the entropy of the data for every chain."""
    for steps in (25, 100, 1000):
        assert float(terms(betas(steps)).sum()) > entropy()
        assert bool((terms(betas(steps))[1:] > -1e-12).all())


def test_a_term_is_the_divergence_of_two_normals() -> None:
    """By simulation at one t: x0 and x_t are drawn, the divergence is torch's."""
    schedule, t = betas(1000), 300
    kept = torch.cat((schedule.new_ones(1), (1 - schedule).cumprod(0)))
    rng = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(100_000, generator=rng, dtype=torch.float64) for _ in range(2))
    x0 = math.sqrt(DATA_VAR) * x0
    now, before, beta = kept[t], kept[t - 1], schedule[t - 1]
    x_t = now.sqrt() * x0 + (1 - now).sqrt() * eps
    guess = now.sqrt() * DATA_VAR / (now * DATA_VAR + 1 - now) * x_t

    def mean(of: torch.Tensor) -> torch.Tensor:
        return before.sqrt() * beta / (1 - now) * of + (1 - beta).sqrt() * (1 - before) / (1 - now) * x_t

    q = Normal(mean(x0), ((1 - before) / (1 - now) * beta).sqrt())
    p = Normal(mean(guess), beta.sqrt())
    assert float(terms(schedule)[t - 1]) == pytest.approx(float(kl_divergence(q, p).mean()), rel=0.01)


def test_e8_the_joint_is_integrated_not_averaged() -> None:
    """Catches p(x0) = E_p(z)[p(x0, z)]: for z ~ N(0, 1), x | z ~ N(z, 1) at x = 0 it is not the density."""
    z = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    prior, likelihood = Normal(0.0, 1.0).log_prob(z).exp(), Normal(z, 1.0).log_prob(torch.zeros_like(z)).exp()
    right = float(Normal(0.0, math.sqrt(2)).log_prob(torch.tensor(0.0)).exp())
    assert float(torch.trapezoid(prior * likelihood, z)) == pytest.approx(right, rel=1e-5)
    assert abs(float(torch.trapezoid(prior * prior * likelihood, z)) - right) > 0.1


def test_the_answers() -> None:
    first, second = TOPIC.exercises
    beta = 1e-4 + 500 * (0.02 - 1e-4) / 999
    kept = float((1 - linear_betas(1000)).double()[:501].prod())
    assert first.answer() == pytest.approx(beta**2 / (2 * beta * (1 - beta) * (1 - kept)), rel=1e-9)
    assert float(loss_weight(linear_betas(1000))[500]) == pytest.approx(first.answer())
    q, p = (
        Normal(torch.tensor(a).double(), torch.tensor(b).double())
        for a, b in ((math.sqrt(4.0358e-5), math.sqrt(1 - 4.0358e-5)), (0.0, 1.0))
    )
    assert second.answer() == pytest.approx(1e5 * float(kl_divergence(q, p)), rel=1e-4)
    assert second.answer() == pytest.approx(2.018, abs=1e-3)
