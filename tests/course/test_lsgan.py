"""The optimal critic by search and the divergence by quadrature."""

from __future__ import annotations

import pytest
import torch

from zoo_course.kl import normal
from zoo_course.lsgan import LINE, TOPIC, generator_value, least_squares_gradient, optimal_critic, pearson


def best_critic(p: float, q: float, a: float, b: float) -> float:
    d = torch.linspace(-2, 2, 400_001, dtype=torch.float64)
    return float(d[(p * (d - b) ** 2 + q * (d - a) ** 2).argmin()])


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (-1.0, 1.0)])
def test_the_optimal_critic(a: float, b: float) -> None:
    found = optimal_critic(torch.tensor(0.7).double(), torch.tensor(0.2).double(), a, b)
    assert float(found) == pytest.approx(best_critic(0.7, 0.2, a, b), abs=1e-4)


def test_the_value_is_pearsons_only_for_the_right_targets() -> None:
    p, q = normal(-0.2, 0.6)(LINE).exp(), normal(0.1, 0.7)(LINE).exp()
    right = 2 * torch.trapezoid(generator_value(p, q, -1, 1, 0), LINE)
    usual = 2 * torch.trapezoid(generator_value(p, q, 0, 1, 1), LINE)
    divergence = torch.trapezoid(pearson(p, q), LINE)
    assert float(right) == pytest.approx(float(divergence), rel=1e-6)
    assert abs(float(usual - divergence)) > 0.1
    same = 2 * torch.trapezoid(generator_value(p, p, 0, 1, 1), LINE)
    assert float(same) == pytest.approx(0.5, abs=1e-6)


def test_the_gradient_is_zero_only_at_the_target() -> None:
    scores = torch.tensor([-3.0, 1.0, 5.0], dtype=torch.float64)
    assert least_squares_gradient(scores).tolist() == pytest.approx([-4, 0, 4])


def test_the_answer() -> None:
    assert TOPIC.exercises[0].answer() == pytest.approx(best_critic(0.3, 0.1, 0, 1), abs=1e-4)
