"""Samplers against closed forms: exact in float64 where they can be, else within sampling error."""

from __future__ import annotations

import math
from itertools import pairwise
from unittest import mock

import pytest
import torch

from tests.diffusion.analytic import Exact, Noise, OneAtATime, gaussian, mixture, vp
from zoo_core.diffusion import grids
from zoo_core.diffusion.samplers import ancestral, ddim, ddpm, euler, heun
from zoo_core.diffusion.sampling import bind
from zoo_core.diffusion.specs import SAMPLERS

CHAIN = (ddpm, ancestral, ddim, euler)
WALKS = ("ddpm", "ancestral", "ddim", "euler", "heun")
"""What is exact step by step; the others have tests of their own, in test_solvers.py."""
BOUND = {spec.name: bind(spec) for spec in SAMPLERS if spec.name in WALKS}

RNG = torch.Generator().manual_seed(0)
BASIS = torch.linalg.qr(torch.randn(3, 3, generator=RNG, dtype=torch.float64)).Q
MEAN = torch.tensor([0.5, -0.3, 0.1], dtype=torch.float64)
COV = BASIS @ torch.diag(torch.tensor([0.9, 0.2, 0.03], dtype=torch.float64)) @ BASIS.T
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
CENTERS = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=torch.float64)


def marginal(n, mean, cov, sigma, seed=1):
    """Exact draws from data plus noise of level sigma: no bias from a prior that is only nearly right."""
    rng = torch.Generator().manual_seed(seed)
    noisy = cov + sigma**2 * torch.eye(len(mean), dtype=torch.float64)
    return (
        mean + torch.randn(n, len(mean), generator=rng, dtype=torch.float64) @ torch.linalg.cholesky(noisy).T
    )


# -- every registered sampler, on its own grid


@pytest.mark.parametrize("name", BOUND)
@pytest.mark.parametrize("discrete", [True, False], ids=["vp", "ve"])
def test_gaussian_mean_and_covariance(name, discrete):
    """Catches a wrong noise scale, drift or clock: full covariance, eigenvalues over a factor of 30."""
    denoise = Exact(gaussian(MEAN, COV), vp() if discrete else None)
    sampler, n = BOUND[name], 4000
    sigmas = sampler.grid(denoise, 1000 if name in ("ddpm", "ancestral", "ddim", "euler") else 200)
    x = marginal(n, MEAN, COV, denoise.sigma_max)
    x = sampler.function(denoise, x, sigmas, noise=Noise(n), **sampler.options)
    found = torch.cov(x.T)
    var = COV.diagonal()
    error_mean = (x.mean(0) - MEAN).abs() / (var / n).sqrt()
    error_cov = (found - COV).abs() - 0.02 * (var[:, None] * var).sqrt()  # allowance: steps of finite length
    error_cov = error_cov / ((var[:, None] * var + COV**2) / n).sqrt()
    assert float(error_mean.max()) < 4.5
    assert float(error_cov.max()) < 4.5


@pytest.mark.parametrize("name", BOUND)
def test_mixture_keeps_the_weights_of_its_modes(name):
    """Catches what affine tests can't: a sampler that drifts to the nearest mode."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    sampler, n = BOUND[name], 4000
    sigmas = sampler.grid(denoise, 100 if name == "heun" else 1000)
    rng = torch.Generator().manual_seed(5)
    mode = torch.multinomial(WEIGHTS, n, replacement=True, generator=rng)
    noise = torch.randn(n, 2, generator=rng, dtype=torch.float64)
    x = CENTERS[mode] + math.hypot(0.2, denoise.sigma_max) * noise
    x = sampler.function(denoise, x, sigmas, noise=Noise(n), **sampler.options)
    share = float((x[:, 0] < -0.1).double().mean())
    assert abs(share - 0.3) < 4.5 * math.sqrt(0.3 * 0.7 / n) + 0.005
    distance = (x[:, None] - CENTERS).norm(dim=-1).min(1).values
    assert float(distance.square().mean()) == pytest.approx(2 * 0.2**2, rel=0.1)


@pytest.mark.parametrize("name", BOUND)
def test_images_keep_their_axes(name):
    """Catches a broadcast over the wrong axis: each of C, H, W has a mean and a width of its own."""
    rng = torch.Generator().manual_seed(2)
    mean = torch.randn(2, 3, 4, generator=rng, dtype=torch.float64)
    var = 0.05 + torch.rand(2, 3, 4, generator=rng, dtype=torch.float64)
    denoise = Exact(lambda x, sigma: mean + var / (var + sigma**2) * (x - mean), vp())
    sampler, n = BOUND[name], 1500
    start = torch.randn(n, 2, 3, 4, generator=rng, dtype=torch.float64)
    x = mean + (var + denoise.sigma_max**2).sqrt() * start
    x = sampler.function(denoise, x, sampler.grid(denoise, 250), noise=Noise(n), **sampler.options)
    assert float(((x.mean(0) - mean).abs() / (var / n).sqrt()).max()) < 4.5
    assert float(((x.var(0) / var - 1).abs() - 0.05).max()) < 4.5 * math.sqrt(2 / n)


@pytest.mark.parametrize("name", BOUND)
@pytest.mark.parametrize("steps", [1, 5])
def test_a_single_point_is_hit_exactly(name, steps):
    """Catches a last step that keeps noise (E5) or residual: data of one point are reached, in 1 step too."""
    point = torch.tensor([0.3, -0.6], dtype=torch.float64)
    denoise = Exact(lambda x, sigma: point.expand_as(x), vp())
    sampler, noise = BOUND[name], Noise(6)
    x = denoise.prior_std * noise.randn((2,))
    x = sampler.function(denoise, x, sampler.grid(denoise, steps), noise=noise, **sampler.options)
    torch.testing.assert_close(x, point.expand(6, 2), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", BOUND)
def test_trace_of_calls(name):
    """Catches a dropped last step, leading spacing and a repeated level: order tests pass all three."""
    sampler, steps = BOUND[name], 10
    called, told = [], []

    class Spy(Exact):
        def __call__(self, x, sigma, cond=None):
            called.append(float(sigma))
            return super().__call__(x, sigma)

    denoise = Spy(gaussian(MEAN, COV), vp())
    sigmas = sampler.grid(denoise, steps)
    noise = Noise(2)
    sampler.function(
        denoise,
        marginal(2, MEAN, COV, denoise.sigma_max),
        sigmas,
        noise=noise,
        callback=lambda step, sigma, x, x0: told.append((step, float(sigma), x0.shape)),
        **sampler.options,
    )
    assert called == [sigma for _, sigma, _ in told]
    assert {shape for *_, shape in told} == {torch.Size((2, 3))}
    assert [step for step, *_ in told] == sorted(step for step, *_ in told)
    if name == "heun":  # each inner level twice: ahead of a step, and at the start of the next
        assert called == [float(sigmas[0]), *(float(s) for s in sigmas[1:-1] for _ in range(2))]
        assert len(called) == 2 * steps - 1
    else:
        assert called == sigmas[:-1].tolist()
    assert noise.draws == (steps - 1 if name in ("ddpm", "ancestral") else 0)


# -- exact identities


def paper_chain(denoise, x, sigmas, variance, noise):
    """Algorithm 2 of Ho et al. in x-space: eps, Eq. 11 and sigma_t, with abar over joined steps."""
    abar = 1 / (1 + sigmas**2)
    x = abar[0].sqrt() * x
    for i in range(len(sigmas) - 1):
        x0 = denoise(x / abar[i].sqrt(), sigmas[i])
        eps = (x - abar[i].sqrt() * x0) / (1 - abar[i]).sqrt()
        a = abar[i] / abar[i + 1]
        x = (x - (1 - a) / (1 - abar[i]).sqrt() * eps) / a.sqrt()
        if i < len(sigmas) - 2:
            var = 1 - a
            if variance == "beta-tilde":
                var = var * (1 - abar[i + 1]) / (1 - abar[i])
            x = x + var.sqrt() * noise.randn(x.shape[1:])
    return x


@pytest.mark.parametrize(("sampler", "variance"), [(ddpm, "beta"), (ancestral, "beta-tilde")])
@pytest.mark.parametrize("steps", [1000, 37])
def test_the_chain_in_the_papers_own_space(sampler, variance, steps):
    """Catches any slip between x-space and sigma-space, on a denoiser that is not linear, strided or not."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    sigmas = grids.trailing(denoise, steps)
    x = denoise.prior_std * Noise(50, seed=3).randn((2,))
    ours = sampler(denoise, x, sigmas, noise=Noise(50))
    paper = paper_chain(denoise, x, sigmas, variance, Noise(50))
    torch.testing.assert_close(ours, paper, rtol=0, atol=1e-10)


def test_ddim_is_euler_and_ancestral_at_its_ends():
    """Catches a wrong eta: 0 is Euler of the probability flow, 1 the posterior's chain, from one start."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    sigmas = grids.trailing(denoise, 40)
    x = denoise.prior_std * Noise(50, seed=3).randn((2,))

    def run(sampler, **options):
        return sampler(denoise, x, sigmas, noise=Noise(50), **options)

    torch.testing.assert_close(run(ddim), run(euler), rtol=0, atol=1e-10)
    torch.testing.assert_close(run(ddim, eta=1.0), run(ancestral), rtol=0, atol=1e-10)
    assert (run(ddim, eta=0.5) - run(ddim)).abs().max() > 1e-3


def test_ddim_without_noise_can_be_walked_back():
    """Catches noise, or a step that is not the flow's: up by Euler and down by DDIM ends where it began."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    x0 = CENTERS[torch.arange(40) % 2] + 0.2 * Noise(40, seed=5).randn((2,))

    def error(steps):
        up = torch.logspace(-1.5, 1.5, steps, dtype=torch.float64)
        x = x0
        for s, t in pairwise(up):
            x = x + (t - s) * (x - denoise(x, s)) / s
        return float((ddim(denoise, x, up.flip(0), noise=Noise(40)) - x0).abs().mean())

    assert error(400) < 0.05
    assert error(100) / error(400) == pytest.approx(4, rel=0.25)


def test_clipping_leaves_ddim_and_euler_one_method():
    """Catches an eps that is kept from before x0 was clipped: the two would then walk different ways."""
    sharp = mixture(WEIGHTS, 3 * CENTERS, 0.2)
    denoise = Exact(lambda x, sigma: sharp(x, sigma).clamp(-1, 1), vp())
    sigmas = grids.trailing(denoise, 40)
    x = denoise.prior_std * Noise(50, seed=3).randn((2,))
    drawn = ddim(denoise, x, sigmas, noise=Noise(50))
    torch.testing.assert_close(drawn, euler(denoise, x, sigmas, noise=Noise(50)), rtol=0, atol=1e-10)
    assert float(drawn.abs().max()) == 1


def recursion(name, gain, sigmas, eta=0.0):
    """Gain and each noise's coefficient where the denoiser is gain(sigma) x, by the papers' formulas."""
    start, parts = 1.0, []
    s = sigmas.tolist()
    for i, (t, u) in enumerate(pairwise(s)):
        c = gain(t)
        if name == "heun" and u > 0:
            slope = (1 - c) / t
            ahead = 1 + (u - t) * slope
            factor, std = 1 + (u - t) / 2 * (slope + (1 - gain(u)) * ahead / u), 0.0
        else:
            posterior = u * math.sqrt(t * t - u * u) / t
            std = {
                "ddpm": math.sqrt((1 + u * u) * (t * t - u * u) / (1 + t * t)),
                "ancestral": posterior,
                "ddim": eta * posterior,
            }.get(name, 0.0)
            direction = math.sqrt(u * u - (posterior if name == "ddpm" else std) ** 2)
            factor = c + direction * (1 - c) / t
        start *= factor
        parts = [p * factor for p in parts]
        if std and i < len(s) - 2:
            parts.append(std)
    return start, parts


@pytest.mark.parametrize("name", [*BOUND, "ddim-half"])
def test_gain_and_noise_of_a_linear_denoiser(name):
    """Catches one wrong step of many, which averages hide: an affine map, coefficient by coefficient."""
    eta = 0.5 if name == "ddim-half" else 0.0
    sampler = BOUND[name.removesuffix("-half")]
    options = {"eta": eta} if sampler.name == "ddim" else {}

    def gain(sigma):
        return 0.3 / (0.3 + sigma**2) + 0.01 * math.sin(sigma)

    denoise = Exact(lambda x, sigma: x * gain(float(sigma)), vp(50))
    sigmas = grids.trailing(denoise, 12)
    start, parts = recursion(sampler.name, gain, sigmas, eta)
    one = torch.ones(1, 1, dtype=torch.float64)
    no_noise = torch.zeros(12, 1, dtype=torch.float64)

    class Silent(Noise):
        def randn(self, shape, **address):
            return torch.zeros(self.n, *shape, dtype=torch.float64)

    found = sampler.function(denoise, one, sigmas, noise=Silent(1), **options)
    assert float(found) == pytest.approx(start, rel=1e-12)
    found = sampler.function(denoise, no_noise, sigmas, noise=OneAtATime(12), **options).flatten()
    parts += [0.0] * (12 - len(parts))
    torch.testing.assert_close(found, torch.tensor(parts, dtype=torch.float64), rtol=1e-12, atol=1e-14)


def test_learned_variance_is_asked_for():
    """Catches an ancestral sampler that ignores a denoiser's own variance, or swaps its levels."""
    asked = []

    class Learned(Exact):
        def log_var(self, x, sigma, sigma_next):
            asked.append((float(sigma), float(sigma_next)))
            t, s = sigma, sigma_next
            return torch.full_like(x, float((s**2 * (t**2 - s**2) / t**2).log()))

    plain, learned = (kind(mixture(WEIGHTS, CENTERS, 0.2), vp()) for kind in (Exact, Learned))
    sigmas = grids.trailing(plain, 8)
    x = plain.prior_std * Noise(9, seed=3).randn((2,))
    expected = ancestral(plain, x, sigmas, noise=Noise(9))
    torch.testing.assert_close(ancestral(learned, x, sigmas, noise=Noise(9)), expected)
    assert asked == list(pairwise(sigmas[:-1].tolist()))


@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2)])
def test_order_of_convergence(sampler, order):
    """Catches a Heun whose second slope is not used: the error falls as steps^-order on a known flow."""
    denoise = Exact(gaussian(MEAN, COV))
    x = marginal(20, MEAN, COV, 80.0)
    values, vectors = torch.linalg.eigh(COV)
    exact = MEAN + ((x - MEAN) @ vectors * (values / (values + 80.0**2)).sqrt()) @ vectors.T
    errors = [
        float((sampler(denoise, x, grids.karras(denoise, steps), noise=Noise(20)) - exact).norm())
        for steps in (100, 200, 400)
    ]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert slopes == pytest.approx([order, order], abs=0.15)


# -- another implementation


def reference(scheduler, denoise, x, noise):
    """Walk diffusers' scheduler with the exact eps and our noise; Algorithm 2's last step adds none.

    diffusers tells the last step of a strided chain by its time, which is not 0, and would add beta there.
    """
    abar = scheduler.alphas_cumprod
    for t in scheduler.timesteps.tolist():
        x0 = denoise(x / abar[t].sqrt(), ((1 - abar[t]) / abar[t]).sqrt())
        eps = (x - abar[t].sqrt() * x0) / (1 - abar[t]).sqrt()
        last = t == scheduler.timesteps[-1]
        x = scheduler.step(eps, t, x, torch.zeros_like(x) if last else noise.randn(x.shape[1:]))
    return x


@pytest.mark.parametrize(
    ("sampler", "options", "variance"),
    [
        (ddpm, {}, "fixed_large"),
        (ancestral, {}, "fixed_small"),
        (ddim, {"eta": 0.0}, None),
        (ddim, {"eta": 0.7}, None),
    ],
)
@pytest.mark.parametrize("steps", [1000, 50])
def test_diffusers_agrees(sampler, options, variance, steps):
    """Catches a misread paper: the same net, start and noise through diffusers' own steps."""
    diffusers = pytest.importorskip("diffusers")
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    common = {"clip_sample": False, "timestep_spacing": "trailing"}
    if variance is None:
        theirs = diffusers.DDIMScheduler(set_alpha_to_one=True, **common)
        plain = theirs.step
        eta = options["eta"]
        theirs.step = lambda eps, t, x, z: plain(eps, t, x, eta=eta, variance_noise=z if eta else None)[0]
    else:
        theirs = diffusers.DDPMScheduler(variance_type=variance, **common)
        plain = theirs.step

        def step(eps, t, x, z):
            with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", return_value=z):
                return plain(eps, t, x)[0]

        theirs.step = step
    theirs.alphas_cumprod = denoise.schedule.alpha_bar[1:]  # theirs, in float64
    theirs.set_timesteps(steps)
    start = Noise(20, seed=4).randn((2,))
    sigmas = grids.trailing(denoise, steps)
    ours = sampler(denoise, start * denoise.prior_std, sigmas, noise=Noise(20), **options)
    torch.testing.assert_close(ours, reference(theirs, denoise, start, Noise(20)), rtol=0, atol=1e-5)
