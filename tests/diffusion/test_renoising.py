"""Stochastic samplers on Heun's method: the papers' algorithms step by step, and each of their options.

That they keep the moments of Gaussians and mixtures on every schedule is tested in test_matrix.py.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from tests.diffusion.analytic import Exact, Noise, mixture, vp
from zoo_core.config import validate
from zoo_core.diffusion import grids
from zoo_core.diffusion.options import ChurnConfig, RestartConfig
from zoo_core.diffusion.renoising import edm_stochastic, restart
from zoo_core.diffusion.samplers import heun
from zoo_core.diffusion.sampling import bind, check_score
from zoo_core.diffusion.specs import SAMPLERS
from zoo_core.errors import UsageError

WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
CENTERS = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=torch.float64)


class Spy(Exact):
    """Keeps the levels that it is called at."""

    def __init__(self, schedule=None):
        super().__init__(mixture(WEIGHTS, CENTERS, 0.2), schedule)
        self.called = []

    def __call__(self, x, sigma, cond=None):
        self.called.append(float(sigma))
        return super().__call__(x, sigma)


def start(denoise):
    return denoise.prior_std * Noise(20, seed=3).randn((2,))


def slope(denoise, x, t):
    """The flow's dx / dt = -t score = (x - D) / t, Eq. 3 of Karras et al."""
    return -t * ((denoise(x, torch.tensor(t, dtype=torch.float64)) - x) / t**2)


def trapezoid(denoise, x, t, s):
    """Lines 7 to 11 of Karras et al.'s Algorithm 2."""
    d = slope(denoise, x, t)
    ahead = x + (s - t) * d
    if s == 0:
        return ahead
    return x + (s - t) * (0.5 * d + 0.5 * slope(denoise, ahead, s))


def karras_algorithm_2(denoise, x, sigmas, noise, S_churn, S_tmin, S_tmax, S_noise):
    """In the paper's symbols; levels are raised to sigma_max at most."""
    t = sigmas.tolist()
    for i in range(len(t) - 1):
        gamma = min(S_churn / (len(t) - 1), math.sqrt(2) - 1) if S_tmin <= t[i] <= S_tmax else 0.0
        raised = min(t[i] + gamma * t[i], denoise.sigma_max)
        if raised > t[i]:
            x = x + math.sqrt(raised**2 - t[i] ** 2) * S_noise * noise.randn(x.shape[1:])
        x = trapezoid(denoise, x, raised, t[i + 1])
    return x


@pytest.mark.parametrize("schedule", [None, vp()], ids=["ve", "vp"])
@pytest.mark.parametrize("churn", [(3, 0.05, 50, 1.003), (40, 0, 1e9, 1.0), (5, 0.5, 2, 1.1)])
def test_churn_is_algorithm_2_of_karras(churn, schedule):
    """Catches noise of the wrong variance, and a slope of the level before the noise."""
    denoise = Spy(schedule)
    sigmas = grids.karras(denoise, 12)
    options = dict(zip(("S_churn", "S_tmin", "S_tmax", "S_noise"), churn, strict=True))
    ours = edm_stochastic(denoise, start(denoise), sigmas, noise=Noise(20), **options)
    assert max(denoise.called) == denoise.sigma_max
    assert len(denoise.called) == 23
    paper = karras_algorithm_2(denoise, start(denoise), sigmas, Noise(20), **options)
    torch.testing.assert_close(ours, paper, rtol=0, atol=1e-10)


def restart_algorithm_1(denoise, x, sigmas, noise, repeats, inner_steps, t_min, t_max):
    """Algorithm 1 of Xu et al. with one interval, in the paper's symbols."""
    t = sigmas.tolist()
    nearest = min(t[1:-1], key=lambda level: abs(level - t_min))
    root = [t_max ** (1 / 7), nearest ** (1 / 7)]
    inner = [(root[0] + k / inner_steps * (root[1] - root[0])) ** 7 for k in range(inner_steps + 1)]
    for a, b in pairwise(t):
        x = trapezoid(denoise, x, a, b)
        if b == nearest:
            for _ in range(repeats):
                x = x + math.sqrt(t_max**2 - nearest**2) * noise.randn(x.shape[1:])
                for c, d in pairwise(inner):
                    x = trapezoid(denoise, x, c, d)
    return x


@pytest.mark.parametrize("options", [(2, 3, 0.06, 0.3), (1, 1, 0.3, 5.0), (4, 2, 0.02, 40.0)])
def test_restart_is_the_papers_algorithm(options):
    """Catches noise of the wrong variance, an interval at the wrong level and one repetition too many."""
    denoise = Spy(vp())
    sigmas = grids.karras(denoise, 12)
    named = dict(zip(("repeats", "inner_steps", "t_min", "t_max"), options, strict=True))
    ours = restart(denoise, start(denoise), sigmas, noise=Noise(20), **named)
    assert len(denoise.called) == 23 + 2 * options[0] * options[1]
    paper = restart_algorithm_1(denoise, start(denoise), sigmas, Noise(20), **named)
    torch.testing.assert_close(ours, paper, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("sampler", "options"), [(edm_stochastic, {"S_churn": 0}), (restart, {"repeats": 0})]
)
def test_without_noise_they_are_heuns_method(sampler, options):
    """Catches noise, or a step, that is there without being asked for."""
    denoise = Spy()
    sigmas, noise = grids.karras(denoise, 9), Noise(20)
    found = sampler(denoise, start(denoise), sigmas, noise=noise, **options)
    assert torch.equal(found, heun(denoise, start(denoise), sigmas, noise=noise))
    assert noise.draws == 0


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        (edm_stochastic, {"S_churn": 3}),
        (edm_stochastic, {"S_tmin": 1}),
        (edm_stochastic, {"S_tmax": 1}),
        (edm_stochastic, {"S_noise": 1}),
        (restart, {"repeats": 1}),
        (restart, {"inner_steps": 2}),
        (restart, {"t_min": 0.15}),
        (restart, {"t_max": 0.5}),
    ],
)
def test_each_option_changes_the_samples(sampler, options):
    """Catches an option that is not passed on."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2))
    sigmas = grids.karras(denoise, 18)
    plain, other = (sampler(denoise, start(denoise), sigmas, noise=Noise(20), **o) for o in ({}, options))
    assert float((plain - other).abs().max()) > 1e-4


@pytest.mark.parametrize(
    ("steps", "options", "said"),
    [
        (18, {"t_min": 0.4}, "t_min < t_max"),
        (18, {"t_max": 90.0}, "the levels that the model knows"),
        (1, {}, "2 or more"),
        (4, {"t_min": 0.3, "t_max": 0.31}, "not below"),
    ],
)
def test_intervals_that_do_not_fit_are_refused(steps, options, said):
    """Catches noise that is added downwards, or at levels that the network does not know."""
    denoise = Spy()
    with pytest.raises(UsageError, match=said):
        restart(denoise, start(denoise), grids.karras(denoise, steps), noise=Noise(20), **options)
    assert not denoise.called


@pytest.mark.parametrize(
    ("config", "given"),
    [(ChurnConfig, {"S_tmin": 2, "S_tmax": 1}), (RestartConfig, {"t_min": 1, "t_max": 1})],
)
def test_intervals_of_no_length_are_refused_before_training(config, given):
    """Catches a mistake that shows only when samples are drawn."""
    _, mistakes = validate(config, given, "sampler")
    assert mistakes


@pytest.mark.parametrize(("name", "option"), [("edm-stochastic", "S_churn"), ("restart", "repeats")])
def test_they_add_noise_only_where_noise_is_independent_of_the_data(name, option):
    """Catches noise added to a flow between dependent pairs, whose marginals it does not keep."""
    spec = next(spec for spec in SAMPLERS if spec.name == name)
    denoise = Spy()
    denoise.coupling = "dependent"
    with pytest.raises(UsageError, match=rf"sampler\.{option}=0"):
        check_score(denoise, bind(spec))
    off = bind(spec)
    check_score(denoise, type(off)(off.name, off.function, off.grid, off.steps, {option: 0}, off.score))
