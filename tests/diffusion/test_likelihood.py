"""The variational bound: closed forms, quadrature, and masses that add up."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from tests.diffusion.analytic import Exact, Noise, vp
from zoo_core.diffusion.likelihood import (
    bound,
    discretized_gaussian,
    gaussian_log_prob,
    prior_kl,
    step_kl,
    strata,
)
from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.errors import UsageError


class Quadrature(Noise):
    """Rows carry fixed normals: with their weights, a mean over rows is an integral, exact for squares."""

    def __init__(self, nodes: torch.Tensor) -> None:
        super().__init__(len(nodes))
        self.nodes = nodes

    def randn(self, shape, **address):
        return self.nodes.reshape(-1, *shape)


def hermite(count=4):
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


def gap(steps, variance, std=0.5):
    """Bound minus entropy on N(0, std^2) with the exact denoiser, nats per dimension, without sampling."""
    nodes, weights = hermite()
    x0 = std * nodes.repeat_interleave(len(nodes))[:, None]
    noise = Quadrature(nodes.repeat(len(nodes)))
    weight = (weights[:, None] * weights).flatten()
    denoise = Exact(lambda x, sigma: x * std**2 / (std**2 + sigma**2), vp(steps))
    pieces = bound(denoise, x0, noise=noise, variance=variance, decoder=gaussian_log_prob)
    assert pieces.shape == (len(x0), steps + 1)
    entropy = 0.5 * math.log(2 * math.pi * math.e * std**2)
    return float(weight @ pieces.sum(1)) - entropy


@pytest.mark.parametrize(("variance", "expected"), [("beta", 0.0010923), ("beta-tilde", 0.4563484)])
def test_gap_of_the_bound_on_a_gaussian(variance, expected):
    """Catches any wrong term, variance, constant or level of the bound (E9: it lies above the entropy)."""
    assert gap(1000, variance) == pytest.approx(expected, abs=1e-6)


def test_gap_halves_as_the_chain_doubles():
    """Catches a part of the gap that does not come from the chain's finite steps."""
    assert gap(500, "beta") / gap(1000, "beta") == pytest.approx(2, abs=0.05)


def test_prior_term():
    """Catches a start that forgets the signal that is left: 2.018e-5 nats a dimension at x0^2 = 1."""
    schedule = vp()
    std = (1 + schedule.ratio_max**2) ** 0.5
    x0 = torch.ones(2, 3, 1, 1)
    found = prior_kl(x0, schedule.ratio_max, std)
    assert found.tolist() == pytest.approx([3 * 2.018e-5] * 2, rel=1e-3)
    q = torch.distributions.Normal(x0.double(), schedule.ratio_max)
    p = torch.distributions.Normal(torch.zeros_like(x0).double(), std)
    torch.testing.assert_close(
        found, torch.distributions.kl_divergence(q, p).flatten(1).sum(1), rtol=1e-6, atol=0
    )


def test_step_term_is_torchs_kl():
    """Catches a swapped direction or a shift measured at the wrong level."""
    t, s, std = (torch.tensor(v).double() for v in (2.0, 1.5, 0.9))
    x0, guess, x = (torch.tensor([v]).double() for v in (0.4, -0.2, 1.1))
    ratio = (s / t) ** 2
    q = torch.distributions.Normal(x0 + ratio * (x - x0), s * (t**2 - s**2).sqrt() / t)
    p = torch.distributions.Normal(guess + ratio * (x - guess), std)
    torch.testing.assert_close(step_kl(x0, guess, t, s, std), torch.distributions.kl_divergence(q, p))


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("std", [0.001, 0.01, 0.3, 20.0])
def test_masses_of_the_levels_add_up(levels, std):
    """Catches bins of a wrong width and outer bins without their tails; means lie in and out of the range."""
    x = 2 * torch.arange(levels).double() / (levels - 1) - 1
    log_prob = discretized_gaussian(levels)
    for mean in (-3.0, -1.0, 0.123, 0.5, 1.0, 2.0):
        found = log_prob(x, torch.full_like(x, mean), torch.full_like(x, std))
        assert bool(torch.isfinite(found).all())
        assert float(found.exp().sum()) == pytest.approx(1, abs=1e-12)
        edges = np.concatenate(([-np.inf], (x[1:] + x[:-1]).numpy() / 2, [np.inf]))
        mass = np.diff(stats.norm(mean, std).cdf(edges))
        torch.testing.assert_close(found.exp(), torch.from_numpy(mass), rtol=0, atol=1e-12)


def test_far_bins_keep_their_digits():
    """Catches log 0 where a guess is far off: the upper tail is as exact as the lower."""
    log_prob = discretized_gaussian(256)
    x = torch.tensor([-0.2, 0.2]).double()
    low, high = log_prob(x, -x * 3, torch.full_like(x, 0.01))
    assert float(low) == pytest.approx(float(high), rel=1e-9)
    assert -4000 < float(low) < -3000


def test_strata_cover_each_step_once():
    """Catches a step term counted twice or left out."""
    for steps, count in ((2, 1), (10, 3), (10, 50), (1000, 64), (1000, 999), (1000, 1)):
        edges = strata(steps, count)
        assert (int(edges[0]), int(edges[-1])) == (2, steps + 1)
        assert bool((edges.diff() > 0).all())
        assert len(edges) - 1 <= min(count, steps - 1)
    assert strata(1000, 999).tolist() == list(range(2, 1002))


def test_a_few_terms_stand_for_all():
    """Catches a biased subset: over every choice of t, evenly, the mean is the sum over all steps."""
    schedule = DiscreteVP(linear_betas(9, 0.01, 0.5))
    rows = math.lcm(*strata(9, 3).diff().tolist())

    class Even(Noise):
        def randn(self, shape, **address):
            return torch.full((self.n, *shape), 0.7, dtype=torch.float64)

        def rand(self, shape, **address):
            return (torch.arange(self.n) + 0.5).double() / self.n

    denoise = Exact(lambda x, sigma: x * 0.5 / (0.5 + sigma**2), schedule)
    x0 = torch.full((rows, 1), 0.3, dtype=torch.float64)
    kwargs = {"variance": "beta", "decoder": gaussian_log_prob}
    some = bound(denoise, x0, noise=Even(rows), terms=3, **kwargs)
    every = bound(denoise, x0, noise=Even(rows), **kwargs)
    assert some.shape[1] < every.shape[1] == 10
    torch.testing.assert_close(some.sum(1).mean(), every.sum(1).mean())


@pytest.mark.parametrize(("variance", "most"), [("beta-tilde", 0.03), ("beta", 0.4)])
def test_bound_lies_above_the_entropy_of_levels(variance, most):
    """Catches a decoder on the wrong bins: on four equally likely levels the bound is at least log 4.

    On points beta-tilde is the better variance; what beta costs is the sum of log((t + 1) / t) like terms.
    """
    values = torch.linspace(-1, 1, 4, dtype=torch.float64)

    def posterior_mean(x, sigma):
        return (-((x[..., None] - values) ** 2) / (2 * sigma[..., None] ** 2)).softmax(-1) @ values

    x0 = values.repeat(200)[:, None]
    denoise = Exact(posterior_mean, vp())
    pieces = bound(denoise, x0, noise=Noise(800), variance=variance, decoder=discretized_gaussian(4))
    gap = float(pieces.sum(1).mean()) - math.log(4)
    error = float(pieces.sum(1).std()) / 800**0.5
    assert -4.5 * error < gap < most + 4.5 * error


def test_one_noise_stream_an_example():
    """Catches a bound that depends on the batch it is computed in."""
    from zoo_core.seeds import Seeds

    denoise = Exact(lambda x, sigma: x * 0.5 / (0.5 + sigma**2), vp(50))
    x0 = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

    def run(rows):
        noise = Seeds(3, range(4))[rows]
        kwargs = {"variance": "beta", "decoder": gaussian_log_prob, "terms": 8}
        return bound(denoise, x0[rows], noise=noise, **kwargs)

    torch.testing.assert_close(torch.cat((run(slice(0, 1)), run(slice(1, 4)))), run(slice(0, 4)))


def test_a_continuous_model_has_no_chain():
    """Catches a bound that names no T."""
    denoise = Exact(lambda x, sigma: x)
    with pytest.raises(UsageError, match="continuous"):
        bound(denoise, torch.zeros(1, 1), noise=Noise(1), variance="beta", decoder=gaussian_log_prob)


def test_a_chain_of_one_step():
    """Catches an empty sum that fails: T = 1 has the prior's and the decoder's piece only."""
    schedule = DiscreteVP(torch.tensor([0.5]))
    pieces = bound(
        Exact(lambda x, sigma: x, schedule),
        torch.zeros(2, 3),
        noise=Noise(2),
        variance="beta",
        decoder=gaussian_log_prob,
    )
    assert pieces.shape == (2, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_the_discretized_gaussian_is_finite_at_any_mean_and_scale(levels: int, dtype: torch.dtype) -> None:
    """Catches the gradient of log_ndtr, which is not a number far in a tail, and differences that vanish."""
    x = (2 * torch.arange(levels, dtype=torch.float64) / (levels - 1) - 1).to(dtype)
    for log_std, mean in itertools.product(
        (-12.0, -7.0, -4.0, -2.0, 0.0, 3.0, 12.0), (0.0, 0.3, -1.0, 5.0, 1e3, -1e8, 1e38)
    ):
        free = torch.full_like(x, mean).requires_grad_()
        std = torch.full_like(x, math.exp(log_std)).requires_grad_()
        found = discretized_gaussian(levels)(x, free, std)
        assert bool(torch.isfinite(found).all())
        assert all(bool(torch.isfinite(g).all()) for g in torch.autograd.grad(found.sum(), (free, std)))
        if abs(mean) < 10:
            assert float(found.detach().double().exp().sum()) == pytest.approx(1, abs=1e-4)


def test_the_discretized_gaussian_in_float32_is_that_in_float64() -> None:
    """Catches lost digits of the log-mass and of its slope, also where a bin is far from the mean."""
    x = 2 * torch.arange(256, dtype=torch.float64) / 255 - 1
    for log_std, mean in itertools.product((-6.0, -3.0, -1.0, 2.0), (-1.0, -0.31, 0.8, 3.0)):
        found = []
        for dtype in (torch.float64, torch.float32):
            free, std = (torch.full_like(x, v).to(dtype).requires_grad_() for v in (mean, math.exp(log_std)))
            log_prob = discretized_gaussian(256)(x.to(dtype), free, std)
            slopes = torch.autograd.grad(log_prob.sum(), (free, std), retain_graph=True)
            each = torch.autograd.grad(log_prob, std, torch.ones_like(log_prob))
            found.append([log_prob.detach().double(), *(s.double() for s in (*slopes, *each))])
        for exact, single in zip(*found, strict=True):
            scale = exact.abs().clamp_min(1)
            assert float(((single - exact).abs() / scale).max()) < 2e-3
