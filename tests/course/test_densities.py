"""The density of mapped samples, against the Jacobian by automatic differentiation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import jacrev, vmap

from zoo_course.densities import RADIUS, TOPIC, WIDTH, ring, ring_log_density
from zoo_course.oracle import OracleDenoiser, normals, toy


def test_the_density_is_that_of_the_latent_over_the_jacobian() -> None:
    z = normals(40, 2, seed=3)
    jacobian = vmap(jacrev(lambda one: ring(one[None])[0]))(z)
    log_z = -0.5 * z.square().sum(1) - math.log(2 * math.pi)
    torch.testing.assert_close(ring_log_density(ring(z)), log_z - torch.linalg.slogdet(jacobian).logabsdet)


def test_the_radius_is_normal() -> None:
    radius = ring(normals(20_000, 2, seed=4)).norm(dim=1)
    assert float(radius.mean()) == pytest.approx(RADIUS, abs=4 * WIDTH / math.sqrt(20_000))
    assert float(radius.std()) == pytest.approx(WIDTH, rel=0.03)


def test_e16_the_latents_of_diffusion_have_the_shape_of_the_data() -> None:
    """Catches q < n for a diffusion model: its latent is noised data."""
    x = normals(5, 2, seed=5)
    denoise = OracleDenoiser(toy("ring"))
    assert denoise(denoise.prior_std * x, torch.tensor(denoise.sigma_max)).shape == x.shape


def test_the_answer() -> None:
    reference = torch.distributions.LogNormal(0.0, 1.0).log_prob(torch.tensor(2.0)).exp()
    assert TOPIC.exercises[0].answer() == pytest.approx(float(reference), rel=1e-6)
    assert TOPIC.exercises[0].feedback(0.3137) is not None
