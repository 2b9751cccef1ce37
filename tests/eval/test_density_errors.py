"""Errors against a density that is known: an exact score has none, and a wrong one its own."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests.diffusion.analytic import Exact
from zoo_core.config import DataConfig
from zoo_core.data.toy import TOYS, Mixture, load
from zoo_core.interfaces import Smoothable
from zoo_core.types import DataInfo
from zoo_eval.density_errors import (
    SIGMAS,
    density_errors,
    level_of,
    log_likelihood_errors,
    score_error,
    score_errors,
)

N = 300


@pytest.fixture(scope="module")
def moons():
    return load(DataConfig(name="moons"))


def denoiser(density, gain=1.0, levels=None, **changes):
    """E[x0 | x] by a gain times the true smoothed score."""

    def x0_of(x, sigma):
        level = float(sigma.flatten()[0])
        return x + gain * level**2 * density.smoothed(level).score(x.double())

    made = Exact(x0_of)
    made.levels = levels
    vars(made).update(changes)
    return made


# -- the density, smoothed


def test_a_smoothed_density_is_a_convolution(moons):
    """Catches a std that is added to sigma, or a variance that is not: against a sum over a fine grid."""
    small = replace(TOYS["two-gaussians"], std=0.125).density()
    axis = torch.arange(-1.8, 1.8, 0.02, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    at = torch.tensor([[0.0, 0.0], [0.7, 0.5], [-0.6, -1.0]], dtype=torch.float64)
    sigma = 0.3
    kernel = torch.cdist(at, grid).square().div(-2 * sigma**2).exp() / (2 * math.pi * sigma**2)
    p = (kernel * small.log_prob(grid).exp()).sum(1) * 0.02**2
    torch.testing.assert_close(small.smoothed(sigma).log_prob(at), p.log(), rtol=1e-6, atol=1e-6)
    assert isinstance(moons.density, Smoothable)
    assert isinstance(moons.density, Mixture)


def test_a_smoothed_score_is_the_gradient_of_its_log_density(moons):
    """Catches a score of the density before it was smoothed."""
    x = moons.test.examples(torch.arange(5)).double().requires_grad_()
    smooth = moons.density.smoothed(0.2)
    (gradient,) = torch.autograd.grad(smooth.log_prob(x).sum(), x)
    torch.testing.assert_close(smooth.score(x.detach()), gradient, rtol=1e-9, atol=1e-9)


# -- the score's error


def test_the_exact_denoiser_has_no_error(moons):
    """Catches Tweedie's formula with a sign, a sigma for its square, or a truth at another level."""
    found = score_errors(denoiser(moons.density), moons, N, "cpu")
    assert list(found) == ["score error[0.05]", "score error[0.2]", "score error[1]"]
    for cell in found.values():
        assert cell["value"] < 1e-9
        assert cell["better"] == "lower"


@pytest.mark.parametrize("gain", [0.9, 1.1, 0.0])
def test_a_score_that_is_wrong_by_a_share_has_its_square(moons, gain):
    """Catches an error that is not relative, or that is the root: 10 % too long is 0.01; none at all is 1."""
    for cell in score_errors(denoiser(moons.density, gain), moons, N, "cpu").values():
        assert cell["value"] == pytest.approx((1 - gain) ** 2, rel=1e-4)
        assert cell["low"] <= cell["value"] <= cell["high"]


def test_the_interval_covers_other_noisy_data(moons):
    """Catches an influence that forgets the denominator: against the spread of the figure over 60 draws."""
    truth, level = moons.density.smoothed(0.2), 0.2

    def model(x, sigma):
        return truth.score(x) + x  # an error that is no share of the score

    rng = torch.Generator().manual_seed(0)
    values, widths = [], []
    for _ in range(60):
        rows = torch.randint(len(moons.test), (400,), generator=rng)
        clean = moons.test.examples(rows).double()
        x = clean + level * torch.randn(clean.shape, generator=rng, dtype=torch.float64)
        cell = score_error(model, truth, x, level)
        values.append(cell["value"])
        widths.append(cell["high"] - cell["low"])
    spread = float(torch.tensor(values).std())
    assert float(torch.tensor(widths).mean()) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.35)


def test_a_ladder_is_held_to_the_truth_on_its_own_rung(moons):
    """Catches a network that is blamed for a level it was never told: the nearest in the logarithm stands."""
    levels = torch.tensor([0.04, 0.1, 0.3, 0.9])
    made = denoiser(moons.density, levels=levels, sigma_min=0.04, sigma_max=0.9)
    assert level_of(made, 0.2) == pytest.approx(0.3)
    assert level_of(made, 0.15) == pytest.approx(0.1)
    assert level_of(made, 1.0) is None
    found = score_errors(made, moons, N, "cpu")
    assert list(found) == ["score error[0.05]", "score error[0.2]"]
    assert [cell["sigma"] for cell in found.values()] == pytest.approx([0.04, 0.3])
    assert all(cell["value"] < 1e-9 for cell in found.values())


def test_what_has_no_truth_has_no_error(moons):
    """Catches a latent's denoiser, or a conditional one, that is held to the density of the data."""
    made = denoiser(moons.density)
    assert score_errors(denoiser(moons.density, space="latent"), moons, N, "cpu") == {}
    assert score_errors(made, replace(moons, density=None), N, "cpu") == {}
    assert score_errors(made, moons.for_task("class"), N, "cpu") == {}
    only = SimpleNamespace(log_prob=moons.density.log_prob, score=moons.density.score)
    assert score_errors(made, replace(moons, density=only), N, "cpu") == {}


# -- the log-likelihood's


def test_log_likelihood_errors_are_told_by_kind():
    """Catches bits for nats, a signed error that would rank a lucky test split first, and kinds that mix."""
    records = [{"name": "ode", "nats": 0.25}, {"name": "vlb-20", "nats": -1.0}]
    found = log_likelihood_errors(records, {"name": "true density", "nats": 0.5})
    assert {name: cell["value"] for name, cell in found.items()} == {
        "log-likelihood error[ode]": 0.25,
        "log-likelihood error[vlb-20]": 1.5,
    }
    assert log_likelihood_errors([{"name": "ode", "nats": 0.75}], {"nats": 0.5})[
        "log-likelihood error[ode]"
    ] == {"value": 0.25, "better": "lower"}
    assert log_likelihood_errors(records, None) == {}


def test_capabilities_are_asked_for(moons):
    """Catches a recipe without a denoiser that is asked for one, and an order that depends on the family."""
    best, one = {"nats": 0.5}, [{"name": "elbo", "nats": 0.0}]
    asked = {"n": N, "device": "cpu", "likelihood": one, "best": best}
    assert list(density_errors(object(), moons, **asked)) == ["log-likelihood error[elbo]"]
    recipe = SimpleNamespace(denoiser=lambda: denoiser(moons.density))
    assert len(density_errors(recipe, moons, **asked)) == len(SIGMAS) + 1
    pictures = replace(moons, info=DataInfo("digits", (1, 8, 8), levels=17), density=None)
    assert density_errors(recipe, pictures, **(asked | {"best": None, "likelihood": []})) == {}
