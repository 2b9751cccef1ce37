"""The example from outside: it is found by its entry point, and all samplers drive it."""

from __future__ import annotations

import math
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.diffusion.analytic import Noise
from tests.making import batch, made_of
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.samplers import euler
from zoo_core.diffusion.sampling import bind
from zoo_core.diffusion.specs import SAMPLERS
from zoo_core.interfaces import Denoiser, HasDenoiser, HasLikelihood
from zoo_core.registry.spec import load_target
from zoo_core.seeds import Seeds
from zoo_core.types import Context, DataInfo, SampleRequest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "zoo-plugin-straight-flow"
POINTS = DataInfo("moons", (2,), levels=None)
CALLS = {
    "heun": 11,
    "predictor-corrector": 11,
    "edm-stochastic": 11,
    "annealed-langevin": 49,
    "restart": 11 + 2 * 2 * 3,
}
"""Of the network in 6 steps, where they are not 6."""


@pytest.fixture
def flow(monkeypatch):
    """The example's module of code, from its folder: it is not installed."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return __import__("zoo_straight_flow.model", fromlist=["model"])


@pytest.fixture
def recipe(flow):
    return made_of(flow.StraightFlow, flow.StraightFlowConfig, POINTS)


def test_entry_point_and_spec(flow):
    """Catches a distribution whose entry point names nothing, or a spec whose target is gone."""
    meta = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    module = meta["project"]["entry-points"]["zoo"]["straight-flow"]
    (spec,) = __import__(module).zoo_plugins()
    assert load_target(spec.target) is flow.StraightFlow
    assert load_target(spec.config) is flow.StraightFlowConfig
    code = (
        f"import sys; sys.path.insert(0, {str(EXAMPLE)!r}); import {module}; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_uses_the_public_core_only():
    """Catches an example that a third party could not have written."""
    for path in (EXAMPLE / "zoo_straight_flow").glob("*.py"):
        imported = {
            line.split()[1].split(".")[0]
            for line in path.read_text().splitlines()
            if line.startswith("from ")
        }
        assert not {name for name in imported if name.startswith("zoo_")} - {"zoo_core"}


def test_exact_velocity_gives_the_exact_denoiser(flow):
    """Catches a path run the wrong way round: on N(m, .25) the denoiser is known."""
    mean, var = 0.4, 0.25

    def velocity(x, t, cond=None):
        t = like(t, x)
        x0 = mean + (1 - t) * var / ((1 - t) ** 2 * var + t**2) * (x - (1 - t) * mean)
        return (x - x0) / t

    denoise = flow.FlowDenoiser(velocity)
    x = torch.linspace(-3, 3, 4).double()[:, None]
    for sigma in (denoise.sigma_min, 0.1, 1.0, denoise.sigma_max):
        level = torch.tensor(sigma, dtype=torch.float64)
        torch.testing.assert_close(denoise(x, level), mean + var / (var + sigma**2) * (x - mean))
        torch.testing.assert_close(denoise(x, level.expand(4)), denoise(x, level))


def test_euler_in_sigma_is_euler_in_time(flow):
    """Catches a clock that bends the straight paths: both take the same steps."""

    def velocity(x, t, cond=None):
        return torch.sin(3 * x) + like(t, x)

    denoise = flow.FlowDenoiser(velocity)
    sigmas = flow.even_in_t(denoise, 20)
    start = Noise(9).randn((2,))
    alpha = denoise.alpha(sigmas[0])
    ours = euler(denoise, start / alpha, sigmas, noise=Noise(9))
    x, t = start, sigmas / (1 + sigmas)
    for now, then in pairwise(t):
        x = x + (then - now) * velocity(x, now.expand(len(x)))
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-10)


def test_loss_of_a_spy(flow):
    """Catches a velocity of the wrong sign and a time that is not the noise's share."""
    seen = []

    def net(x, t):
        seen.append((x, t))
        return torch.zeros_like(x)

    x0, eps, t = torch.full((3, 2), 1e8), torch.zeros(3, 2), torch.tensor([0.1, 0.5, 0.9])
    flow.flow_loss(net, x0, t, eps)
    torch.testing.assert_close(seen[0][0] / 1e8, (1 - t)[:, None].expand(3, 2))
    assert torch.equal(seen[0][1], t)
    still = torch.zeros(1000, 2)
    noise = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    assert float(flow.flow_loss(lambda x, t: x / t[:, None], still, torch.full((1000,), 0.3), noise)) < 1e-10


@pytest.mark.parametrize("name", ["", *(spec.name for spec in SAMPLERS)])
def test_every_sampler_drives_it(recipe, name):
    """Catches a denoiser from outside that some sampler of the core can't use."""
    sampler = bind(next(spec for spec in SAMPLERS if spec.name == name)) if name else None
    drawn = recipe.sample(SampleRequest(Seeds(0, range(3)), sampler=sampler, steps=6))
    assert drawn.x.shape == (3, 2)
    assert bool(torch.isfinite(drawn.x).all())
    if name != "pf-ode":  # which takes what its tolerance asks for
        assert drawn.calls == CALLS.get(name, 6)
    assert isinstance(recipe, HasDenoiser)
    assert isinstance(recipe.denoiser(), Denoiser)
    assert not isinstance(recipe, HasLikelihood)


def test_it_learns(recipe):
    """Catches samples that do not follow the training: points on a ring of radius 0.7."""
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(recipe.parameters(), 3e-3)
    for _ in range(400):
        angle = 2 * math.pi * torch.rand(256, generator=rng)
        x = 0.7 * torch.stack((angle.cos(), angle.sin()), 1)
        optimizer.zero_grad()
        recipe.loss(batch(x), Context(0, 0.0, 0, rng)).loss.backward()
        optimizer.step()
    radius = recipe.sample(SampleRequest(Seeds(1, range(500)), steps=25)).x.norm(dim=1)
    assert float(radius.mean()) == pytest.approx(0.7, abs=0.08)
    assert float(radius.std()) < 0.2
