"""The linear autoencoder against its closed form, and the denoiser of the codes."""

from __future__ import annotations

import pytest
import torch

from zoo_course.latent_diffusion import TOPIC, LinearAutoencoder, code_density, reconstruction_error
from zoo_course.oracle import OracleDenoiser, normals


def data() -> torch.Tensor:
    return normals(300, 6, seed=0) @ torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2, 0.1]).double()) + 1


def test_codes_have_unit_variance_and_the_error_is_what_is_left_of_the_variance() -> None:
    x = data()
    model = LinearAutoencoder(x, 3)
    torch.testing.assert_close(model.encode(x).T.cov(correction=0), torch.eye(3).double())
    values = torch.linalg.svdvals(x - x.mean(0))
    assert reconstruction_error(x, 3) == pytest.approx(float(values[3:].square().sum()) / x.numel())
    assert reconstruction_error(x, 6) == pytest.approx(0, abs=1e-20)


def test_the_denoiser_is_the_weighted_mean_of_the_posterior() -> None:
    codes = normals(20, 2, seed=1)
    density, sigma = code_density(codes), 0.7
    x = normals(5, 2, seed=2)
    found = OracleDenoiser(density)(x, torch.tensor(sigma))
    var, total = density.std**2, density.std**2 + sigma**2
    weight = torch.softmax(-torch.cdist(x, codes).square() / (2 * total), 1)
    expected = (weight[:, :, None] * (codes + var / total * (x[:, None] - codes))).sum(1)
    torch.testing.assert_close(found, expected)


def test_the_answer() -> None:
    assert float((5.5 * normals(100_000, seed=3) * TOPIC.exercises[0].answer()).std()) == pytest.approx(
        1, abs=0.01
    )
