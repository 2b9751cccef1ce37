"""Variances of predictor and corrector in closed form against the sampler itself."""

from __future__ import annotations

import pytest
import torch

from zoo_core.data.toy import Mixture
from zoo_core.diffusion.langevin import predictor_corrector
from zoo_core.diffusion.sdes import VE
from zoo_core.seeds import Seeds
from zoo_course.oracle import OracleDenoiser, normals
from zoo_course.predictor_corrector import TOPIC, evaluations, gaussian_variance

UNIT = Mixture(torch.zeros(1, 1).double(), torch.ones(1).double(), 1.0)


@pytest.mark.parametrize("correctors", [0, 2])
def test_the_recursion_is_that_of_the_sampler(correctors: int) -> None:
    n, levels = 20_000, torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    states: list[torch.Tensor] = []
    calls: list[float] = []

    def trace(step: int, sigma: torch.Tensor, x: torch.Tensor, x0: torch.Tensor) -> None:
        states.append(x)
        calls.append(float(sigma))

    denoise = OracleDenoiser(UNIT, VE(0.5, 4.0))
    start = 17**0.5 * normals(n, 1, seed=0)
    sigmas = torch.cat((levels, torch.zeros(1).double()))
    predictor_corrector(
        denoise, start, sigmas, noise=Seeds(1, range(n)), callback=trace, corrector_steps=correctors, snr=0.3
    )
    assert len(calls) == evaluations(4, correctors)
    found = gaussian_variance(levels, correctors, 0.3, 1.0)
    assert float(states[-1].var()) == pytest.approx(float(found[-1]), rel=0.04)


def test_a_coarse_predictor_is_too_wide_and_a_corrector_helps() -> None:
    levels = torch.tensor([5.0, 1.0], dtype=torch.float64)
    right = 1 + 1.0
    alone, corrected = (float(gaussian_variance(levels, c, 0.3, 1.0)[-1]) for c in (0, 3))
    assert alone - right == pytest.approx((25 - 1) ** 2 / (1 + 25))
    assert right < corrected < alone


def test_the_answers() -> None:
    first, second = TOPIC.exercises
    assert first.answer() == 12 + 11 * 2
    x = 5**0.5 * normals(400_000, seed=2)
    moved = x + 3 * (-x / 5) + 3**0.5 * normals(400_000, seed=3)
    assert second.answer() == pytest.approx(float(moved.var()), rel=0.01)
    assert second.answer() == pytest.approx(3.8)
