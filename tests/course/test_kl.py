"""Closed forms of the KL divergence against quadrature and torch, and which fit each direction makes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from zoo_course.kl import TOPIC, discrete_kl, forward_fit, gaussian_kl, normal, numeric_kl, reverse_fit


@pytest.mark.parametrize("pair", [(1.0, 0.5, 0.0, 1.0), (0.3, 0.7, -0.2, 1.4)])
def test_the_closed_form_is_the_integral_and_torchs(pair: tuple[float, float, float, float]) -> None:
    mean_p, std_p, mean_q, std_q = pair
    found = gaussian_kl(*pair)
    assert found == pytest.approx(numeric_kl(normal(mean_p, std_p), normal(mean_q, std_q)), rel=1e-9)
    assert found == pytest.approx(
        float(kl_divergence(Normal(mean_p, std_p), Normal(mean_q, std_q))), rel=1e-5
    )


def test_the_known_value() -> None:
    assert gaussian_kl(1, 0.5, 0, 1) == pytest.approx(0.818147, abs=1e-6)
    assert gaussian_kl(1, math.sqrt(0.5), 0, 1) == pytest.approx(0.596574, abs=1e-6)


def test_e15_the_end_of_the_chain_is_zero_only_for_equal_supports() -> None:
    """Catches `-log E_p[q / p] = 0` as a general fact: q may have mass where p has none."""
    p, q = (0.5, 0.5, 0.0), (0.25, 0.25, 0.5)
    end = -math.log(sum(b for a, b in zip(p, q, strict=True) if a > 0))
    assert end == pytest.approx(math.log(2))
    assert discrete_kl(p, q) >= end
    assert -math.log(sum((0.3, 0.7))) == pytest.approx(0)


def test_the_forward_fit_has_the_moments_and_no_neighbor_is_better() -> None:
    from zoo_course.kl import TWO_MODES

    def loss(mean: float, std: float) -> float:
        return numeric_kl(lambda x: TWO_MODES.log_prob(x[:, None]), normal(mean, std))

    mean, std = forward_fit()
    assert mean == pytest.approx(0.3)
    assert std**2 == pytest.approx(0.4 * 1.8**2 + 0.6 * 1.2**2 + 0.25)
    assert all(
        loss(mean, std) < loss(mean + a, std * b) for a, b in ((0.05, 1), (-0.05, 1), (0, 1.03), (0, 0.97))
    )


@pytest.mark.parametrize("start", [-1.5, 1.5])
def test_the_reverse_fit_stays_on_a_mode(start: float) -> None:
    mean, std = reverse_fit(start)
    assert mean == pytest.approx(start, abs=0.03)
    assert std == pytest.approx(0.5, abs=0.02)


def test_the_answers() -> None:
    first, second = TOPIC.exercises
    assert first.answer() == pytest.approx(float(kl_divergence(Normal(0.5, 2.0), Normal(0.0, 1.0))), rel=1e-5)
    p, q = (Categorical(torch.tensor(v)) for v in ((0.5, 0.5), (0.25, 0.75)))
    assert second.answer() == pytest.approx(float(kl_divergence(p, q)), rel=1e-5)
