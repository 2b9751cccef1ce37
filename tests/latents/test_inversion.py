"""Inversion against closed forms: Gaussian data with the exact denoiser, and a linear generator."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import Tensor

from zoo_core.diffusion.grids import karras
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds
from zoo_latents.interpolation import ArcSeeds
from zoo_latents.inversion import ddim_inversion, ddim_sampling, search

VARIANCE = 0.3
MEAN = 0.4


class Exact:
    """E[x0 | x0 + sigma eps] for x0 ~ N(MEAN, VARIANCE)."""

    sigma_min, sigma_max, prior_std = 0.01, 20.0, 20.0
    levels: Tensor | None = None
    space: Literal["data", "latent"] = "data"

    def alpha(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma)

    def __call__(self, x: Tensor, sigma: Tensor, cond: object = None) -> Tensor:
        return MEAN + VARIANCE / (VARIANCE + sigma**2) * (x - MEAN)


def test_each_step_of_the_inversion_is_that_of_the_linear_recursion() -> None:
    """x' - m = (x - m)(1 + (s' - s) s / (c + s^2)), from Eq. 13 with the exact denoiser by hand."""
    denoise = Exact()
    sigmas = karras(denoise, 30)
    x0 = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    factor = 1.0
    rising = sigmas.flip(0).tolist()
    for low, high in pairwise(rising):
        at = high if low == 0 else low
        factor *= 1 + (high - low) * at / (VARIANCE + at**2)
    expected = MEAN + factor * (x0 - MEAN)
    torch.testing.assert_close(ddim_inversion(denoise, x0, sigmas), expected)


def test_many_steps_reach_the_exact_flow_and_return() -> None:
    """The flow multiplies x - m by sqrt(1 + sigma^2 / c). The error is of first order in the steps."""
    denoise = Exact()
    x0 = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    exact = MEAN + (1 + denoise.sigma_max**2 / VARIANCE) ** 0.5 * (x0 - MEAN)
    there, back = [], []
    for steps in (50, 100, 200, 400):
        sigmas = karras(denoise, steps)
        x = ddim_inversion(denoise, x0, sigmas)
        there.append(float((x - exact).abs().max() / exact.abs().max()))
        back.append(float((ddim_sampling(denoise, x, sigmas) - x0).abs().max()))
    assert there[-1] < 0.01
    assert back[-1] < 0.02
    for errors in (there, back):
        for one, other in pairwise(errors):
            assert 1.6 < one / other < 2.4


def test_the_search_finds_the_latents_of_a_linear_generator() -> None:
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 3, generator=rng)
    z = torch.randn(4, 3, generator=rng)
    start = torch.randn(2, 4, 3, generator=rng)
    found, again = search(lambda code: code @ weight.T, z @ weight.T, start, steps=600, prior=0.0)
    torch.testing.assert_close(found, z, atol=1e-2, rtol=0)
    torch.testing.assert_close(again, found @ weight.T)


def test_of_several_starts_the_nearest_is_kept() -> None:
    """|z| has two minima at each target, and 0 is a stationary point; only one start is near a minimum."""
    target = torch.tensor([[2.0], [3.0]])
    start = torch.tensor([[[1.9], [-50.0]], [[-80.0], [2.9]]])
    found, _ = search(torch.abs, target, start, steps=50, prior=0.0)
    torch.testing.assert_close(found, target, atol=0.1, rtol=0)


def test_ends_of_an_arc_are_the_samples_of_their_indices_and_its_length_does_not_shrink() -> None:
    noise = ArcSeeds(7, [(0, 1), (2, 3)], 5, "cpu")
    points = noise.randn((64,), name="start").unflatten(0, (2, 5))
    own = Seeds(7, range(4)).randn((64,), name="start")
    torch.testing.assert_close(points[:, 0], own[[0, 2]])
    torch.testing.assert_close(points[:, -1], own[[1, 3]])
    lengths = points.norm(dim=2)
    assert bool((lengths >= lengths[:, [0, -1]].min() * 0.95).all())
    with pytest.raises(UsageError, match="adds noise in its steps"):
        noise.randn((64,), name="step", step=0)
