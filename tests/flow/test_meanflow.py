"""MeanFlow: the identity on flows in closed form, forward derivatives of the networks, the sampler."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from tests.making import batch, context, made_of, randomized
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.sampling import bind
from zoo_core.errors import UsageError
from zoo_core.nn.backbone import Backbone, build_backbone
from zoo_core.seeds import Seeds
from zoo_core.types import Cond, DataInfo, SampleRequest
from zoo_flow.matching import velocity_loss
from zoo_flow.meanflow import (
    AverageVelocity,
    MeanFlow,
    MeanFlowConfig,
    average_target,
    forward_mode,
    weighted,
)
from zoo_flow.samplers import FLOW_EULER

POINTS = DataInfo("moons", (2,), levels=None, classes=2)
DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10)
MEAN, STD = 0.4, 0.5


def spread(t):
    return ((1 - t) ** 2 * STD**2 + t**2).sqrt()


def velocity(x, t):
    """E[eps - x0 | x_t] for x0 from N(MEAN, STD^2) and independent noise, from the two conditional means."""
    t = like(t, x)
    centered = (x - (1 - t) * MEAN) / spread(t) ** 2
    return t * centered - (MEAN + (1 - t) * STD**2 * centered)


def average(x, t, cond=None, r=None):
    """The average velocity: the flow moves each x to the same quantile of the Gaussian at r."""
    if r is None:
        return velocity(x, t)
    t, r = like(t, x), like(r, x)
    end = (1 - r) * MEAN + spread(r) / spread(t) * (x - (1 - t) * MEAN)
    return (x - end) / (t - r)


class Exact(nn.Module):
    def forward(self, x, t, cond=None, r=None):
        return average(x, t, cond, r)


def made(data=POINTS, **options):
    return made_of(MeanFlow, MeanFlowConfig, data, **options)


def times(n=60, seed=0):
    both = torch.rand(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return both.amin(0), both.amax(0)


def test_the_closed_form_is_the_average_of_the_velocity_along_the_flow():
    """An independent check of the closed form that the other tests use: Gauss and Legendre's rule."""
    r, t = times()
    x = torch.randn(60, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = torch.zeros_like(x)
    for node, weight in zip(nodes, weights, strict=True):
        s = r + (t - r) * (node + 1) / 2
        place = x - like(t - s, x) * average(x, t, None, s)
        total += weight / 2 * velocity(place, s)
    torch.testing.assert_close(average(x, t, None, r), total, rtol=0, atol=1e-10)


def test_the_target_is_the_average_velocity_where_the_velocity_is_exact():
    r, t = times()
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = average_target(average, x, r, t, velocity(x, t))
    torch.testing.assert_close(target, average(x, t, None, r), rtol=0, atol=1e-5)
    assert float((target - velocity(x, t)).abs().max()) > 0.1  # the derivative is not nothing


def test_the_target_has_no_gradient():
    factor = torch.tensor(2.0, requires_grad=True)
    r, t = times(4)
    x = torch.ones(4, 2, dtype=torch.float64)
    target = average_target(lambda x, t, cond, r: factor * x * like(t, x), x, r, t, x)
    assert not target.requires_grad
    # d/dt (a x t) with dx/dt = 1 and x = 1: a t + a.
    torch.testing.assert_close(target, 1 - like((t - r) * 2 * (t + 1), x) * torch.ones_like(x))


def test_the_exact_average_velocity_has_no_gradient_though_training_velocities_are_noisy():
    """E over x0 and eps of (u - target) h(x_t) is 0 for any h, with v = eps - x0 in the target."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    z, w = (torch.from_numpy(a).double() for a in (nodes, weights / weights.sum()))
    x0, eps = torch.cartesian_prod(MEAN + STD * z, z).T[..., None]
    weight = torch.outer(w, w).flatten()[:, None]
    for r, t in ((0.0, 1.0), (0.2, 0.7), (0.5, 0.55)):
        r, t = (torch.full((len(x0),), s, dtype=torch.float64) for s in (r, t))
        x = torch.lerp(x0, eps, like(t, x0))
        error = average(x, t, None, r) - average_target(average, x, r, t, eps - x0)
        for h in (torch.ones_like(x), x, x**3):
            assert abs(float((weight * error * h).sum())) < 1e-10
        assert float((weight * error**2).sum()) > 0.01


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_of_average_velocity_are_exact_in_any_number(steps):
    recipe = made()
    recipe.net = Exact()
    request = SampleRequest(Seeds(0, range(50)), steps=steps)
    drawn = recipe.sample(request)
    assert drawn.calls == steps
    start = Seeds(0, range(50)).randn((2,), name="start")
    torch.testing.assert_close(drawn.x, MEAN + STD * start, rtol=1e-4, atol=1e-5)


def test_the_velocity_makes_it_a_denoiser_that_other_samplers_drive():
    recipe = made()
    recipe.net = Exact()
    denoise = recipe.denoiser()
    x = torch.randn(50, 2, dtype=torch.float64)
    sigma = torch.tensor(2.0, dtype=torch.float64)
    posterior = MEAN + STD**2 / (STD**2 + 4) * (x - MEAN)
    torch.testing.assert_close(denoise(x, sigma), posterior)
    request = SampleRequest(Seeds(0, range(50)), sampler=bind(FLOW_EULER), steps=20)
    assert recipe.sample(request).calls == 20


def test_guidance_needs_a_sampler_of_velocities():
    guided = {"sample.guidance_scale": 3.0}
    labeled = DataInfo("moons", (2,), levels=None, classes=2, task="class")
    with pytest.raises(UsageError, match=r"own sampler takes average velocities"):
        made(labeled, **guided)
    made(labeled, **guided, **{"sampler.name": "flow-heun"})


def test_without_averages_and_weights_it_is_flow_matching():
    recipe = made(DIGITS, **{"model.average": 0.0, "model.power": 0.0})
    randomized(recipe.net, 0.2)
    x = torch.rand(6, 1, 8, 8) * 2 - 1
    given = batch(x)
    found = recipe.loss(given, context()).loss

    rng = torch.Generator().manual_seed(0)
    x0 = recipe.training_x(given, rng)
    t = torch.stack([recipe.levels(6, rng, x.device) for _ in range(2)]).amax(0).float()
    torch.rand(1, generator=rng)
    eps = torch.randn(x.shape, generator=rng)
    expected = 64 * velocity_loss(partial(AverageVelocity.forward, recipe.net), x0, t, eps)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "change", [{"model.average": 1.0}, {"model.power": 1.0}, {"model.P_mean": 1.0}, {"model.P_std": 0.2}]
)
def test_each_option_changes_the_loss(change):
    x = torch.randn(16, 2)
    losses = []
    for options in ({}, change):
        recipe = made(**options)
        randomized(recipe.net, 0.2)
        losses.append(float(recipe.loss(batch(x), context()).loss))
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_the_fraction_of_averages_is_kept_in_the_mean_for_batches_of_any_size():
    recipe = made(**{"model.average": 0.25})
    rng = torch.Generator().manual_seed(0)
    for n in (1, 6, 32):
        counts = torch.tensor([recipe.averaged(n, rng) for _ in range(4000)]).double()
        assert float(counts.mean()) == pytest.approx(n / 4, abs=0.03)
        assert set(counts.tolist()) <= {math.floor(n / 4), math.ceil(n / 4)}
    assert {made(**{"model.average": 1.0}).averaged(3, rng) for _ in range(50)} == {3}


def test_the_weight_has_no_gradient():
    errors = torch.tensor([4.0, 0.0], requires_grad=True)
    found = weighted(errors, 0.5, 1e-2)
    torch.testing.assert_close(found.detach(), torch.tensor([4 / math.sqrt(4.01), 0.0]))
    found.sum().backward()
    torch.testing.assert_close(errors.grad, torch.tensor([1 / math.sqrt(4.01), 10.0]))


def test_the_network_is_told_both_times_and_without_the_lower_one_it_is_the_velocity():
    u = randomized(made().net, 0.2)
    x, t = torch.randn(3, 2), torch.full((3,), 0.8)
    velocity = u(x, t)
    assert torch.equal(velocity, u(x, t, None, t))
    assert not torch.allclose(velocity, u(x, t, None, t / 2), atol=1e-3)
    assert not torch.allclose(velocity, u(x, t / 2), atol=1e-3)


NETWORKS = {
    "mlp": (POINTS, {}),
    "unet": (DIGITS, {}),
    "dit": (DIGITS, {"net": "dit"}),
    "captions": (DataInfo("d", (1, 8, 8), 17, vocabulary=9, caption_length=4, task="text"), {}),
    "filters": (
        DataInfo("odd", (3, 9, 7), 256),
        {"fold": 2, "resample": "fir", "pyramid": True, "time": "fourier"},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_have_forward_derivatives_in_both_precisions(name):
    data, options = NETWORKS[name]
    small = Backbone(channels=8, width=16, layers=2, attention=(4,), **options)
    net = randomized(build_backbone(small, data, time_range=100.0, time_scale=1.0, times=2), 0.2)
    u = AverageVelocity(net)
    rng = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, 3, *data.shape, generator=rng)
    t = 1 + torch.rand(3, generator=rng)
    r = torch.rand(3, generator=rng)
    cond = Cond(tokens=torch.tensor([[1, 2], [3, 0], [4, 5]])) if data.vocabulary else None
    h = 1e-2
    with torch.no_grad():
        slope = (u(x + h * v, t + h, cond, r) - u(x - h * v, t - h, cond, r)) / (2 * h)
    target = average_target(u, x, r, t, v, cond)
    difference = (target - (v - like(t - r, x) * slope)).norm() / (like(t - r, x) * slope).norm()
    assert float(difference) < 1e-2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = average_target(u, x, r, t, v, cond)
        assert bool(torch.isfinite(u(x, t, cond, r)).all())
    assert torch.equal(again, target)  # the derivative is of float32 in both


def test_forward_mode_leaves_autocast_as_it_was():
    a = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with forward_mode(a.device):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16
