"""The optimal discriminator and the value by numerical maximization; the Dirac game by its invariant."""

from __future__ import annotations

import math

import pytest
import torch

from zoo_course.gan import (
    TOPIC,
    dirac_game,
    game_value,
    generator_gradients,
    jensen_shannon,
    optimal_discriminator,
)


def best_value(p: list[float], q: list[float]) -> tuple[list[float], float]:
    """Maximize the game over D at each outcome by search."""
    d = torch.linspace(1e-6, 1 - 1e-6, 200_001, dtype=torch.float64)
    found, total = [], 0.0
    for a, b in zip(p, q, strict=True):
        value = a * d.log() + b * (1 - d).log()
        found.append(float(d[value.argmax()]))
        total += float(value.max())
    return found, total


@pytest.mark.parametrize(("p", "q"), [([0.2, 0.5, 0.3], [0.6, 0.1, 0.3]), ([0.5, 0.5], [0.9, 0.1])])
def test_the_optimum_and_its_value(p: list[float], q: list[float]) -> None:
    found, value = best_value(p, q)
    closed = optimal_discriminator(torch.tensor(p).double().log(), torch.tensor(q).double().log())
    assert closed.tolist() == pytest.approx(found, abs=1e-5)
    assert game_value(p, q) == pytest.approx(value, abs=1e-6)


def test_ends_of_the_divergence() -> None:
    assert game_value([0.5, 0.5], [0.5, 0.5]) == pytest.approx(-math.log(4))
    assert jensen_shannon([1.0, 0.0], [0.0, 1.0]) == pytest.approx(math.log(2))


def test_the_generators_derivatives() -> None:
    logits = torch.tensor([-4.0, 0.0, 3.0], dtype=torch.float64)
    minimax, other = generator_gradients(logits)
    torch.testing.assert_close(minimax, -torch.sigmoid(logits))
    torch.testing.assert_close(other, -(1 - torch.sigmoid(logits)))


def test_small_steps_conserve_the_distance_and_large_ones_leave() -> None:
    radius = dirac_game(1e-4, 5000, alternate=False).norm(dim=1)
    assert float(radius[-1] / radius[0]) == pytest.approx(1, abs=1e-4)
    at_once = dirac_game(0.2, 400, alternate=False).norm(dim=1)
    in_turn = dirac_game(0.2, 400, alternate=True).norm(dim=1)
    penalized = dirac_game(0.2, 400, alternate=True, penalty=0.5).norm(dim=1)
    assert float(at_once[-1]) > 2 * float(at_once[0])
    assert float(in_turn.max() / in_turn.min()) < 1.4
    assert float(penalized[-1]) < 0.02


def test_a_step_is_that_of_automatic_differentiation() -> None:
    """Catches a wrong sign of either player."""
    theta, psi = (torch.tensor(1.0, dtype=torch.float64, requires_grad=True) for _ in range(2))
    value = math.log(0.5) + torch.nn.functional.logsigmoid(-psi * theta)
    to_theta, to_psi = torch.autograd.grad(value, (theta, psi))
    expected = [1 - 0.2 * float(to_theta), 1 + 0.2 * float(to_psi)]
    assert dirac_game(0.2, 1, alternate=False)[1].tolist() == pytest.approx(expected)


def test_the_answers() -> None:
    _, value = best_value([0.5, 0.5], [1.0, 0.0])
    assert TOPIC.exercises[0].answer() == pytest.approx(value, abs=1e-5)
    minimax, other = generator_gradients(torch.tensor([math.log(0.01 / 0.99)], dtype=torch.float64))
    assert TOPIC.exercises[1].answer() == pytest.approx(float(other / minimax))
