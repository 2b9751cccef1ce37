"""Objectives of a linear score against simulation, and the optimum of the regression."""

from __future__ import annotations

import pytest
import torch

from zoo_course.langevin import CLOSE
from zoo_course.oracle import normals, sample
from zoo_course.score_matching import (
    GRADIENTS,
    TOPIC,
    best_gain,
    conditional_mean,
    denoising,
    explicit,
    gradient_variance,
    gradients,
    implicit,
)
from zoo_ncsn.ncsn import score_matching
from zoo_ncsn.objectives import implicit_score_matching, sliced_score_matching


@pytest.mark.parametrize("gain", [0.2, 0.9])
def test_the_closed_forms_are_the_expectations(gain: float) -> None:
    var, sigma = 2.0, 0.7
    x, eps = var**0.5 * normals(400_000, seed=0), normals(400_000, seed=1)
    noisy = x + sigma * eps
    assert explicit(gain, var) == pytest.approx(float(((-gain * x + x / var) ** 2).mean() / 2), rel=0.01)
    assert implicit(gain, var) == pytest.approx(float((gain * x).square().mean() / 2 - gain), abs=0.01)
    assert denoising(gain, var, sigma) == pytest.approx(
        float((-gain * noisy + eps / sigma).square().mean() / 2), rel=0.01
    )


def test_the_three_differ_by_constants() -> None:
    """Each pair has the same difference at every gain."""
    gains = torch.linspace(-1, 2, 7, dtype=torch.float64)
    var, sigma = 1.3, 0.6
    noised = explicit(gains, var + sigma**2)
    for other in (implicit(gains, var + sigma**2), denoising(gains, var, sigma)):
        assert float((noised - other).std()) < 1e-12


def test_the_minimum_is_the_score_of_the_noised_data() -> None:
    gain = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(denoising(gain, 1.0, 0.8), gain, create_graph=True)
    (curve,) = torch.autograd.grad(slope, gain)
    assert float((gain - slope / curve).detach()) == pytest.approx(best_gain(1.0, 0.8))


def test_the_regression_finds_the_noised_score_where_data_are() -> None:
    points = sample(CLOSE.smoothed(0.3), 40, seed=1)
    found = conditional_mean(points, 0.3, sample(CLOSE, 20_000, seed=0))
    exact = CLOSE.smoothed(0.3).score(points)
    assert float((found - exact).square().sum() / exact.square().sum()) < 0.02
    clean = CLOSE.score(points)
    assert float((clean - exact).square().sum() / exact.square().sum()) > 0.1


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("sigma", [0.2, 1.5])
def test_the_variance_of_the_gradients(name: str, sigma: float) -> None:
    """In closed form against simulation; the mean is 0, as all have the minimum of the noised data."""
    var, n, dims = 0.7, 50_000, 3
    x, eps, v = (normals(n, dims, seed=seed) for seed in (0, 1, 2))
    found = gradients(name, var**0.5 * x, eps, v.sign(), sigma, var)
    expected = gradient_variance(name, var, sigma, dims)
    assert float(found.var()) == pytest.approx(expected, rel=0.06)
    assert abs(float(found.mean())) < 4.5 * (expected / n) ** 0.5


def test_the_gradients_are_those_of_the_trained_objectives() -> None:
    """Against autograd of ncsn's losses, which have the weight sigma^2."""
    n, dims, var, sigma = 20, 3, 0.7, 0.4
    x, eps, v = (normals(n, dims, seed=seed) for seed in (0, 1, 2))
    x, v, level = var**0.5 * x, v.sign(), torch.full((n,), sigma, dtype=torch.float64)
    g = torch.full((n,), best_gain(var, sigma), dtype=torch.float64, requires_grad=True)
    noisy = x + sigma * eps

    def score(at: torch.Tensor) -> torch.Tensor:
        return -g[:, None] * at

    losses = {
        "denoising": score_matching(score, x, level, eps),
        "implicit": implicit_score_matching(score, noisy, level),
        "sliced": sliced_score_matching(score, noisy, level, v),
    }
    for name, loss in losses.items():
        (found,) = torch.autograd.grad(loss.sum(), g)
        torch.testing.assert_close(found, sigma**2 * gradients(name, x, eps, v, sigma, var))


def test_the_answer() -> None:
    x = 2 * normals(500_000, seed=2) + normals(500_000, seed=3)
    assert TOPIC.exercises[0].answer() == pytest.approx(1 / float(x.var()), rel=0.01)
    assert TOPIC.exercises[0].answer() == pytest.approx(0.2)
