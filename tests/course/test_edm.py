"""Preconditioning by simulation, the grid in the paper's formula, and orders of convergence."""

from __future__ import annotations

import pytest

from zoo_core.diffusion.samplers import euler, heun
from zoo_course.edm import (
    COUNTS,
    SIGMA_DATA,
    TOPIC,
    evaluations,
    levels,
    order,
    solver_errors,
    target_of_the_network,
)
from zoo_course.oracle import normals


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_the_target_has_unit_variance_and_nothing_to_learn_for_normal_data(sigma: float) -> None:
    x0 = SIGMA_DATA * normals(200_000, seed=0)
    x = x0 + sigma * normals(200_000, seed=1)
    target = target_of_the_network(x0, x, sigma)
    assert float(target.var()) == pytest.approx(1, rel=0.01)
    assert float((target * x).mean() / x.std()) == pytest.approx(0, abs=0.01)


def test_the_grid_is_the_papers_formula() -> None:
    found, rho, n = levels(18), 7, 18
    expected = [
        (80 ** (1 / rho) + i / (n - 1) * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho for i in range(n)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_orders_of_convergence() -> None:
    assert order(COUNTS, solver_errors(euler)) == pytest.approx(1, abs=0.15)
    assert order(COUNTS, solver_errors(heun)) == pytest.approx(2, abs=0.3)


def test_the_answers() -> None:
    first, second = TOPIC.exercises
    x0, eps = 0.5 * normals(400_000, seed=2), normals(400_000, seed=3)
    x = x0 + 0.5 * eps
    assert first.answer() == pytest.approx(
        float((x0 * x).mean() / x.square().mean()), abs=0.005
    )  # of E[x0 | x]
    assert second.answer() == 79
    assert evaluations(18) == 35
