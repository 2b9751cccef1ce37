"""Noise levels, and the weights of distant modes after annealing."""

from __future__ import annotations

import pytest
import torch

from zoo_course.ncsn import LEVELS, REPEATS, TOPIC, anneal, geometric, ratio
from zoo_ncsn.noise_levels import NoiseLevels


def test_the_levels_are_the_models() -> None:
    levels = geometric(7, 0.05, 3.0)
    torch.testing.assert_close(levels, NoiseLevels(7, 0.05, 3.0).levels.double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(levels[1:] / levels[:-1], torch.full((6,), ratio(7, 0.05, 3.0)).double())


def test_annealing_finds_the_weights() -> None:
    states = anneal()
    assert len(states) == LEVELS * REPEATS + 2  # one evaluation denoises
    assert float((states[0] > 0).double().mean()) == pytest.approx(0.5, abs=0.06)
    assert float((states[-1] > 0).double().mean()) == pytest.approx(0.8, abs=0.06)


def test_the_answers() -> None:
    first, second = TOPIC.exercises
    assert first.answer() == pytest.approx(1.6681, abs=1e-4)
    assert first.answer() ** 9 == pytest.approx(100)
    assert second.answer() == sum(1 for _ in range(12) for _ in range(100))
