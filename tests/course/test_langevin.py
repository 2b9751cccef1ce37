"""Langevin dynamics on targets with known answers."""

from __future__ import annotations

import pytest
import torch

from zoo_course.langevin import CLOSE, FAR, TOPIC, langevin, right_fraction, stationary_variance
from zoo_course.oracle import normals, sample


@pytest.mark.parametrize("step", [0.1, 0.5])
def test_the_variance_of_finite_steps(step: float) -> None:
    states = langevin(torch.neg, normals(20_000, 1, seed=0), step, 60, seed=1)
    assert float(states[-1].var()) == pytest.approx(stationary_variance(step), rel=0.03)
    v = stationary_variance(step)
    assert (1 - step) ** 2 * v + 2 * step == pytest.approx(v)


def test_without_noise_a_walk_climbs() -> None:
    states = langevin(CLOSE.score, normals(50, 2, seed=2), 0.02, 400, seed=3, noise=0.0)
    assert float(CLOSE.score(states[-1]).norm(dim=1).max()) < 1e-3
    assert bool((CLOSE.log_prob(states[-1]) >= CLOSE.log_prob(states[0]) - 1e-9).all())


def test_the_walk_samples_close_modes_and_not_distant_ones() -> None:
    walk = langevin(CLOSE.score, normals(1000, 2, seed=4), 0.02, 400, seed=5)[-1]
    real = sample(CLOSE, 20_000, seed=6)
    torch.testing.assert_close(walk.mean(0), real.mean(0), atol=0.12, rtol=0)
    starts = torch.cat((torch.full((50, 1), -3.0), torch.full((50, 1), 3.0))).double()
    fractions = right_fraction(langevin(FAR.score, starts, 0.05, 300, seed=7))
    assert float(fractions[0]) == 0.5
    assert float(fractions[-1]) == pytest.approx(0.5, abs=0.05)


def test_e29_the_gradient_needs_a_step_size() -> None:
    """Catches `x + grad log q`: for N(0, 0.1^2) a step of 1 overshoots to -99 x."""
    x = torch.tensor([[1.0]], dtype=torch.float64)
    score = lambda y: -y / 0.1**2  # noqa: E731
    assert float(langevin(score, x, 1.0, 1, seed=0, noise=0.0)[-1]) == pytest.approx(-99)
    assert abs(float(langevin(score, x, 0.001, 100, seed=0, noise=0.0)[-1])) < 1e-4


def test_the_answer() -> None:
    a = 0.2
    assert TOPIC.exercises[0].answer() == pytest.approx(2 * a / (1 - (1 - a) ** 2))
