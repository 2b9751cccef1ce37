"""Slips of the lecture's equations: each one's literal form gives another number than ours, the true one.

The slip, and where else it is caught:

    E1   beta z where sqrt(beta) z belongs                here, test_schedule.py
    E2   1 / sqrt(alpha_bar) before the posterior's mean  here, test_prediction.py
    E3   sqrt(1 - a) under its eps                        here, test_prediction.py
    E4   the same in the loss's weight and input          here, test_prediction.py, ddpm/test_ddpm.py
    E5   noise in the last step too                       here, test_samplers.py
    E6   one draw for two noises                          here, test_schedule.py
    E30  a Langevin step between two conventions          here, test_solvers.py
    E31  dW of unit variance, whatever dt                 here, test_solvers.py
    E32  the score of clean data as the optimum           here
    E33  sigma where sigma^2 is the variance              here
    E34  sigma_1 is the least, or the greatest            here, test_solvers.py
    E35  the residual divided by sigma, not sigma^2       here
    E36  a start from N(0, I), an inner loop one short    here, test_solvers.py, test_sampling.py
    E37  eps = -sigma without the score                   here, test_prediction.py
    E38  times from 0, where the score has no value       here, sde/test_continuous.py

The chain is Ho's, T = 1000; where a number is stated it is at t = 501, x0 = 0.7, eps = -0.3.
"""

from __future__ import annotations

import math

import pytest
import torch

from tests.diffusion.analytic import Exact, Noise, OneAtATime
from zoo_core.diffusion import grids
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.langevin import annealed_langevin, langevin
from zoo_core.diffusion.likelihood import step_kl
from zoo_core.diffusion.prediction import target, to_x0
from zoo_core.diffusion.samplers import ddpm, euler_maruyama, forward_std
from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.diffusion.sdes import T_MIN, VE, VP, SubVP
from zoo_ddpm.ddpm import l_simple
from zoo_ncsn.ncsn import score_matching
from zoo_ncsn.noise_levels import NoiseLevels

BETAS = linear_betas(1000)
CHAIN = DiscreteVP(BETAS)
BETA, KEPT, KEPT_BEFORE = (float(v) for v in (BETAS[500], CHAIN.alpha_bar[501], CHAIN.alpha_bar[500]))
X0, EPS = 0.7, -0.3
X_T = math.sqrt(KEPT) * X0 + math.sqrt(1 - KEPT) * EPS


class Silent(Noise):
    """No noise at all: what is left of a step is its mean."""

    def randn(self, shape, **address):
        return torch.zeros(self.n, *shape, dtype=torch.float64)


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


# -- the chain


def test_e1_the_noise_of_a_step_is_scaled_by_the_root_of_beta():
    """Catches `x_i = sqrt(1 - b) x + b z`: unit variance would shrink to 0.9901 in one step."""
    kept = float(CHAIN.alpha(torch.tensor(501)) / CHAIN.alpha(torch.tensor(500)))
    added = float(CHAIN.sigma(torch.tensor(501)) ** 2 - kept**2 * CHAIN.sigma(torch.tensor(500)) ** 2)
    assert kept**2 + added == pytest.approx(1, abs=1e-12)
    assert added == pytest.approx(BETA, rel=1e-10)


def mean_of_a_step():
    """The mean of `ddpm`'s step from t = 501 to 500, in x-space, where the network says x0 = 0.7."""
    levels = torch.stack((CHAIN.levels[500], CHAIN.levels[499], torch.zeros_like(CHAIN.levels[0])))
    states = []
    start = doubles(X_T)[:, None] / math.sqrt(KEPT)
    denoise = Exact(lambda x, sigma: torch.full_like(x, X0), CHAIN)
    ddpm(denoise, start, levels, noise=Silent(1), callback=lambda step, sigma, x, x0: states.append(x))
    return float(states[1]) * math.sqrt(KEPT_BEFORE)


def test_e2_e3_the_mean_of_the_posterior():
    """Catches 1 / sqrt(alpha_bar) before it (-0.32162) and sqrt(1 - a) inside (-0.06308): it is -0.09016."""
    two_terms = (math.sqrt(KEPT_BEFORE) * BETA * X0 + math.sqrt(1 - BETA) * (1 - KEPT_BEFORE) * X_T) / (
        1 - KEPT
    )  # Ho et al., Eq. 7
    assert mean_of_a_step() == pytest.approx(-0.09016, abs=5e-6)
    assert mean_of_a_step() == pytest.approx(two_terms, abs=1e-12)


def test_e4_the_weight_of_l_simple_in_the_bound():
    """Catches 1 - a under the weight: too large by (1 - alpha_bar) / beta, 92 at t = 501."""
    t, s = CHAIN.levels[500], CHAIN.levels[499]
    std = forward_std(t, s, SigmaDenoiser(None, CHAIN, "eps"))
    error = 1.3
    zero = doubles(0.0)
    kl = step_kl(zero, t * doubles(error), t, s, std) - step_kl(zero, zero, t, s, std)
    weight = BETA**2 / (2 * BETA * (1 - BETA) * (1 - KEPT))
    slip = BETA**2 / (2 * BETA * (1 - BETA) * BETA)
    assert float(kl) / error**2 == pytest.approx(weight, rel=1e-9)
    assert slip / (float(kl) / error**2) > 90


def test_e4_the_input_of_l_simple():
    """Catches sqrt(a) x0 + sqrt(1 - a) eps for an input: half the way down it would hold nearly all of x0."""
    seen = []

    def net(x, t, cond):
        seen.append(x)
        return torch.zeros_like(x)

    l_simple(net, doubles(X0)[:, None], torch.tensor([501]), doubles(EPS)[:, None], CHAIN, "eps")
    slip = math.sqrt(1 - BETA) * X0 + math.sqrt(BETA) * EPS
    assert float(seen[0]) == pytest.approx(X_T, abs=1e-12)
    assert abs(slip - float(seen[0])) > 0.7


def test_e5_the_last_step_adds_no_noise():
    """Catches `z ~ N(0, I)` at t = 1 too: data of one point would come out with variance beta_1, 1e-4."""
    denoise = Exact(lambda x, sigma: torch.full_like(x, X0), CHAIN)
    sigmas = grids.trailing(denoise, 1000)
    noise = Noise(50)
    x = ddpm(denoise, noise.randn((1,)) * denoise.prior_std, sigmas, noise=noise)
    assert float(x.var()) < 1e-28
    assert noise.draws == 1 + 999  # the start, and every step but the last


def test_e6_two_noises_are_two_draws():
    """Catches one eps for both: the noise of two steps would have nearly twice the variance."""
    a, a_before = 1 - BETA, 1 - float(BETAS[499])
    now, then = torch.tensor(501), torch.tensor(499)
    kept = float(CHAIN.alpha(now) / CHAIN.alpha(then))
    added = float(CHAIN.sigma(now) ** 2 - kept**2 * CHAIN.sigma(then) ** 2)
    slip = (math.sqrt(a * (1 - a_before)) + math.sqrt(1 - a)) ** 2
    assert added == pytest.approx(1 - a * a_before, rel=1e-9)
    assert slip / added == pytest.approx(2, abs=0.01)


# -- Langevin dynamics


@pytest.mark.parametrize(("convention", "settles"), [("lecture", 1.05263), ("paper", 1.02564)])
def test_e30_either_convention_but_no_mixture_of_them(convention, settles):
    """Catches a score + sqrt(a) z: at a = 0.1 a unit Gaussian would settle at 0.526, not 1.053 or 1.026."""
    steps, sigma, a = 600, 0.6, 0.1
    var = 1 - sigma**2  # of the data, so that the noised density is a unit Gaussian
    denoise = Exact(lambda x, s: var * x)
    sigmas = torch.cat((torch.full((steps,), sigma, dtype=torch.float64), doubles(0.0)))
    found = langevin(
        denoise,
        torch.zeros(steps, 1, dtype=torch.float64),
        sigmas,
        noise=OneAtATime(steps),
        step=a / sigma**2,
        level=sigma,
        convention=convention,
    )
    settled = float((found / var).square().sum())
    assert settled == pytest.approx(settles, abs=1e-4)
    assert settled - a / (1 - (1 - a) ** 2) > 0.49  # the mixture's fixed point


def test_e31_the_noise_grows_with_the_root_of_the_step():
    """Catches dW ~ N(0, I): the variance that a step adds is its length in sigma^2, not 1."""
    denoise = Exact(lambda x, sigma: x)  # no drift: the score of a constant
    sigmas = doubles(2.0, 1.9, 1.0, 0.0)
    found = euler_maruyama(denoise, torch.zeros(3, 1, dtype=torch.float64), sigmas, noise=OneAtATime(3))
    assert found.flatten().square().tolist() == pytest.approx([2.0**2 - 1.9**2, 1.9**2 - 1.0, 0.0])


# -- score matching


def loss_at(gain, spread, sigma, read=score_matching):
    """The loss of the score -gain x on data N(0, spread^2): exact, for it asks for second moments only."""
    signs = torch.cartesian_prod(doubles(-1, 1), doubles(-1, 1))
    x, eps = signs[:, :1] * spread, signs[:, 1:]
    return read(lambda noisy: -gain * noisy, x, doubles(sigma).expand(4), eps).mean()


def test_e32_the_optimum_is_the_score_of_the_noised_data():
    """Catches J against the clean data's score: at sigma = 0.8 and unit data the gain is 0.61, not 1."""
    gain = doubles(0.3).requires_grad_()
    spread, sigma = 1.0, 0.8
    (slope,) = torch.autograd.grad(loss_at(gain, spread, sigma), gain, create_graph=True)
    (curve,) = torch.autograd.grad(slope.sum(), gain)
    best = float(gain - slope / curve)  # one step of Newton's method: the loss is a parabola
    assert best == pytest.approx(1 / (spread**2 + sigma**2), abs=1e-12)
    assert abs(best - 1 / spread**2) > 0.39


def test_e33_sigma_is_a_standard_deviation():
    """Catches N(0, sigma I): at sigma = 8 the noise's variance is 64, not 8."""
    schedule = NoiseLevels(10, 0.02, 8.0)
    sigma = schedule.sigma(torch.tensor([10]))
    seen = []

    def score(noisy):
        seen.append(noisy)
        return torch.zeros_like(noisy)

    score_matching(score, torch.zeros(1, 1, dtype=torch.float64), sigma, torch.ones(1, 1).double())
    assert float(seen[0]) ** 2 == pytest.approx(64)


def test_e34_the_schedule_is_counted_from_one_end():
    """Catches alpha_t = eps sigma_t^2 / sigma_1^2 with sigma_1 the greatest: 256 times too short a step."""
    schedule = NoiseLevels(5, 0.1, 1.6)
    assert bool((schedule.levels.diff() > 0).all())
    still = Exact(lambda x, sigma: x, schedule)  # no score: what moves is noise
    sigmas = grids.geometric(still, 5)
    assert bool((sigmas.diff() < 0).all())
    eps, noises = 0.001, []
    for level in range(5):
        x = torch.zeros(5, 1, dtype=torch.float64)
        pair = torch.cat((sigmas[level : level + 1], doubles(0.0)))
        x = annealed_langevin(still, x, pair, noise=OneAtATime(5), step=eps / 0.1**2, repeats=1, clean=False)
        noises.append(float(x[0]) ** 2 / 2)  # a of sqrt(2 a) z
    right = [eps * float(s) ** 2 / 0.1**2 for s in sigmas[:-1]]
    slip = [eps * float(s) ** 2 / 1.6**2 for s in sigmas[:-1]]
    assert noises == pytest.approx(right, rel=1e-9)
    assert noises[0] / slip[0] == pytest.approx(256)


def test_e35_the_residual_before_its_weight():
    """Catches |(x~ - x) / sigma + s|^2: not 0 at one point's score, and of another size a level."""
    eps = torch.ones(1, 1, dtype=torch.float64)
    for sigma in (0.1, 0.5, 4.0):
        x = torch.full((1, 1), X0, dtype=torch.float64)
        found = score_matching(lambda noisy, s=sigma: -(noisy - X0) / s**2, x, doubles(sigma), eps)
        slip = (eps - eps / sigma).square() / 2
        assert float(found) == pytest.approx(0, abs=1e-24)
        assert float(slip - found) > 0.2
    sizes = [
        float(loss_at(1 / (2 * s**2), s, s)) for s in (0.01, 1.0, 50.0)
    ]  # at the optimum, data like noise
    assert sizes == pytest.approx([0.25] * 3, rel=1e-9)


def test_e36_the_start_and_the_number_of_calls():
    """Catches N(0, I) for a start below noise of 8, and an inner loop of N - 1 steps."""
    schedule = NoiseLevels(6, 0.1, 8.0)
    assert schedule.prior_std == 8.0
    calls = []
    denoise = Exact(lambda x, sigma: x / (1 + sigma**2), schedule)
    annealed_langevin(
        denoise,
        torch.zeros(2, 1, dtype=torch.float64),
        grids.geometric(denoise, 6),
        noise=Noise(2),
        callback=lambda step, sigma, x, x0: calls.append(float(sigma)),
        repeats=7,
        clean=False,
    )
    assert len(calls) == 6 * 7
    assert len(set(calls)) == 6


# -- conversions and times


def test_e37_eps_is_minus_sigma_times_the_score():
    """Catches eps = -sigma, and eps = -score: at sigma = 0.6 the latter's x0 is off by 0.67 of sigma eps."""
    alpha, sigma = doubles(0.8), doubles(0.6)
    x0, eps = doubles(X0), doubles(EPS)
    x = alpha * x0 + sigma * eps
    score = -(x - alpha * x0) / sigma**2  # the gradient of log N(x; alpha x0, sigma^2)
    torch.testing.assert_close(target(x0, eps, alpha, sigma, "score"), score)
    torch.testing.assert_close(to_x0(score, x, alpha, sigma, "score"), x0)
    torch.testing.assert_close(to_x0(-sigma * score, x, alpha, sigma, "eps"), x0)
    for slip in (-score, -sigma):
        assert abs(float(to_x0(slip, x, alpha, sigma, "eps") - x0)) > 0.1


@pytest.mark.parametrize("sde", [VP(), SubVP(), VE()], ids=["vp", "subvp", "ve"])
def test_e38_no_time_is_zero(sde):
    """Catches t ~ U(0, T): at 0 there is no noise, and the score it asks for is infinite."""
    least = doubles(sde.t_min)
    assert float(least) >= T_MIN
    at = target(doubles(X0), doubles(EPS), sde.alpha(least), sde.sigma(least), "score")
    assert bool(torch.isfinite(at).all())
    assert sde.ratio_min == pytest.approx(float(sde.sigma(least) / sde.alpha(least)), rel=1e-12)
    zero = doubles(0.0)
    if not isinstance(sde, VE):  # its least sigma is 0.01 and not 0
        assert float(sde.sigma(zero)) == 0
        assert bool(torch.isinf(target(doubles(X0), doubles(EPS), sde.alpha(zero), sde.sigma(zero), "score")))
