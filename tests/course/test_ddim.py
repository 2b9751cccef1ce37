"""DDIM: marginals for any noise, paths of one point, and its exercise."""

from __future__ import annotations

import pytest
import torch

from zoo_core.data.toy import Mixture
from zoo_core.diffusion.samplers import posterior_std
from zoo_course.ddim import TOPIC, one_step, run, straightness
from zoo_course.oracle import normals


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_any_noise_keeps_the_marginals(eta: float) -> None:
    """Given x0, a step from level t leaves x_s with mean x0 and variance s^2."""
    t, s = torch.tensor(2.0).double(), torch.tensor(0.7).double()
    x0, eps, z = 0.4, normals(200_000, seed=0), normals(200_000, seed=1)
    std = eta * posterior_std(t, s)
    x_s = x0 + (s**2 - std**2).sqrt() * eps + std * z
    assert float(x_s.mean()) == pytest.approx(x0, abs=0.01)
    assert float(x_s.var()) == pytest.approx(float(s**2), rel=0.01)


def test_data_of_one_point_have_straight_paths() -> None:
    point = Mixture(torch.tensor([[0.3, -0.2]]).double(), torch.ones(1).double(), 1e-6)
    path, _ = run(point, 10, 0.0, 5)
    assert straightness(path) == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(path[-1], point.means.expand(5, 2), atol=1e-5, rtol=0)
    assert straightness(run(point, 10, 1.0, 5)[0]) < 0.99


def test_one_step_is_the_samplers() -> None:
    point = Mixture(torch.tensor([[1.0]]).double(), torch.ones(1).double(), 1e-6)
    path, sigmas = run(point, 5, 0.0, 1)
    moved = one_step(float(path[0]), float(sigmas[0]), float(sigmas[1]), 1.0)
    assert float(path[1]) == pytest.approx(moved, abs=1e-6)


def test_the_answer() -> None:
    eps = (3.0 - 1.0) / 2.0
    assert TOPIC.exercises[0].answer() == pytest.approx(1.0 + 0.5 * eps)
