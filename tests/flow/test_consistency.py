"""Consistency models: the boundary, the exact function of a Gaussian, the gap's schedule, the sampler."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from tests.making import batch, context, made_of
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.sampling import bind
from zoo_core.diffusion.specs import HEUN
from zoo_core.errors import UsageError
from zoo_core.interfaces import HasDenoiser
from zoo_core.runs.initial import match
from zoo_core.seeds import Seeds
from zoo_core.types import DataInfo, SampleRequest
from zoo_flow.consistency import (
    Consistency,
    ConsistencyConfig,
    ConsistencyFunction,
    ConsistencyModel,
    consistency_losses,
    distances,
    lower_level,
)
from zoo_sde.edm import EDM, EDMConfig, Preconditioned

POINTS = DataInfo("moons", (2,), levels=None)
DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10)
STD = 0.7


def made(kind=Consistency, config=ConsistencyConfig, data=POINTS, **options):
    return made_of(kind, config, data, **options)


def randomized(recipe):
    for parameter in recipe.net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return recipe


class Exact(nn.Module):
    """The consistency function of N(0, STD^2), whose flow scales x by the standard deviation of its level."""

    def __init__(self, sigma_min):
        super().__init__()
        self.sigma_min = sigma_min

    def forward(self, x, sigma, cond=None):
        return x * like(((STD**2 + self.sigma_min**2) / (STD**2 + sigma**2)).sqrt(), x)


@pytest.mark.parametrize("data", [POINTS, DIGITS], ids=lambda data: data.name)
def test_the_function_is_the_identity_at_the_lowest_level(data):
    function = randomized(made(data=data)).net
    x = 3 * torch.randn(4, *data.shape, generator=torch.Generator().manual_seed(0))
    low = torch.full((4,), function.sigma_min, dtype=torch.float64)
    assert torch.equal(function(x, low), x)
    assert not torch.allclose(function(x, 1.1 * low), x, rtol=0, atol=1e-6)


def test_far_from_the_lowest_level_it_is_edms_denoiser():
    """A trained edm is therefore a start: the first stage is the training of a denoiser."""
    net = randomized(made()).net.net
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.01, 0.3, 1.0, 9.0, 80.0], dtype=torch.float64)
    denoised = Preconditioned(net, 0.5)(x, sigma.log() / 4)
    torch.testing.assert_close(ConsistencyFunction(net, 0.5, 1e-12)(x, sigma), denoised)


def test_the_weights_of_an_edm_fit_by_name():
    edm = made(EDM, EDMConfig, DIGITS)
    own = made(data=DIGITS)
    found = match(edm.state_dict(), own.state_dict())
    assert found.pairs == {name: name for name in own.state_dict()}


def gaussian(n=40):
    """Nodes of x0 and eps, with their weights in an expectation, and a level t for all of them."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    x, w = (torch.from_numpy(a).double() for a in (nodes, weights / weights.sum()))
    x0, eps = torch.cartesian_prod(STD * x, x).T[..., None]
    return x0, eps, torch.outer(w, w).flatten()


@pytest.mark.parametrize("t", [0.05, 0.8, 10.0])
def test_the_exact_function_has_no_loss_and_no_gradient_in_the_limit(t):
    """Of squared distances over t - r, both fall with the gap; of another function neither does."""
    exact = Exact(0.002)
    x0, eps, weights = gaussian()

    def measured(gap, moved):
        shift = torch.tensor(moved, dtype=torch.float64, requires_grad=True)

        def function(x, sigma, cond=None):
            return exact(x, sigma) + shift * (1 - exact.sigma_min / like(sigma, x)) * x

        levels = torch.full((len(x0),), t, dtype=torch.float64)
        losses = consistency_losses(function, x0, levels, levels * (1 - gap), eps, "squared", 1.0)
        loss = (weights * losses).sum()
        loss.backward()
        return float(loss.detach()), float(shift.grad)

    wide, narrow = measured(0.02, 0.0), measured(0.01, 0.0)
    for coarse, fine in zip(wide, narrow, strict=True):
        assert abs(fine) < 0.04 * max(1, t)
        assert fine / coarse == pytest.approx(0.5, abs=0.02)
    off = [measured(gap, 0.1)[1] for gap in (0.02, 0.01)]
    assert off[1] / off[0] == pytest.approx(1, abs=0.1)
    assert abs(off[1]) > 5 * abs(narrow[1])


def test_only_the_upper_level_has_a_gradient():
    factor = torch.tensor(0.5, requires_grad=True)
    x0, t = torch.zeros(3, 2), torch.tensor([2.0, 2.0, 4.0], dtype=torch.float64)
    eps = torch.ones(3, 2)
    losses = consistency_losses(lambda x, sigma, cond: factor * x, x0, t, t / 2, eps, "squared", 1.0)
    # (a t - b r)^2 / (t - r) at a = b = 1/2 with r = t / 2: t / 8; its derivative by a alone is t.
    torch.testing.assert_close(losses, t.float() / 8)
    losses.sum().backward()
    assert float(factor.grad) == pytest.approx(8.0)


def test_the_distances_are_their_formulas():
    a, b = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2) * torch.tensor([1.0, 3.0])[:, None, None, None]
    torch.testing.assert_close(distances(a, b, "squared", 0.5), torch.tensor([1.0, 9.0]))
    huber = torch.tensor([math.sqrt(1.25) - 0.5, math.sqrt(9.25) - 0.5])
    torch.testing.assert_close(distances(a, b, "huber", 0.5), huber)
    tiny = torch.zeros(1, 4, requires_grad=True)
    distances(tiny, torch.zeros(1, 4), "huber", 1e-3).sum().backward()
    assert bool(torch.isfinite(tiny.grad).all())  # equal outputs: no root of zero


def test_the_gap_shrinks_from_stage_to_stage():
    model = ConsistencyModel(sigma_min=1e-9)
    t = torch.tensor([0.1, 1.0, 50.0], dtype=torch.float64)
    n = 1 + 8 / (1 + t.exp())
    for stage in (2, 3, 7):
        torch.testing.assert_close(1 - lower_level(t, stage, model) / t, n / 2 ** (stage + 1))
    first = lower_level(t, 0, model)
    assert float(first[0]) == model.sigma_min  # against the data themselves: a denoiser's target
    assert float(first[2]) == pytest.approx(25)
    for change in ({"q": 4.0}, {"k": 1.0}, {"b": 5.0}):
        other = ConsistencyModel(sigma_min=1e-9, **change)
        assert not torch.allclose(lower_level(t, 3, other), lower_level(t, 3, model))


def test_stages_have_equal_length_and_change_the_loss():
    recipe = randomized(made(**{"model.stages": 4}))
    assert [recipe.stage_at(p) for p in (0.0, 0.24, 0.25, 0.5, 0.99)] == [0, 0, 1, 2, 3]
    given = batch(torch.randn(16, 2))

    def loss(progress):
        return float(recipe.loss(given, context(progress=progress)).loss)

    assert loss(0.0) == loss(0.24) != loss(0.25)


@pytest.mark.parametrize("change", [{"model.distance": "squared"}, {"model.huber": 0.3}])
def test_the_distance_is_an_option(change):
    given = batch(torch.randn(16, 2))
    losses = [randomized(made(**options)).loss(given, context(progress=0.5)).loss for options in ({}, change)]
    assert float(losses[0]) != pytest.approx(float(losses[1]), rel=1e-3)


def test_training_levels_are_a_truncated_normal_law():
    recipe = made(**{"model.sigma_min": 0.05, "model.sigma_max": 3.0})
    t = recipe.levels(4000, torch.Generator().manual_seed(0), torch.device("cpu"))
    ends = [(math.log(end) + 1.1) / 2 for end in (0.1, 3.0)]
    law = stats.truncnorm(*ends, loc=-1.1, scale=2)
    assert t.dtype == torch.float64
    assert stats.kstest(t.log().numpy(), law.cdf).statistic < 1e-3
    assert float(t.min()) >= 0.1  # above sigma_min, where t - r would be 0


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_sampler_keeps_the_law_of_the_data_in_any_number_of_steps(steps):
    """With a high sigma_min, a step that forgets what noise a sample has already gives too much variance."""
    recipe = made(**{"model.sigma_min": 0.5, "model.sigma_max": 20.0})
    recipe.net = Exact(0.5)
    drawn = recipe.sample(SampleRequest(Seeds(0, range(20_000)), steps=steps))
    assert drawn.calls == steps
    assert float(drawn.x.var()) == pytest.approx(STD**2 + 0.5**2, rel=0.02)


def test_samples_are_those_of_the_function_at_the_levels():
    recipe = randomized(made(**{"model.sigma_min": 0.02, "model.sigma_max": 2.0}))
    assert recipe.sampling_levels(2) == pytest.approx([2.0, 0.2])
    noise = Seeds(3, range(4))
    start, again = noise.randn((2,), name="start"), noise.randn((2,), name="step")
    levels = torch.tensor([2.0, 0.2], dtype=torch.float64)[:, None].expand(2, 4)
    first = recipe.net(2 * start, levels[0])
    second = recipe.net(first + math.sqrt(0.2**2 - 0.02**2) * again, levels[1])
    drawn = [recipe.sample(SampleRequest(Seeds(3, range(4)), steps=steps)).x for steps in (None, 1, 2)]
    for x, expected in zip(drawn, (first, first, second), strict=True):
        torch.testing.assert_close(x, expected)


def test_it_is_not_a_denoiser_and_samplers_are_refused_with_the_reason():
    recipe = made()
    assert not isinstance(recipe, HasDenoiser)
    with pytest.raises(UsageError, match=r"sampler=heun needs a denoiser.*not the mean"):
        made(**{"sampler.name": "heun"})
    with pytest.raises(UsageError, match=r"sampler=heun needs a denoiser"):
        recipe.sample(SampleRequest(Seeds(0, range(2)), sampler=bind(HEUN)))


def test_levels_that_do_not_ascend_are_refused():
    with pytest.raises(UsageError, match=r"0 < 2 sigma_min < sigma_max"):
        made(**{"model.sigma_min": 0.6, "model.sigma_max": 1.0})
