"""Denoising, sliced and implicit score matching: gradients in closed form, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.ncsn.test_ncsn import DIGITS, MOONS, batch, context, recipe
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo
from zoo_ncsn.ncsn import OBJECTIVES, score_matching
from zoo_ncsn.objectives import implicit_score_matching, sliced_score_matching

S0, N, D = 0.6, 100_000, 2
RNG = torch.Generator().manual_seed(0)
X, EPS = (torch.randn(N, D, generator=RNG, dtype=torch.float64) for _ in range(2))


def gradients(objective: str, gain: float, sigma: float) -> Tensor:
    """Return the loss's derivative by g of each example, (N,), for the score -g x~ on N(0, S0^2 I)."""
    g = torch.full((N,), gain, dtype=torch.float64, requires_grad=True)
    level = torch.full((N,), sigma, dtype=torch.float64)
    rng = torch.Generator().manual_seed(1)
    loss = OBJECTIVES[objective](lambda x: -g[:, None] * x, S0 * X, level, EPS, rng)
    return torch.autograd.grad(loss.sum(), g)[0]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_all_objectives_have_the_gradient_of_the_explicit_one(objective, sigma):
    """sigma^2 D (g V - 1) with V = s0^2 + sigma^2: losses that differ by constants and share a minimizer.

    Catches a divergence of the wrong sign, a weight that is lost and a 1/2.
    """
    var = S0**2 + sigma**2
    for gain in (0.3, 1 / var, 2.5):
        found = gradients(objective, gain, sigma)
        error = float(found.std()) / N**0.5
        expected = sigma**2 * D * (gain * var - 1)
        assert float(found.mean()) == pytest.approx(expected, abs=4.5 * error + 1e-12)


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_the_variance_of_the_gradient_at_the_minimizer(sigma):
    """sigma^2 s0^2 D by denoising, 2 sigma^4 D by the others."""
    at = 1 / (S0**2 + sigma**2)
    expected = {"dsm": sigma**2 * S0**2 * D, "ism": 2 * sigma**4 * D, "ssm": 2 * sigma**4 * D}
    for name, variance in expected.items():
        assert float(gradients(name, at, sigma).var()) == pytest.approx(variance, rel=0.05)


class Curved(nn.Module):
    """A field that is not the gradient of a function."""

    def forward(self, x):
        return torch.stack((torch.sin(2 * x[:, 0]) + x[:, 1], x[:, 0] * x[:, 1] ** 2), 1)


def test_the_divergence_and_its_estimate():
    """Against the divergence by hand; the mean over all four v is exact. Catches a row for a column."""
    x, sigma = X[:50], torch.linspace(0.5, 2, 50, dtype=torch.float64)
    field = Curved()
    by_hand = 2 * torch.cos(2 * x[:, 0]) + 2 * x[:, 0] * x[:, 1]
    expected = sigma**2 * (field(x).square().sum(1) / 2 + by_hand)
    torch.testing.assert_close(implicit_score_matching(field, x, sigma), expected)
    signs = [torch.tensor([a, b]).double() for a in (-1, 1) for b in (-1, 1)]
    found = [sliced_score_matching(field, x, sigma, v.expand_as(x)) for v in signs]
    torch.testing.assert_close(torch.stack(found).mean(0), expected)
    assert (found[0] - expected).abs().max().item() > 0.1


def test_without_noise_the_minimizer_is_the_score_of_the_data_and_a_constant_value_has_none():
    """On N(0, s0^2) the gradient by g is s0^2 g - 1 per value; on a constant it is -1 at any g."""
    one = torch.ones(N, dtype=torch.float64)
    for gain in (1 / S0**2, 50.0):
        for x, var in ((S0 * X, S0**2), (torch.zeros(N, D, dtype=torch.float64), 0.0)):
            g = torch.full((N,), gain, dtype=torch.float64, requires_grad=True)
            v = torch.ones_like(x)
            for loss in (
                implicit_score_matching(lambda at, g=g: -g[:, None] * at, x, one),
                sliced_score_matching(lambda at, g=g: -g[:, None] * at, x, one, v),
            ):
                (found,) = torch.autograd.grad(loss.sum(), g)
                error = float(found.std()) / N**0.5
                assert float(found.mean()) == pytest.approx(D * (gain * var - 1), abs=4.5 * error + 1e-9)


def test_denoising_is_the_default_and_unchanged():
    """Catches another order of random numbers: the loss by its parts, from the same generator."""
    made, x = recipe(MOONS), torch.rand(8, 2)
    found = made.loss(batch(x), context()).loss
    rng = context().rng
    t = made.levels(8, rng, x.device)
    eps = torch.randn(x.shape, generator=rng)
    sigma = made.schedule.sigma(t)

    def score(noisy):
        return -made.net(noisy, t) / sigma.float()[:, None]

    assert torch.equal(found, score_matching(score, x, sigma, eps).mean() / 2)
    assert made.config.model.objective == "dsm"


@pytest.mark.parametrize("data", [MOONS, DIGITS], ids=["moons", "digits"])
@pytest.mark.parametrize("objective", ["ssm", "ism"])
def test_networks_are_trained_by_it(objective, data):
    """Catches a graph that is cut: each parameter gets a gradient; attention is differentiated twice."""
    made = recipe(data, **{"model.objective": objective, "model.channels": 8})
    for parameter in made.parameters():  # heads start at zero, where nothing before them has a gradient
        parameter.data = parameter.data + 0.02
    made.loss(batch(torch.rand(2, *data.shape)), context()).loss.backward()
    moved = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in made.net.parameters()]
    assert sum(moved) > 0.8 * len(moved)
    assert all(bool(torch.isfinite(p.grad).all()) for p in made.net.parameters() if p.grad is not None)
    with torch.no_grad():
        assert torch.isfinite(made.loss(batch(torch.rand(2, *data.shape)), context()).loss)


def test_what_holds_a_derivative_says_so():
    for objective, twice in (("dsm", False), ("ssm", True), ("ism", True)):
        (stage,) = recipe(**{"model.objective": objective}).stages()
        assert [phase.second_order for phase in stage.phases] == [twice]


def test_implicit_score_matching_of_many_values_is_refused():
    icons = DataInfo("emoji", (3, 32, 32), levels=256)
    with pytest.raises(UsageError, match="backward pass for each of the 3,072 values"):
        recipe(icons, **{"model.objective": "ism"})
    recipe(icons, **{"model.objective": "ssm"})
