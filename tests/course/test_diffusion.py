"""The forward process in one step and in many, and the posterior of a step."""

from __future__ import annotations

import math

import pytest
import torch

from zoo_core.diffusion.schedule import linear_betas
from zoo_course.diffusion import TOPIC, chain, noised, posterior, posterior_from_noise, stepwise
from zoo_course.oracle import normals


def at(t: int) -> tuple[float, float, float]:
    return float(linear_betas(1000)[t - 1]), float(chain().alpha_bar[t]), float(chain().alpha_bar[t - 1])


def test_many_steps_are_one() -> None:
    x0 = torch.full((40_000, 1), 1.5, dtype=torch.float64)
    many, one = stepwise(x0, 200, seed=0), noised(x0, 200, normals(40_000, 1, seed=1))
    assert float(many.mean()) == pytest.approx(float(one.mean()), abs=0.02)
    assert float(many.var()) == pytest.approx(float(1 - chain().alpha_bar[200]), rel=0.03)
    assert float(one.var()) == pytest.approx(float(1 - chain().alpha_bar[200]), rel=0.03)


@pytest.mark.parametrize("t", [2, 501, 1000])
def test_the_posterior_is_the_product_of_its_factors_and_has_both_forms(t: int) -> None:
    beta, kept, before = at(t)
    x0, eps = 0.7, -0.3
    x_t = math.sqrt(kept) * x0 + math.sqrt(1 - kept) * eps
    mean, var = posterior(x_t, x0, beta, before)
    assert mean == pytest.approx(posterior_from_noise(x_t, eps, beta, kept), abs=1e-10)
    assert var == pytest.approx((1 - before) / (1 - kept) * beta)
    line = torch.linspace(mean - 8 * math.sqrt(var), mean + 8 * math.sqrt(var), 20_001, dtype=torch.float64)
    log = -((x_t - math.sqrt(1 - beta) * line) ** 2) / (2 * beta) - (line - math.sqrt(before) * x0) ** 2 / (
        2 * (1 - before)
    )
    p = (log - log.max()).exp()
    assert float((p * line).sum() / p.sum()) == pytest.approx(mean, abs=1e-8)
    assert float((p * (line - mean) ** 2).sum() / p.sum()) == pytest.approx(var, rel=1e-6)


def test_e10_a_step_samples_the_earlier_state() -> None:
    """Catches `x_t ~ q(x_{t-1} | x_t)`: what a step returns is less noisy than what it was given."""
    beta, kept, before = at(501)
    _, var = posterior(0.3, 0.7, beta, before)
    assert var < 1 - before < 1 - kept


def test_the_answers() -> None:
    first, second = TOPIC.exercises
    product = 1.0
    for i in range(500):
        product *= 1 - (1e-4 + i * (0.02 - 1e-4) / 999)
    assert first.answer() == pytest.approx(product, rel=1e-9)
    assert second.answer() == pytest.approx(-0.09016, abs=5e-6)
    assert [slip.value() for slip in second.slips] == pytest.approx([-0.32162, -0.06308], abs=5e-6)
