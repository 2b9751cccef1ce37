"""Weights of the linear Gaussian model, whose evidence and variances are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from zoo_course import importance_sampling as topic
from zoo_course.oracle import normals


def integral(values: torch.Tensor, z: torch.Tensor) -> float:
    return float(torch.trapezoid(values, z))


Z = torch.linspace(-12, 12, 48_001, dtype=torch.float64)
JOINT = (Normal(Z, topic.NOISE).log_prob(torch.full_like(Z, topic.X)) + Normal(0.0, 1.0).log_prob(Z)).exp()


def test_the_evidence_is_the_integral_and_each_weight_is_the_ratio() -> None:
    assert math.log(integral(JOINT, Z)) == pytest.approx(topic.LOG_EVIDENCE, abs=1e-9)
    posterior = (topic.POSTERIOR_MEAN, math.sqrt(topic.POSTERIOR_VAR))
    weights = topic.log_weights(normals(50, seed=0), *posterior)
    torch.testing.assert_close(weights, torch.full_like(weights, topic.LOG_EVIDENCE))


@pytest.mark.parametrize("ratio", [0.8, 1.0, 2.0])
def test_the_variance_around_the_posterior(ratio: float) -> None:
    q = Normal(topic.POSTERIOR_MEAN, ratio * math.sqrt(topic.POSTERIOR_VAR)).log_prob(Z).exp()
    square = integral(torch.where(JOINT > 1e-200, JOINT**2 / q, 0 * q), Z)
    assert topic.relative_variance(ratio) == pytest.approx(
        square / math.exp(2 * topic.LOG_EVIDENCE) - 1, abs=1e-6
    )


def test_a_narrow_proposal_has_no_finite_variance() -> None:
    assert topic.relative_variance(0.7) == math.inf


def test_the_variance_of_the_prior_as_proposal() -> None:
    square = integral(JOINT**2 / Normal(0.0, 1.0).log_prob(Z).exp(), Z)
    assert topic.prior_relative_variance() == pytest.approx(
        square / math.exp(2 * topic.LOG_EVIDENCE) - 1, rel=1e-6
    )


def test_the_bounds_rise_to_the_evidence() -> None:
    found = topic.bounds(topic.POSTERIOR_MEAN, 2 * math.sqrt(topic.POSTERIOR_VAR), seed=1)
    assert found == sorted(found)
    assert found[-1] == pytest.approx(topic.LOG_EVIDENCE, abs=0.01)


def test_the_answer() -> None:
    assert topic.TOPIC.exercises[0].answer() == pytest.approx(4 / math.sqrt(7) - 1)
