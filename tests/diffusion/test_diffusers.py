"""Schedulers of diffusers as samplers: theirs through our denoisers, and ours beside theirs, step by step."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from unittest import mock

import pytest
import torch

from tests.diffusion.analytic import Exact, gaussian, mixture, vp
from zoo_core.config import SamplerConfig
from zoo_core.diffusion import grids
from zoo_core.diffusion.multistep import dpmpp_2m
from zoo_core.diffusion.samplers import ancestral, ddim, ddpm, euler, heun
from zoo_core.diffusion.sampling import bind, draw
from zoo_core.diffusion.schedule import DiscreteVP, cosine_betas, linear_betas
from zoo_core.diffusion.schedulers import _streams, scheduled
from zoo_core.errors import MachineError, NotFoundError, UsageError, ZooError
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import Seeds
from zoo_core.types import SampleRequest

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # theirs, of numpy

MEAN = torch.tensor([0.5, -0.3], dtype=torch.float64)
COV = torch.tensor([[0.6, 0.2], [0.2, 0.1]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
CENTERS = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=torch.float64)
SPEC = manager().find("sampler", "diffusers").spec


def noisy(n, sigma):
    """Exact draws of the Gaussian data plus noise of level sigma."""
    z = Seeds(3, range(n)).randn((2,)).double()
    return MEAN + z @ torch.linalg.cholesky(COV + sigma**2 * torch.eye(2, dtype=torch.float64)).T


class Replay:
    """The noise that a scheduler draws from its generators."""

    def __init__(self, noise):
        self.streams = _streams(noise)

    def randn(self, shape, **address):
        drawn = [torch.randn((1, *shape), generator=rng, dtype=torch.float64) for rng in self.streams]
        return torch.cat(drawn)


# -- theirs, driven


@pytest.mark.parametrize("discrete", [True, False], ids=["vp", "ve"])
@pytest.mark.parametrize(
    ("part", "ours", "tolerance"),
    [
        ("DDIMScheduler", ddim, 1e-8),
        ("DDPMScheduler", ancestral, 1e-5),  # it forms 1 - alpha_bar_t / alpha_bar_s by a subtraction
        ("EulerDiscreteScheduler", euler, 1e-5),
        ("EulerAncestralDiscreteScheduler", ancestral, 1e-5),
        ("HeunDiscreteScheduler", heun, 1e-4),
        ("DPMSolverMultistepScheduler", dpmpp_2m, 1e-5),
    ],
)
def test_the_same_method_under_either_name(part, ours, tolerance, discrete):
    """Catches a level shifted by one, a wrong scale of the state and a last step that is left out."""
    denoise = Exact(gaussian(MEAN, COV), vp() if discrete else None)
    sigmas = grids.karras(denoise, 12)
    x = noisy(8, denoise.sigma_max)
    theirs = scheduled(denoise, x, sigmas, noise=Seeds(0, range(8)), part=part)
    expected = ours(denoise, x, sigmas, noise=Replay(Seeds(0, range(8))))
    torch.testing.assert_close(theirs, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("discrete", [True, False], ids=["vp", "ve"])
@pytest.mark.parametrize(
    "part",
    [
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "EulerAncestralDiscreteScheduler",
        "HeunDiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "LMSDiscreteScheduler",
        "PNDMScheduler",
        "UniPCMultistepScheduler",
    ],
)
def test_gaussian_mean_and_covariance(part, discrete):
    """Catches a scheduler whose times are read as another level, or that ends at the least level."""
    own_noise = "Ancestral" in part
    denoise, n = Exact(gaussian(MEAN, COV), vp() if discrete else None), 800 if own_noise else 4000
    sigmas = grids.karras(denoise, 200 if own_noise else 50)
    x = scheduled(denoise, noisy(n, denoise.sigma_max), sigmas, noise=Seeds(5, range(n)), part=part)
    var = COV.diagonal()
    scale = (var[:, None] * var).sqrt()
    assert float(((x.mean(0) - MEAN).abs() / (var / n).sqrt()).max()) < 4.5
    error = (torch.cov(x.T) - COV).abs() - 0.03 * scale  # allowance: steps of finite length
    assert float((error / ((var[:, None] * var + COV**2) / n).sqrt()).max()) < 4.5


def test_a_mixture_keeps_the_weights_of_its_modes():
    """Catches what affine tests can't: x0 read at another level than the state's drifts to one mode."""
    denoise, n = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp()), 2000
    rng = torch.Generator().manual_seed(5)
    mode = torch.multinomial(WEIGHTS, n, replacement=True, generator=rng)
    noise = torch.randn(n, 2, generator=rng, dtype=torch.float64)
    start = CENTERS[mode] + math.hypot(0.2, denoise.sigma_max) * noise
    x = scheduled(denoise, start, grids.karras(denoise, 60), noise=Seeds(0, range(n)))
    assert float((x[:, 0] < -0.1).double().mean()) == pytest.approx(0.3, abs=4.5 * 0.0103 + 0.005)
    distance = (x[:, None] - CENTERS).norm(dim=-1).min(1).values
    assert float(distance.square().mean()) == pytest.approx(2 * 0.2**2, rel=0.15)


@pytest.mark.parametrize(
    "part", ["DEISMultistepScheduler", "EulerAncestralDiscreteScheduler", "UniPCMultistepScheduler"]
)
def test_a_single_point_is_hit(part):
    """Catches a scheduler that stops at the least level, sigma = 0.01: its noise would be left in."""
    point = torch.tensor([0.3, -0.6], dtype=torch.float64)
    denoise = Exact(lambda x, sigma: point.expand_as(x), vp())
    x = denoise.prior_std * Seeds(0, range(6)).randn((2,)).double()
    x = scheduled(denoise, x, grids.karras(denoise, 9), noise=Seeds(0, range(6)), part=part)
    torch.testing.assert_close(x, point.expand(6, 2), rtol=0, atol=1e-4)


@pytest.mark.parametrize("part", ["DDIMScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"])
def test_every_level_of_the_grid_is_visited_once(part):
    """Catches a scheduler's own spacing of the chain: the levels are those that were asked for."""
    called = []
    denoise = Exact(gaussian(MEAN, COV), vp())
    for grid in (grids.trailing, grids.karras):
        sigmas, called = grid(denoise, 9), []
        scheduled(
            denoise,
            noisy(2, denoise.sigma_max),
            sigmas,
            noise=Seeds(0, range(2)),
            callback=lambda step, sigma, x, x0, called=called: called.append(float(sigma)),
            part=part,
        )
        assert called == pytest.approx(sigmas[:-1].tolist(), rel=1e-12)


@pytest.mark.parametrize("part", ["DDPMScheduler", "EulerAncestralDiscreteScheduler"])
def test_a_sample_depends_on_its_seed_alone(part):
    """Catches noise drawn for the batch, or from torch's global generator."""
    denoise = Exact(gaussian(MEAN, COV))
    x, sigmas = noisy(6, 80.0), grids.karras(denoise, 8)
    whole = scheduled(denoise, x, sigmas, noise=Seeds(7, range(6)), part=part)
    parts = [
        scheduled(denoise, x[rows], sigmas, noise=Seeds(7, rows), part=part)
        for rows in ([0], [1, 2, 3], [4, 5])
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)
    other = scheduled(denoise, x, sigmas, noise=Seeds(8, range(6)), part=part)
    assert not torch.allclose(other, whole)


# -- those that can't


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("FlowMatchEulerDiscreteScheduler", "chain of betas"),
        ("EDMEulerScheduler", "chain of betas"),
        ("IPNDMScheduler", "alpha_bar"),
        ("LCMScheduler", "distilled"),
        ("DDIMInverseScheduler", "from data to noise"),
        ("SASolverScheduler", "batch as a whole"),
        ("RePaintScheduler", "original_image, mask"),
        ("PNDMScheduler", "in 2 steps"),
    ],
)
def test_one_that_can_not_is_refused_by_name(part, reason):
    """Catches their own error deep in a step, and samples that look like noise."""
    denoise = Exact(gaussian(MEAN, COV))
    with pytest.raises(UsageError, match=f"{part} can't drive.*{reason}"):
        scheduled(denoise, noisy(2, 80.0), grids.karras(denoise, 2), noise=Seeds(0, range(2)), part=part)


def test_a_misspelled_name_has_a_neighbor():
    """Catches an AttributeError."""
    denoise = Exact(gaussian(MEAN, COV))
    with pytest.raises(NotFoundError, match="diffusers:UniPCMultistepScheduler") as caught:
        scheduled(
            denoise, noisy(2, 80.0), grids.karras(denoise, 5), noise=Seeds(0, range(2)), part="UniPCScheduler"
        )

    assert "LCMScheduler" not in str(caught.value)  # what would be refused is not offered


def test_without_the_package_the_command_is_told():
    """Catches an ImportError's traceback."""
    denoise = Exact(gaussian(MEAN, COV))
    with mock.patch.dict(sys.modules, {"diffusers": None}), pytest.raises(MachineError, match="pip install"):
        scheduled(denoise, noisy(2, 80.0), grids.karras(denoise, 5), noise=Seeds(0, range(2)))


# -- by its name


@pytest.mark.parametrize(("part", "words"), [("UniPC", "UniPCMultistep"), ("RePaintScheduler", "mask")])
def test_one_that_can_not_is_refused_before_anything_is_trained(part, words):
    """Catches a name that is first read when a model has been trained."""
    with pytest.raises(ZooError, match=words):
        resolve(["plugin=ddpm", f"sampler=diffusers:{part}"])


def test_a_part_is_found_by_its_whole():
    """Catches a colon that is read as a distribution's, and parts of what has none."""
    config = resolve(["plugin=ddpm", "preset=tiny", "sampler=diffusers:DDIMScheduler"])
    assert config.sampler.name == "diffusers:DDIMScheduler"
    assert manager().find("sampler", config.sampler.name).spec == SPEC
    assert manager().find("sampler", "genzoo:diffusers").spec == SPEC
    for name in ("ddim:DDIMScheduler", "diffuser:DDIMScheduler"):
        with pytest.raises(NotFoundError):
            manager().find("sampler", name)


def test_the_part_reaches_the_scheduler():
    """Catches a name that is accepted and then forgotten: ours and theirs agree, and each other's do not."""
    denoise = Exact(gaussian(MEAN, COV))
    found = {}
    for part in ("DDIMScheduler", "DPMSolverMultistepScheduler", ""):
        sampler = bind(SPEC, SamplerConfig(name=f"diffusers:{part}" if part else ""))
        assert sampler.options == {"part": part}
        request = SampleRequest(Seeds(0, range(4)), sampler=sampler, steps=10)
        found[part] = draw(denoise, (2,), request, sampler).x
        assert draw(denoise, (2,), request, sampler).calls == 10
    ours = bind(manager().find("sampler", "dpmpp-2m").spec)
    expected = draw(denoise, (2,), SampleRequest(Seeds(0, range(4)), sampler=ours, steps=10), ours).x
    torch.testing.assert_close(found["DPMSolverMultistepScheduler"], expected.float(), rtol=0, atol=1e-4)
    assert not torch.allclose(found["DDIMScheduler"], expected.float(), atol=1e-3)
    assert not torch.allclose(found[""], expected.float(), atol=1e-4)


# -- ours beside theirs


@pytest.mark.parametrize(
    ("schedule", "ours"), [("linear", linear_betas), ("squaredcos_cap_v2", cosine_betas)]
)
def test_schedules_agree(schedule, ours):
    """Catches a beta or an offset misread: alpha_bar at every step, to what float32 keeps of theirs."""
    theirs = diffusers.DDPMScheduler(beta_schedule=schedule).alphas_cumprod.double()
    found = DiscreteVP(ours(1000)).alpha_bar[1:]
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-5)
    # The small ones too; of a last step of 0.999 float32 keeps few digits.
    torch.testing.assert_close(
        found[:-1], theirs[:-1], rtol=1e-5 if schedule == "linear" else 5e-4, atol=1e-9
    )


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize(
    ("sampler", "variance"), [(ddpm, "fixed_large"), (ancestral, "fixed_small"), (ddim, None)]
)
def test_single_steps_agree_under_every_spacing(sampler, variance, spacing):
    """Catches a step between other levels than theirs: one step from each of their times, to 1e-5."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, 0.2), vp())
    common = {"clip_sample": False, "timestep_spacing": spacing}
    theirs = (
        diffusers.DDIMScheduler(set_alpha_to_one=True, **common)
        if variance is None
        else diffusers.DDPMScheduler(variance_type=variance, **common)
    )
    theirs.alphas_cumprod = denoise.schedule.alpha_bar[1:]
    theirs.set_timesteps(25)
    levels = torch.cat((torch.zeros(1, dtype=torch.float64), denoise.levels))
    times = theirs.timesteps.tolist()
    for t, visited in list(pairwise(times))[::6]:
        # Their DDPM steps to the next time of the list, their DDIM always by T / steps.
        sigma, following = levels[t + 1], levels[(visited if variance else t - 40) + 1]
        alpha, alpha_next = (1 + sigma**2).rsqrt(), (1 + following**2).rsqrt()
        x = sigma * Seeds(t, range(5)).randn((2,)).double()
        eps = (x - denoise(x, sigma)) / sigma
        with mock.patch(
            "diffusers.schedulers.scheduling_ddpm.randn_tensor",
            return_value=Replay(Seeds(1, range(5))).randn((2,)),
        ):
            expected = theirs.step(eps, t, alpha * x).prev_sample
        states = []
        sampler(
            denoise,
            x,
            torch.stack((sigma, following, torch.zeros_like(sigma))),
            noise=Replay(Seeds(1, range(5))),
            callback=lambda step, sigma, x, x0, states=states: states.append(x),
        )
        torch.testing.assert_close(alpha_next * states[1], expected, rtol=0, atol=1e-5)
