"""Distances against scipy's and linear programming, and what the slides leave out of the formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from scipy.stats import wasserstein_distance

from zoo_course.oracle import normals
from zoo_course.wasserstein import SLIDE, TOPIC, Blocks, distance_on_the_line, dual_value, plan, quantiles


def by_distribution_functions(p: Blocks, q: Blocks) -> float:
    """W as the integral of |F - G|, an independent form."""
    x = np.linspace(-1, 15, 160_001)

    def cdf(blocks: Blocks) -> np.ndarray:
        return sum(mass * np.clip((x - left) / (right - left), 0, 1) for mass, left, right in blocks)

    return float(np.trapezoid(np.abs(cdf(p) - cdf(q)), x))


def test_the_slides_example_is_three() -> None:
    assert distance_on_the_line(*SLIDE) == pytest.approx(3.0, abs=1e-6)
    assert by_distribution_functions(*SLIDE) == pytest.approx(3.0, abs=1e-6)


def test_quantiles_agree_with_scipy() -> None:
    x, y = quantiles(SLIDE[0], 400), quantiles(SLIDE[1], 400)
    assert float((x - y).abs().mean()) == pytest.approx(wasserstein_distance(x.numpy(), y.numpy()))


def test_the_plan_is_that_of_a_linear_program_and_bounds_the_dual() -> None:
    n = 7
    x, y = normals(n, 2, seed=0), normals(n, 2, seed=1) + 1
    index, cost = plan(x, y)
    distances = torch.cdist(x, y).numpy().ravel()
    rows = np.kron(np.eye(n), np.ones(n))
    columns = np.kron(np.ones(n), np.eye(n))
    program = linprog(distances, A_eq=np.vstack((rows, columns)), b_eq=np.full(2 * n, 1 / n))
    assert cost == pytest.approx(program.fun, abs=1e-9)
    assert float((x - y[index]).norm(dim=1).mean()) == pytest.approx(cost)
    assert dual_value(x.mean(0) - y.mean(0), x, y) <= cost


def test_two_points_meet_the_bound() -> None:
    x, y = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    assert dual_value(x[0] - y[0], x, y) == pytest.approx(5)
    assert plan(x, y)[1] == pytest.approx(5)


def test_e20_the_cost_is_weighted_by_the_density() -> None:
    """Catches int |T(x) - x| dx: with p on [0, 2] and T(x) = x + 1 it would be 2, not 1."""
    p, q = ((1.0, 0, 2),), ((1.0, 1, 3),)
    assert distance_on_the_line(p, q) == pytest.approx(1)
    assert abs(distance_on_the_line(p, q) - 2 * 1) > 0.5


def test_e21_a_constant_added_to_the_critic_changes_nothing() -> None:
    """Catches E|f(x)| - E|f(y)|: it changes with the constant."""
    x, y = normals(50, seed=2), normals(50, seed=3) + 1
    plain = float(x.mean() - y.mean())
    moved = float((x + 5).mean() - (y + 5).mean())
    assert plain == pytest.approx(moved)
    assert (
        abs(float(x.abs().mean() - y.abs().mean()) - float((x + 5).abs().mean() - (y + 5).abs().mean())) > 0.1
    )


def test_the_answers() -> None:
    first, second = TOPIC.exercises
    assert first.answer() == pytest.approx(
        by_distribution_functions(((1.0, 0, 1),), ((1.0, 0, 3),)), abs=1e-3
    )
    moved = (*SLIDE[0][:2], (0.5, 11, 12))
    assert second.answer() == pytest.approx(by_distribution_functions(moved, SLIDE[1]), abs=1e-3)
