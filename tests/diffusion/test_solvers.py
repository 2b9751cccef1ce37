"""Multistep solvers, Langevin dynamics, the reverse SDE and the adaptive flow, against closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from tests.diffusion.analytic import Exact, Noise, OneAtATime, gaussian, mixture, vp
from zoo_core.diffusion import grids
from zoo_core.diffusion.flow import pf_ode
from zoo_core.diffusion.langevin import annealed_langevin, langevin, predictor_corrector
from zoo_core.diffusion.multistep import dpmpp_2m, dpmpp_sde
from zoo_core.diffusion.samplers import ancestral, ddim, euler_maruyama

RNG = torch.Generator().manual_seed(0)
BASIS = torch.linalg.qr(torch.randn(3, 3, generator=RNG, dtype=torch.float64)).Q
MEAN = torch.tensor([0.5, -0.3, 0.1], dtype=torch.float64)
VALUES = torch.tensor([0.9, 0.2, 0.03], dtype=torch.float64)
COV = BASIS @ torch.diag(VALUES) @ BASIS.T
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
CENTERS = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=torch.float64)


def noisy(n, sigma, seed=1):
    """Exact draws of the Gaussian data plus noise of level sigma."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 3, generator=rng, dtype=torch.float64)
    return MEAN + z * (VALUES + sigma**2).sqrt() @ BASIS.T


def flow(x, sigma):
    """The probability flow of the Gaussian from level sigma to 0, in closed form."""
    return MEAN + ((x - MEAN) @ BASIS * (VALUES / (VALUES + sigma**2)).sqrt()) @ BASIS.T


# -- DPM-Solver++


def lu(denoise, x, sigmas, noise=None):
    """Algorithm 2 of Lu et al. 2022 in the paper's symbols (alpha = 1), its SDE form where noise is given."""
    lam = [-math.log(s) if s else math.inf for s in sigmas.tolist()]
    q_before = None
    for i in range(1, len(lam)):
        h = lam[i] - lam[i - 1]
        q = denoise(x, sigmas[i - 1])
        d = q
        if q_before is not None and math.isfinite(h):
            r = (lam[i - 1] - lam[i - 2]) / h
            d = (1 + 1 / (2 * r)) * q - 1 / (2 * r) * q_before
        if noise is None:
            x = sigmas[i] / sigmas[i - 1] * x - (math.exp(-h) - 1) * d
        else:
            x = sigmas[i] / sigmas[i - 1] * math.exp(-h) * x + (1 - math.exp(-2 * h)) * d
            if math.isfinite(h):
                x = x + sigmas[i] * math.sqrt(1 - math.exp(-2 * h)) * noise.randn(x.shape[1:])
        q_before = q
    return x


@pytest.mark.parametrize("steps", [1, 2, 15])
def test_dpmpp_in_the_papers_symbols(steps):
    """Catches a wrong ratio of steps, a first step that extrapolates, and a last one that does."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    sigmas = grids.karras(denoise, steps)
    x = denoise.prior_std * Noise(20, seed=3).randn((2,))
    found = dpmpp_2m(denoise, x, sigmas, noise=Noise(20))
    torch.testing.assert_close(found, lu(denoise, x, sigmas), rtol=0, atol=1e-10)
    found = dpmpp_sde(denoise, x, sigmas, noise=Noise(20))
    torch.testing.assert_close(found, lu(denoise, x, sigmas, Noise(20)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("stochastic", [False, True])
def test_diffusers_multistep_agrees(stochastic):
    """Catches a misread paper: the same net, start and noise through diffusers' own steps, in x-space."""
    diffusers = pytest.importorskip("diffusers")
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    theirs = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++" if stochastic else "dpmsolver++",
        timestep_spacing="trailing",
        final_sigmas_type="zero",
    )
    theirs.set_timesteps(20)
    theirs.sigmas = theirs.sigmas.double()
    ratios = theirs.sigmas
    start = Noise(20, seed=4).randn((2,))
    x, noise = start, Noise(20)
    for t, ratio in zip(theirs.timesteps, ratios[:-1], strict=True):
        alpha = (1 + ratio**2).rsqrt()
        eps = (x / alpha - denoise(x / alpha, ratio)) / ratio
        last = bool(t == theirs.timesteps[-1])
        z = noise.randn((2,)) if stochastic and not last else torch.zeros_like(x)
        x = theirs.step(eps, t, x, variance_noise=z).prev_sample
    ours = (dpmpp_sde if stochastic else dpmpp_2m)(
        denoise, start * (1 + ratios[0] ** 2).sqrt(), ratios.double(), noise=Noise(20)
    )
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-4)


def test_dpmpp_2m_is_of_second_order():
    """Catches an extrapolation that is not used: the error falls as steps^-2 on a known flow."""
    denoise = Exact(gaussian(MEAN, COV))
    x = noisy(20, 80.0)
    errors = [
        float((dpmpp_2m(denoise, x, grids.karras(denoise, n), noise=Noise(20)) - flow(x, 80.0)).norm())
        for n in (100, 200, 400)
    ]
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([2, 2], abs=0.2)


def test_two_steps_of_either_solver_are_of_first_order():
    """Catches an extrapolation in the first or last step: there 2M is DDIM, and its SDE form ancestral."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    sigmas = grids.karras(denoise, 2)
    x = denoise.prior_std * Noise(20, seed=3).randn((2,))
    for solver, plain in ((dpmpp_2m, ddim), (dpmpp_sde, ancestral)):
        ours, theirs = (f(denoise, x, sigmas, noise=Noise(20)) for f in (solver, plain))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


# -- the reverse SDE


@pytest.mark.parametrize("sampler", [euler_maruyama, dpmpp_sde, ancestral])
def test_from_one_noisy_point_the_sde_draws_the_posterior(sampler):
    """Catches a probability flow sold as the SDE: marginals agree, but it maps a point to a point."""
    var, sigma, n = 0.4, 1.0, 20_000
    denoise = Exact(lambda x, s: x * var / (var + s**2))
    sigmas = torch.cat((torch.linspace(sigma, 0.005, 200, dtype=torch.float64), torch.zeros(1).double()))
    x = torch.full((n, 1), 0.8, dtype=torch.float64)
    found = sampler(denoise, x, sigmas, noise=Noise(n))
    posterior = var * sigma**2 / (var + sigma**2)
    assert float(found.mean()) == pytest.approx(
        0.8 * var / (var + sigma**2), abs=4.5 * (posterior / n) ** 0.5
    )
    assert float(found.var()) == pytest.approx(posterior, rel=0.03 + 4.5 * (2 / n) ** 0.5)
    assert float(pf_ode(denoise, x, sigmas, noise=Noise(n)).var()) < 1e-8


class Louder(Noise):
    """g^2 too large by a tenth."""

    def randn(self, shape, **address):
        return super().randn(shape) * math.sqrt(1.1)


def test_the_reverse_sde_and_the_flow_have_equal_marginals():
    """Catches a wrong drift or g in either: Kolmogorov-Smirnov on 20,000 draws; g^2 off by 10% is refused."""
    stats = pytest.importorskip("scipy.stats")
    n, weights = 20_000, torch.tensor([0.3, 0.7], dtype=torch.float64)
    centers = torch.tensor([[-1.0], [0.8]], dtype=torch.float64)
    denoise = Exact(mixture(weights, centers, 0.2))
    rng = torch.Generator().manual_seed(3)
    mode = torch.multinomial(weights, n, replacement=True, generator=rng)
    x = centers[mode] + math.hypot(0.2, 80.0) * torch.randn(n, 1, generator=rng, dtype=torch.float64)
    sigmas = grids.karras(denoise, 1000)
    ode = pf_ode(denoise, x, sigmas, noise=Noise(n))
    sde = euler_maruyama(denoise, x, sigmas, noise=Noise(n, seed=7))
    wrong = euler_maruyama(denoise, x, sigmas, noise=Louder(n, seed=7))
    assert stats.ks_2samp(ode.flatten(), sde.flatten()).pvalue > 0.001

    def truth(value):
        return 0.3 * stats.norm.cdf(value, -1.0, 0.2) + 0.7 * stats.norm.cdf(value, 0.8, 0.2)

    assert stats.kstest(ode.flatten(), truth).pvalue > 0.001
    assert stats.kstest(sde.flatten(), truth).pvalue > 0.001
    assert stats.kstest(wrong.flatten(), truth).pvalue < 1e-5


def test_gain_and_noise_of_the_reverse_sde():
    """Catches one wrong step of many, coefficient by coefficient: x + (t^2 - s^2) score + noise."""
    gain = 0.37
    denoise = Exact(lambda x, sigma: gain * x)
    sigmas = grids.karras(denoise, 9)
    start, parts = 1.0, []
    for i, (t, s) in enumerate(pairwise(sigmas.tolist())):
        factor = 1 + (t * t - s * s) * (gain - 1) / t**2
        start, parts = start * factor, [p * factor for p in parts]
        if i < 8:
            parts.append(math.sqrt(t * t - s * s))
    x = torch.zeros(9, 1, dtype=torch.float64)
    found = euler_maruyama(denoise, x, sigmas, noise=OneAtATime(9)).flatten()
    expected = torch.tensor([*parts, 0.0], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_no_corrector_is_the_predictor():
    """Catches a corrector that is run unasked, and one at the wrong level."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    sigmas = grids.karras(denoise, 30)
    x = denoise.prior_std * Noise(20, seed=3).randn((2,))
    plain = euler_maruyama(denoise, x, sigmas, noise=Noise(20))
    none = predictor_corrector(denoise, x, sigmas, noise=Noise(20), corrector_steps=0)
    torch.testing.assert_close(none, plain, rtol=0, atol=1e-10)


def test_a_corrector_leaves_the_marginal_alone():
    """Catches a Langevin step of another level than the state's: the covariance stays that of the data."""
    denoise, n = Exact(gaussian(MEAN, COV)), 4000
    called = []
    sigmas = grids.karras(denoise, 200)
    x = predictor_corrector(
        denoise,
        noisy(n, 80.0),
        sigmas,
        noise=Noise(n),
        callback=lambda step, sigma, x, x0: called.append(float(sigma)),
    )
    assert called == [float(s) for s in sigmas[:1]] + [float(s) for s in sigmas[1:-1] for _ in range(2)]
    found = (BASIS.T @ torch.cov(x.T) @ BASIS).diagonal()
    assert float((found / VALUES - 1).abs().max()) < 0.05 + 4.5 * math.sqrt(2 / n)


# -- Langevin dynamics


def test_langevin_settles_at_the_variance_of_its_step():
    """Catches a / 2 for a (E30) and a missing sqrt(2): variance v / (1 - a / (2 v)), not v."""
    var, sigma, step, steps = 0.3, 0.5, 0.4, 400
    v, a = var + sigma**2, step * sigma**2
    last_gain = var / v
    denoise = Exact(lambda x, s: x * var / (var + s**2))
    sigmas = torch.cat((torch.full((steps,), sigma, dtype=torch.float64), torch.zeros(1).double()))
    x = torch.zeros(steps, 1, dtype=torch.float64)
    found = langevin(denoise, x, sigmas, noise=OneAtATime(steps), step=step, level=sigma)
    assert float(found.square().sum()) == pytest.approx(last_gain**2 * v / (1 - a / (2 * v)), rel=1e-9)


def test_only_annealing_fixes_the_weights_of_distant_modes():
    """Langevin dynamics at one level keep the start's 1/2 and 1/2; annealed, they find 3/10 and 7/10."""
    denoise, n = Exact(mixture(WEIGHTS, CENTERS, 0.1)), 2000
    x = denoise.prior_std * Noise(n, seed=3).randn((2,))

    def left(x):
        return float((x[:, 0] < -0.1).double().mean())

    sigmas = grids.geometric(denoise, 800)
    plain = left(langevin(denoise, x, sigmas, noise=Noise(n), level=0.1))
    annealed = left(annealed_langevin(denoise, x, grids.geometric(denoise, 150), noise=Noise(n)))
    assert plain > 0.4
    assert annealed == pytest.approx(0.3, abs=4.5 * math.sqrt(0.3 * 0.7 / n) + 0.01)


def test_annealed_langevin_calls_each_level_so_often_and_then_denoises():
    """Catches E36, an inner loop that is one short: levels x repeats calls, and one that denoises."""
    denoise = Exact(gaussian(MEAN, COV))
    sigmas, called = grids.geometric(denoise, 10), []
    noise = Noise(4)
    annealed_langevin(
        denoise,
        noisy(4, 80.0),
        sigmas,
        noise=noise,
        callback=lambda step, sigma, x, x0: called.append(float(sigma)),
        repeats=4,
    )
    assert called == [float(s) for s in sigmas[:-1] for _ in range(4)] + [float(sigmas[-2])]
    assert noise.draws == 40


def test_a_geometric_grid_has_one_ratio():
    """Catches levels spaced on a line (E34): ends as trained, and each level the same share of the last."""
    denoise = Exact(gaussian(MEAN, COV))
    sigmas = grids.geometric(denoise, 10)
    assert float(sigmas[0]) == 80.0
    assert float(sigmas[-2]) == pytest.approx(0.002, rel=1e-12)
    assert float(sigmas[-1]) == 0.0
    ratios = sigmas[:-2] / sigmas[1:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(9), rtol=1e-12, atol=0)


# -- the adaptive flow


def test_the_adaptive_flow_meets_its_tolerance():
    """Catches a clock that is not d log(sigma) and a lost last level: the closed form, as near as asked."""
    denoise = Exact(gaussian(MEAN, COV), vp())
    x = noisy(20, denoise.sigma_max)
    sigmas = grids.karras(denoise, 2)
    exact, errors, calls = flow(x, denoise.sigma_max), [], []
    for tolerance in (1e-3, 1e-8):
        called = []
        found = pf_ode(
            denoise,
            x,
            sigmas,
            noise=Noise(20),
            rtol=tolerance,
            atol=tolerance,
            callback=lambda step, *_, called=called: called.append(step),
        )
        # From the last level down, one step of Tweedie's formula; its error is no part of the tolerance.
        ratio = VALUES / (VALUES + denoise.sigma_min**2)
        tweedie = MEAN + ((exact - MEAN) @ BASIS * ratio.sqrt()) @ BASIS.T
        errors.append(float((found - tweedie).abs().max()))
        calls.append(len(called))
        assert called == list(range(len(called)))
    assert errors[0] < 0.02
    assert errors[1] < 1e-6
    assert calls[0] < calls[1]


def test_the_adaptive_flow_goes_the_whole_way_in_one_step_too():
    """Catches a grid of one level taken for a way of no length: all noise would be taken off at once."""
    denoise = Exact(gaussian(MEAN, COV))
    x = denoise.sigma_max * Noise(20).randn((3,))
    found, expected = (
        pf_ode(denoise, x, grids.karras(denoise, steps), noise=Noise(20), rtol=1e-6, atol=1e-6)
        for steps in (1, 10)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
