"""Errors against a density that is known: an exact score has none, and a wrong one its own."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests.diffusion.analytic import Exact
from tests.eval.fakes import context, protocol, reasons
from zoo_core.config import DataConfig
from zoo_core.data.toy import TOYS, Mixture, load
from zoo_core.interfaces import Smoothable
from zoo_core.registry.metrics import direction
from zoo_core.types import DataInfo, Likelihood
from zoo_eval.features import Features
from zoo_eval.metrics.density import SIGMAS, level_of, score_error, score_error_columns, score_errors
from zoo_eval.metrics.likelihood import chosen_rows
from zoo_eval.metrics.truth import log_likelihood_error

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
    for column, value in found.items():
        assert value.value < 1e-9
        assert direction(column) == "lower"


@pytest.mark.parametrize("gain", [0.9, 1.1, 0.0])
def test_a_score_that_is_wrong_by_a_share_has_its_square(moons, gain):
    """Catches an error that is not relative, or that is the root: 10 % too long is 0.01; none at all is 1."""
    for cell in score_errors(denoiser(moons.density, gain), moons, N, "cpu").values():
        assert cell.value == pytest.approx((1 - gain) ** 2, rel=1e-4)
        assert cell.interval.low <= cell.value <= cell.interval.high


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
        values.append(cell.value)
        widths.append(cell.interval.high - cell.interval.low)
    spread = float(torch.tensor(values).std())
    assert float(torch.tensor(widths).mean()) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.35)


def test_a_schedule_is_held_to_the_truth_on_its_own_level(moons):
    """Catches a network that is blamed for a level it was never told: the nearest in the logarithm stands."""
    levels = torch.tensor([0.04, 0.1, 0.3, 0.9])
    made = denoiser(moons.density, levels=levels, sigma_min=0.04, sigma_max=0.9)
    assert level_of(made, 0.2) == pytest.approx(0.3)
    assert level_of(made, 0.15) == pytest.approx(0.1)
    assert level_of(made, 1.0) is None
    found = score_errors(made, moons, N, "cpu")
    assert list(found) == ["score error[0.05]", "score error[0.2]"]
    assert [float(one.note.removeprefix("sigma ")) for one in found.values()] == pytest.approx([0.04, 0.3])
    assert all(one.value < 1e-9 for one in found.values())


def test_what_has_no_truth_has_no_error(moons):
    """Catches a latent's denoiser, a conditional one, or one whose noise depends on the data."""
    made = denoiser(moons.density)
    assert score_errors(denoiser(moons.density, coupling="dependent"), moons, N, "cpu") == {}
    assert score_errors(denoiser(moons.density, space="latent"), moons, N, "cpu") == {}
    assert score_errors(made, replace(moons, density=None), N, "cpu") == {}
    assert score_errors(made, moons.for_task("class"), N, "cpu") == {}
    only = SimpleNamespace(log_prob=moons.density.log_prob, score=moons.density.score)
    assert score_errors(made, replace(moons, density=only), N, "cpu") == {}


# -- the log-likelihood's


def asked(moons, recipe, found=()):
    """Return the context of a model on a known density; `found` are its likelihoods."""
    return context(
        Features(torch.zeros(2, 2)),
        settings=protocol(likelihood_n=N),
        recipe=recipe,
        data=moons,
        device="cpu",
        once=lambda name, compute: list(found) if name == "likelihoods" else compute(),
    )


def test_log_likelihood_errors_are_told_by_kind(moons):
    """Catches bits for nats, a signed error that would rank a lucky test split first, and kinds that mix."""
    x = moons.test.examples(chosen_rows(moons, N)).double()
    best = moons.density.log_prob(x)
    found = [
        Likelihood(best - 0.25, "ode"),
        Likelihood(best - 1.5, "vlb", k=20),
        Likelihood(best + 0.25, "exact"),
    ]
    errors = log_likelihood_error(asked(moons, None, found))
    assert {name: value.value for name, value in errors.items()} == pytest.approx(
        {
            "log-likelihood error[ode]": 0.25,
            "log-likelihood error[vlb-20]": 1.5,
            "log-likelihood error[exact]": 0.25,
        }
    )
    assert all(direction(column) == "lower" for column in errors)
    assert log_likelihood_error(asked(moons, None)) == {}


def test_capabilities_are_asked_for(moons):
    """Catches a recipe without a denoiser that is asked for one, and an order that depends on the family."""
    assert reasons(score_error_columns(asked(moons, object()))) == ["the model has no denoiser"]
    recipe = SimpleNamespace(denoiser=lambda: denoiser(moons.density))
    assert len(score_error_columns(asked(moons, recipe))) == len(SIGMAS)
    images = replace(moons, info=DataInfo("digits", (1, 8, 8), levels=17), density=None)
    assert len(reasons(score_error_columns(asked(images, recipe)))) == 1
