"""Which levels are visited."""

from __future__ import annotations

import pytest
import torch

from tests.diffusion.analytic import Exact, vp
from zoo_core.diffusion import grids
from zoo_core.errors import UsageError

DISCRETE = Exact(lambda x, sigma: x, vp())
CONTINUOUS = Exact(lambda x, sigma: x)


def times(sigmas):
    return [int(t) for t in DISCRETE.schedule.t_of(sigmas[:-1])]


@pytest.mark.parametrize("grid", [grids.trailing, grids.linspace, grids.karras])
@pytest.mark.parametrize("steps", [1, 2, 7, 50, 999, 1000])
def test_shape_of_a_grid(grid, steps):
    """Catches a grid that starts below sigma_max, repeats a level, or never reaches 0."""
    sigmas = grid(DISCRETE, steps)
    assert sigmas.dtype == torch.float64
    assert len(sigmas) == steps + 1
    assert float(sigmas[0]) == DISCRETE.sigma_max
    assert float(sigmas[-1]) == 0
    assert bool((sigmas.diff() < 0).all())


def test_spacing():
    """Catches leading spacing, which never visits T, and a linspace that leaves out an end."""
    assert times(grids.trailing(DISCRETE, 4)) == [1000, 750, 500, 250]
    assert times(grids.linspace(DISCRETE, 4)) == [1000, 667, 334, 1]
    assert times(grids.trailing(DISCRETE, 1000)) == list(range(1000, 0, -1))


def test_diffusers_trailing_agrees():
    """Catches a count from the wrong end; diffusers counts times from 0."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing")
    for steps in (10, 50, 1000):
        scheduler.set_timesteps(steps)
        assert times(grids.trailing(DISCRETE, steps)) == [t + 1 for t in scheduler.timesteps.tolist()]


def test_karras_formula():
    """Catches a wrong rho or swapped ends: the middle of three levels in closed form."""
    sigmas = grids.karras(CONTINUOUS, 3)
    assert float(sigmas[1]) == pytest.approx(((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7, rel=1e-12)
    assert float(sigmas[2]) == pytest.approx(0.002, rel=1e-12)


def test_continuous_models_have_no_trained_levels():
    """Catches a default grid that fails on a third party's continuous model."""
    assert torch.equal(grids.trailing(CONTINUOUS, 9), grids.karras(CONTINUOUS, 9))
    with pytest.raises(UsageError, match="continuous"):
        grids.linspace(CONTINUOUS, 9)


@pytest.mark.parametrize("steps", [0, 1001])
def test_too_many_steps(steps):
    """Catches an IndexError, or levels visited twice, where a model has fewer levels than steps."""
    with pytest.raises(UsageError, match="1000 noise levels"):
        grids.trailing(DISCRETE, steps)
