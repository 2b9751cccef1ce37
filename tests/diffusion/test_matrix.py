"""Every registered sampler on every schedule, with the exact denoiser: marginals, modes, and orders.

`langevin` stays at one level and makes other promises; they are tested in test_solvers.py.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from tests.diffusion.analytic import Exact, gaussian, mixture
from zoo_core.diffusion import grids
from zoo_core.diffusion.multistep import dpmpp_2m
from zoo_core.diffusion.samplers import euler, heun
from zoo_core.diffusion.sampling import bind
from zoo_core.diffusion.schedule import DiscreteVP, cosine_betas, linear_betas
from zoo_core.diffusion.sdes import VE, VP, SubVP
from zoo_core.diffusion.specs import SAMPLERS
from zoo_core.seeds import Seeds
from zoo_ncsn.noise_levels import NoiseLevels

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers, about numpy

SCHEDULES = {
    "chain": DiscreteVP(linear_betas(1000)),
    "cosine": DiscreteVP(cosine_betas(1000)),
    "vp": VP(),
    "subvp": SubVP(),
    "ve": VE(),
    "schedule": NoiseLevels(1000, 0.01, 50.0),
    "edm": None,  # sigma from 0.002 to 80, alpha 1
}
STEPS = {
    "heun": 100,
    "dpmpp-2m": 100,
    "dpmpp-3m": 100,
    "unipc": 100,
    "edm-stochastic": 100,
    "restart": 100,
    "dpmpp-sde": 200,
    "diffusers": 100,
    "pf-ode": 2,
    "annealed-langevin": 200,
    "predictor-corrector": 250,
}
"""Where a sampler needs more or fewer than 400 for its own error to be small beside chance."""
OPTIONS = {
    "annealed-langevin": {"step": 0.5, "repeats": 6},
    "predictor-corrector": {"snr": 0.1},
    "edm-stochastic": {"S_churn": 30, "S_noise": 1},
    "restart": {"repeats": 6, "inner_steps": 8},
}
"""Langevin dynamics: long enough at a level to follow it down, or steps too short to widen the marginal.
Added noise: much of it, without the factor that compensates for errors of a network."""
NAMES = [spec.name for spec in SAMPLERS if spec.name != "langevin"]

MEAN = torch.tensor([0.5, -0.3], dtype=torch.float64)
COV = torch.tensor([[0.6, 0.2], [0.2, 0.1]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
CENTERS = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=torch.float64)


class Doubles(Seeds):
    """Seeds in float64, one stream for the whole batch: these samples are never split."""

    def __init__(self, n, seed=0):
        super().__init__(seed, range(1))
        self.n = n
        self.rng = torch.Generator().manual_seed(seed)

    def randn(self, shape, **address):
        return torch.randn(self.n, *shape, generator=self.rng, dtype=torch.float64)

    def randint(self, high, shape=(), **address):
        return torch.randint(high, (self.n, *shape), generator=self.rng)


def run(name, denoise, x):
    if name == "diffusers":
        pytest.importorskip("diffusers")
    sampler = bind(next(spec for spec in SAMPLERS if spec.name == name))
    sigmas = sampler.grid(denoise, STEPS.get(name, 400))
    options = dict(sampler.options) | OPTIONS.get(name, {})
    return sampler.function(denoise, x, sigmas, noise=Doubles(len(x), 7), **options)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", NAMES)
def test_a_gaussian_has_its_mean_and_covariance(name, schedule):
    """Catches a coefficient that is right for one clock and wrong for another, from the exact marginal."""
    denoise, n = Exact(gaussian(MEAN, COV), SCHEDULES[schedule]), 3000
    noisy = COV + denoise.sigma_max**2 * torch.eye(2, dtype=torch.float64)
    x = run(name, denoise, MEAN + Doubles(n, 1).randn((2,)) @ torch.linalg.cholesky(noisy).T)
    var = COV.diagonal()
    assert float(((x.mean(0) - MEAN).abs() / (var / n).sqrt()).max()) < 4.5
    error = (torch.cov(x.T) - COV).abs() - 0.04 * (var[:, None] * var).sqrt()  # of steps of finite length
    assert float((error / ((var[:, None] * var + COV**2) / n).sqrt()).max()) < 4.5


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", NAMES)
def test_a_mixture_keeps_its_weights_and_widths(name, schedule):
    """Catches what affine tests can't: a sampler that drifts to the nearest mode, or blurs it."""
    denoise, n = Exact(mixture(WEIGHTS, CENTERS, 0.2), SCHEDULES[schedule]), 2000
    rng = torch.Generator().manual_seed(5)
    mode = torch.multinomial(WEIGHTS, n, replacement=True, generator=rng)
    noise = torch.randn(n, 2, generator=rng, dtype=torch.float64)
    x = run(name, denoise, CENTERS[mode] + math.hypot(0.2, denoise.sigma_max) * noise)
    share = float((x[:, 0] < -0.1).double().mean())
    assert abs(share - 0.3) < 4.5 * math.sqrt(0.3 * 0.7 / n) + 0.01
    distance = (x[:, None] - CENTERS).norm(dim=-1).min(1).values
    assert float(distance.square().mean()) == pytest.approx(2 * 0.2**2, rel=0.05 + 4.5 / math.sqrt(n))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2), (dpmpp_2m, 2)])
def test_order_of_convergence(sampler, order, schedule):
    """Catches a slope or an extrapolation that is not used: the error falls as steps^-order on any clock."""
    denoise = Exact(gaussian(MEAN, COV), SCHEDULES[schedule])
    values, vectors = torch.linalg.eigh(COV)
    least, most = denoise.sigma_min, denoise.sigma_max
    x = Doubles(20, 1).randn((2,)) * denoise.prior_std
    # To the least level along the flow, and from there by Tweedie's formula, as every sampler ends.
    gain = ((values + least**2) / (values + most**2)).sqrt() * values / (values + least**2)
    exact = MEAN + ((x - MEAN) @ vectors * gain) @ vectors.T
    counts = (400, 800, 1600)
    errors = [
        float((sampler(denoise, x, grids.karras(denoise, n), noise=Doubles(20)) - exact).norm())
        for n in counts
    ]
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([order, order], abs=0.2)
