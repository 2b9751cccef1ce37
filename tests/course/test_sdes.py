"""Simulated paths against the closed forms of mean and variance."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad

from zoo_core.diffusion.sdes import VP
from zoo_course.sdes import SDES, TOPIC, chain_signal, euler_maruyama, moments


@pytest.mark.parametrize("name", SDES)
def test_paths_have_the_mean_and_variance_of_the_closed_form(name: str) -> None:
    sde = SDES[name]
    x0 = torch.full((4000,), 1.5, dtype=torch.float64)
    states = euler_maruyama(sde, x0, 300, seed=0)
    for k in (100, 300):
        alpha, var = moments(sde, k / 300)
        start = moments(sde, 0.0)[1]
        assert float(states[k].mean()) == pytest.approx(1.5 * alpha, abs=4 * math.sqrt(var / 4000) + 0.02)
        assert float(states[k].var()) == pytest.approx(var - start, rel=0.08)


@pytest.mark.parametrize("name", SDES)
def test_the_variance_is_the_integral_of_the_derivation(name: str) -> None:
    sde, t = SDES[name], 0.4

    def integrand(s: float) -> float:
        at = torch.tensor(s, dtype=torch.float64)
        return float(sde.g2(at) / sde.alpha(at) ** 2)

    alpha, var = moments(sde, t)
    assert var - moments(sde, 0.0)[1] == pytest.approx(alpha**2 * quad(integrand, 0, t)[0], rel=1e-6)


def test_the_chain_tends_to_the_sde() -> None:
    limit = moments(VP(), 1.0)[0] ** 2
    assert limit == pytest.approx(math.exp(-10.05))
    errors = [abs(chain_signal(n) - limit) for n in (1000, 10_000)]
    assert errors[1] < errors[0] / 5


def test_the_answers() -> None:
    first, second = TOPIC.exercises
    integral = quad(lambda s: 0.1 + 19.9 * s, 0, 0.5)[0]
    assert first.answer() == pytest.approx(math.exp(-integral / 2))
    assert second.answer() == pytest.approx((1 - math.exp(-integral)) ** 2)
    assert second.answer() == pytest.approx(0.8481, abs=1e-4)
