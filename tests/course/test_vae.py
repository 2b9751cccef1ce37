"""The bound and its gap by quadrature, and the variances of two gradient estimators by simulation."""

from __future__ import annotations

import math

import pytest
import torch

from zoo_course import vae as topic
from zoo_course.oracle import normals


def test_the_gap_is_the_divergence_from_the_posterior() -> None:
    x = torch.tensor([0.05, 0.1], dtype=torch.float64)
    mean, std = 0.1, 0.3
    log_q = torch.distributions.Normal(mean, std).log_prob(topic.Z)
    log_posterior = topic.log_joint(x) - topic.log_evidence(x)
    divergence = float(torch.trapezoid(log_q.exp() * (log_q - log_posterior), topic.Z))
    assert topic.log_evidence(x) - topic.elbo(x, mean, std) == pytest.approx(divergence, rel=1e-6)
    assert topic.elbo(x, *topic.best_q(x)) >= topic.elbo(x, mean, std)


def test_the_joint_is_normalized() -> None:
    """Catches a wrong constant of p(x | z): the evidence over the plane must add up to 1."""
    line = torch.linspace(-4.5, 4.5, 61, dtype=torch.float64)
    joint = torch.vmap(topic.log_joint)(torch.cartesian_prod(line, line))
    total = float(joint.exp().sum()) * 0.15**2 * float(topic.Z[1] - topic.Z[0])
    assert total == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(("mean", "std", "dims"), [(1.0, 0.5, 1), (0.5, 1.0, 1), (1.0, 1.0, 4)])
def test_the_variances_of_the_estimators(mean: float, std: float, dims: int) -> None:
    eps = normals(400_000, dims, seed=dims)
    z = mean + std * eps
    score = z.square().sum(1) * eps[:, 0] / std
    assert float(score.mean()) == pytest.approx(2 * mean, rel=0.05)
    assert float(score.var()) == pytest.approx(topic.score_function_variance(mean, std, dims), rel=0.04)
    assert float((2 * z[:, 0]).var()) == pytest.approx(topic.reparameterized_variance(mean, std), rel=0.02)


def test_e12_an_update_adds_a_step() -> None:
    """Catches `theta <- gradient`: near the maximum of a bound it would jump to about 0."""
    theta = torch.tensor(2.0, requires_grad=True)
    bound = -0.5 * (theta - 2.1) ** 2
    (gradient,) = torch.autograd.grad(bound, theta)
    assert float(theta.detach() + 0.1 * gradient) == pytest.approx(2.01)
    assert abs(float(gradient) - 2.1) > 1.9


def test_the_answers() -> None:
    first, second = topic.TOPIC.exercises
    posterior, q = torch.distributions.Normal(1.0, math.sqrt(0.5)), torch.distributions.Normal(1.0, 1.0)
    assert first.answer() == pytest.approx(float(torch.distributions.kl_divergence(q, posterior)), rel=1e-5)
    assert second.answer() == pytest.approx(1 / 0.25 + 14 + 15 * 0.25)
