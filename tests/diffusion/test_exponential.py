"""UniPC and DPM-Solver++(3M): orders of convergence, and the papers' formulas by independent means."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.diffusion.analytic import Exact, Noise, gaussian, mixture, vp
from zoo_core.diffusion import grids
from zoo_core.diffusion.exponential import dpmpp_3m, multistep, step_weights, unipc
from zoo_core.diffusion.multistep import dpmpp_2m
from zoo_core.diffusion.sdes import VP

MEAN = torch.tensor([0.5, -0.3], dtype=torch.float64)
COV = torch.tensor([[0.6, 0.2], [0.2, 0.1]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
CENTERS = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=torch.float64)


def kutta(denoise, x, t, s):
    """One step of the classical method of order 4 for dx / dlambda = x0 - x."""
    start, h = -t.log(), (t / s).log()

    def slope(lam, x):
        return denoise(x, (-lam).exp()) - x

    a = slope(start, x)
    b = slope(start + h / 2, x + h / 2 * a)
    c = slope(start + h / 2, x + h / 2 * b)
    d = slope(start + h, x + h * c)
    return x + h / 6 * (a + 2 * b + 2 * c + d)


def exact_end(denoise, x):
    """The Gaussian's flow to sigma_min, and then Tweedie's formula, in closed form."""
    values, vectors = torch.linalg.eigh(COV)
    least, most = denoise.sigma_min, denoise.sigma_max
    gain = ((values + least**2) / (values + most**2)).sqrt() * values / (values + least**2)
    return MEAN + ((x - MEAN) @ vectors * gain) @ vectors.T


@pytest.mark.parametrize("schedule", [None, VP()], ids=["edm", "vp"])
@pytest.mark.parametrize("corrector", [False, True], ids=["predictor", "corrector"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_order_of_convergence(order, corrector, schedule):
    """Catches a wrong weight, a history of the wrong levels and a corrector without effect: p, or p + 1.

    The first p - 1 steps are one-step Runge-Kutta of order 4, which leave no error of lower order.
    """
    denoise = Exact(gaussian(MEAN, COV), schedule)
    x = denoise.prior_std * Noise(20, seed=1).randn((2,))
    counts, errors = (32, 64, 128, 256), []
    for count in counts:
        sigmas, at, past = grids.karras(denoise, count), x, []
        for t, s in pairwise(sigmas[:order]):
            past.append((-float(t.log()), denoise(at, t)))
            at = kutta(denoise, at, t, s)
        end = multistep(denoise, at, sigmas[order - 1 :], order=order, corrector=corrector, past=past)
        errors.append(float((end - exact_end(denoise, x)).norm()))
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(slopes) > order + corrector - 0.1
    assert slopes[1:] == pytest.approx([order + corrector] * 2, abs=0.3)


def test_dpmpp_3m_is_of_third_order():
    """Catches half the weight of the second difference, which published code has: order 2."""
    denoise = Exact(gaussian(MEAN, COV))
    x = denoise.prior_std * Noise(20, seed=1).randn((2,))
    errors = [
        float(
            (dpmpp_3m(denoise, x, grids.karras(denoise, n), noise=Noise(20)) - exact_end(denoise, x)).norm()
        )
        for n in (64, 128, 256)
    ]
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([3, 3], abs=0.25)


@pytest.mark.parametrize("nodes", [(0.0,), (-0.7, -0.2, 0.0), (-0.2, 0.0, 0.9), (-1.1, -0.7, -0.2, 0.0)])
@pytest.mark.parametrize("h", [0.05, 0.9, 6.0])
def test_weights_integrate_polynomials(nodes, h):
    """Catches a wrong moment: against Gauss-Legendre quadrature of exp(-(h - u)) u^k."""
    points, quadrature = np.polynomial.legendre.leggauss(40)
    u = h * (points + 1) / 2
    weights = step_weights(nodes, h)
    for power in range(len(nodes)):
        integral = h / 2 * float((quadrature * np.exp(u - h) * u**power).sum())
        found = sum(w * node**power for w, node in zip(weights, nodes, strict=True))
        assert found == pytest.approx(integral, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 5, 14])
@pytest.mark.parametrize("corrector", [False, True])
@pytest.mark.parametrize("order", [2, 3])
def test_diffusers_unipc_agrees(order, corrector, steps):
    """Catches a misread paper: the same denoiser and start through diffusers' own steps, in x-space."""
    diffusers = pytest.importorskip("diffusers")
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    theirs = diffusers.UniPCMultistepScheduler(
        solver_order=order,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        disable_corrector=[] if corrector else list(range(steps)),
    )
    theirs.set_timesteps(steps)
    theirs.sigmas = theirs.sigmas.double()
    x = start = Noise(20, seed=4).randn((2,))
    for t, ratio in zip(theirs.timesteps, theirs.sigmas[:-1], strict=True):
        alpha = (1 + ratio**2).rsqrt()
        eps = (x / alpha - denoise(x / alpha, ratio)) / ratio
        x = theirs.step(eps, t, x).prev_sample
    at = start * (1 + theirs.sigmas[0] ** 2).sqrt()
    ours = unipc(denoise, at, theirs.sigmas, noise=Noise(20), order=order, corrector=corrector)
    torch.testing.assert_close(ours, x, rtol=0, atol=2e-4)


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_the_predictor_of_order_two_is_dpmpp_2m(steps):
    """Catches a weight of the slope other than the paper's 1/2; B_2 makes the two methods one."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    sigmas = grids.karras(denoise, steps)
    x = denoise.prior_std * Noise(20, seed=3).randn((2,))
    found = unipc(denoise, x, sigmas, noise=Noise(20), order=2, corrector=False)
    torch.testing.assert_close(found, dpmpp_2m(denoise, x, sigmas, noise=Noise(20)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("options", [{"order": 1}, {"order": 3}, {"order": 4}, {"corrector": False}])
def test_each_option_changes_the_samples(options):
    """Catches an option that is not passed on."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    sigmas = grids.karras(denoise, 12)
    x = denoise.prior_std * Noise(20, seed=3).randn((2,))
    plain, other = (unipc(denoise, x, sigmas, noise=Noise(20), **o) for o in ({}, options))
    assert float((plain - other).abs().max()) > 1e-3
