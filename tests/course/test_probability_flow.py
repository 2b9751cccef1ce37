"""The flow against closed forms: paths, order, marginals and likelihood."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import ks_2samp

from zoo_course.oracle import line_mixture
from zoo_course.probability_flow import LOWEST, TOPIC, crossings, gaussian_flow, log_likelihood, paths


def test_both_processes_end_alike_and_only_paths_of_the_flow_keep_their_order() -> None:
    found = paths(400)
    ends = [states[-1].numpy() for _, states in found.values()]
    assert ks_2samp(*ends).pvalue > 0.01
    assert crossings(found["probability flow"][1]) == 0
    assert crossings(found["reverse SDE"][1]) > 300


def test_the_likelihood_is_the_exact_one() -> None:
    x = torch.tensor([-1.4, -0.6, 0.2, 1.0], dtype=torch.float64)
    exact = line_mixture().smoothed(LOWEST).log_prob(x[:, None])
    torch.testing.assert_close(log_likelihood(x), exact, atol=0.01, rtol=0)


def test_the_gaussian_flow_solves_its_equation() -> None:
    x, sigma, step, std = 1.3, 2.0, 1e-6, 0.7
    slope = (gaussian_flow(x, std, sigma, sigma + step) - x) / step
    denoised = std**2 / (std**2 + sigma**2) * x
    assert slope == pytest.approx((x - denoised) / sigma, rel=1e-5)


def test_the_answer() -> None:
    from scipy.integrate import solve_ivp

    solved = solve_ivp(lambda s, x: x * s / (1 + s**2), (3.0, 0.0), [4.0], rtol=1e-9, atol=1e-12)
    assert TOPIC.exercises[0].answer() == pytest.approx(float(solved.y[0, -1]), abs=1e-6)
    assert TOPIC.exercises[0].answer() == pytest.approx(4 / math.sqrt(10))
