"""Guidance on a mixture whose scores are known."""

from __future__ import annotations

import pytest
import torch

from zoo_course.guidance import TOPIC, class_probability, extrapolated, guided, mixture, tilted
from zoo_course.oracle import normals, sample


def test_the_ends_of_the_scale_are_the_two_models() -> None:
    for scale, label in ((0.0, None), (1.0, 1)):
        found, real = guided(scale, n=400, steps=30), sample(mixture(label), 20_000, seed=3)
        torch.testing.assert_close(found.mean(0), real.mean(0), atol=0.2, rtol=0)
        torch.testing.assert_close(found.std(0), real.std(0), atol=0.12, rtol=0)


def test_more_guidance_has_a_surer_class_and_less_variety() -> None:
    found = [guided(scale, n=300, steps=30) for scale in (0.0, 1.0, 3.0)]
    sure = [float(class_probability(x, 1).mean()) for x in found]
    spread = [float(x.var(0).sum()) for x in found]
    assert sure == sorted(sure)
    assert spread == sorted(spread, reverse=True)


def test_probabilities_are_those_of_bayes() -> None:
    x = normals(20, 2, seed=0)
    joint = [0.4 * mixture(0).log_prob(x).exp(), 0.6 * mixture(1).log_prob(x).exp()]
    torch.testing.assert_close(class_probability(x, 1), joint[1] / sum(joint))
    torch.testing.assert_close(mixture(None).log_prob(x).exp(), sum(joint))


def test_guided_samples_are_not_of_the_tilted_density() -> None:
    """Catches the claim that guidance samples p(x | c)^s p(x)^(1 - s)."""
    line = torch.linspace(-5, 5, 201, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    weight = torch.softmax(tilted(points, 3.0), 0)
    mean = (weight[:, None] * points).sum(0)
    assert float((guided(3.0, n=400, steps=30).mean(0) - mean).norm()) > 0.08


def test_the_answer() -> None:
    unconditional, conditional, w = 0.5, 0.8, 2.0
    assert TOPIC.exercises[0].answer() == pytest.approx((1 + w) * conditional - w * unconditional)
    assert extrapolated(0.7, 0.7, 5.0) == pytest.approx(0.7)
