"""The schedule of levels, and the scale at which a network sees what stands on it."""

from __future__ import annotations

import math

import pytest
import torch

from zoo_core.diffusion import grids
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.scaling import Scaled
from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.diffusion.sdes import VE
from zoo_core.errors import UsageError
from zoo_ncsn.noise_levels import NoiseLevels

PAPER = NoiseLevels(10, 0.01, 1.0)


def test_the_papers_schedule():
    """Catches a schedule that is even on a line, or that is stored downwards while times count up (E34)."""
    assert float(PAPER.levels[0]) == 0.01
    assert float(PAPER.levels[-1]) == 1.0
    ratios = PAPER.levels[1:] / PAPER.levels[:-1]
    torch.testing.assert_close(ratios, torch.full_like(ratios, 100 ** (1 / 9)), rtol=1e-12, atol=0)
    assert float(ratios[0]) == pytest.approx(1.6681, abs=5e-5)
    assert PAPER.prior_std == PAPER.ratio_max == 1.0
    assert torch.equal(PAPER.sigma(torch.arange(1, 11)), PAPER.levels)
    assert bool((PAPER.alpha(torch.arange(1, 11)) == 1).all())


def test_a_level_is_given_the_nearest_time_in_its_logarithm():
    """Catches a time that is off by one, or rounded on a line: halfway is the root of a product."""
    t = torch.arange(1, 11)
    assert torch.equal(PAPER.t_of(PAPER.levels), t)
    assert torch.equal(PAPER.t_of(PAPER.levels.float()), t)
    middle = (PAPER.levels[1:] * PAPER.levels[:-1]).sqrt()
    assert torch.equal(PAPER.t_of(middle * 1.001), t[1:])
    assert torch.equal(PAPER.t_of(middle * 0.999), t[:-1])
    assert PAPER.t_of(torch.tensor([1e-6, 50.0])).tolist() == [1, 10]


def test_a_sampler_visits_the_trained_levels():
    """Catches a grid that walks between the levels, where the network was told nothing."""
    denoise = SigmaDenoiser(lambda x, t, cond: x, PAPER, "eps")
    sigmas = grids.geometric(denoise, 10)
    torch.testing.assert_close(sigmas[:-1], PAPER.levels.flip(0), rtol=1e-12, atol=0)
    assert PAPER.t_of(sigmas[:-1]).tolist() == list(range(10, 0, -1))


@pytest.mark.parametrize(("count", "low", "high"), [(1, 0.1, 1.0), (5, 0.0, 1.0), (5, 2.0, 1.0)])
def test_a_schedule_that_does_not_rise_is_refused(count, low, high):
    with pytest.raises(UsageError, match="a schedule of"):
        NoiseLevels(count, low, high)


@pytest.mark.parametrize(
    ("schedule", "t"),
    [(PAPER, torch.arange(1, 11)), (VE(0.01, 30.0), torch.linspace(0.01, 1, 10))],
    ids=["schedule", "VE"],
)
def test_unit_variance_goes_into_the_network(schedule, t):
    """Catches a division by sigma, or by 1 + sigma^2: data and noise of unit variance give unit variance."""
    rng = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(10, 20_000, generator=rng) for _ in range(2))
    x = x0 + schedule.sigma(t)[:, None].float() * eps
    seen = Scaled(lambda x, t, cond: x, schedule)(x, t)
    assert float((seen.var(1) - 1).abs().max()) < 4.5 * math.sqrt(2 / 20_000)
    assert seen.dtype == torch.float32


def test_scaling_leaves_a_variance_preserving_process_alone():
    """Catches a scale that forgets alpha: of a chain alpha^2 + sigma^2 is 1 already."""
    chain, x = DiscreteVP(linear_betas(100)), torch.ones(3, 4)
    torch.testing.assert_close(Scaled(lambda x, t, cond: x, chain)(x, torch.tensor([1, 50, 100])), x)
