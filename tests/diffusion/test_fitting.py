"""Levels fitted to a model: nearer to the flow's end on fresh noise, kept with the run, or refused."""

from __future__ import annotations

import json

import pytest
import torch

from tests.diffusion.analytic import Exact, Noise, mixture
from zoo_core.diffusion import grids
from zoo_core.diffusion.fitting import fit_levels
from zoo_core.diffusion.multistep import dpmpp_2m
from zoo_core.diffusion.samplers import heun
from zoo_core.errors import UsageError
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import build, load_data

WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
CENTERS = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=torch.float64)


@pytest.mark.parametrize("sampler", [heun, dpmpp_2m])
def test_fitted_levels_are_better_on_fresh_noise(sampler):
    """Catches a search that fits its own noise, moves a level past another, or keeps what is worse."""
    denoise, steps = Exact(mixture(WEIGHTS, CENTERS, 0.2)), 6
    own = grids.karras(denoise, steps)

    def drawn(sigmas, seed):
        x = denoise.prior_std * Noise(200, seed=seed).randn((2,))
        return sampler(denoise, x, sigmas, noise=Noise(200))

    fit = fit_levels(lambda sigmas: drawn(sigmas, 1), own, drawn(grids.karras(denoise, 100), 1))
    assert float(fit.sigmas[0]) == 80
    assert float(fit.sigmas[-1]) == 0
    assert bool((fit.sigmas.diff() < 0).all())
    assert fit.after < fit.before
    end = drawn(grids.karras(denoise, 100), 2)
    before, after = (float((drawn(s, 2) - end).square().mean().sqrt()) for s in (own, fit.sigmas))
    assert after < 0.8 * before


def test_where_nothing_helps_the_grid_stays():
    """Catches a move that is kept although the samples are as far away as before."""
    own = torch.tensor([9.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    fit = fit_levels(lambda sigmas: torch.ones(3), own, torch.zeros(3))
    torch.testing.assert_close(fit.sigmas, own)
    assert fit.before == fit.after == 1


OPTIONS = {"plugin": "edm", "preset": "tiny", "data": "ring", "sampler": "heun", "sample.steps": 3}


def made(folder, **options):
    config = resolve(OPTIONS | {"sampler.grid": "optimized"} | options)
    said = []
    run = build(config, load_data(config), folder, manager(), say=said.append, warn=said.append)
    return run, said


def test_a_trained_run_keeps_its_levels(home, tmp_path):
    """Catches a search at every batch, and levels that stay when the weights have changed."""
    run, said = made(tmp_path)
    own = run.request(range(2)).sampler
    assert own is run.sampler  # not trained yet
    run.cost = {"steps": 60}
    request = run.request(range(2))
    levels = request.sampler.grid(run.recipe.denoiser(), 3)
    (path,) = (tmp_path / "grids").iterdir()
    record = json.loads(path.read_text())
    assert path.name == "heun-3.json"
    assert levels.tolist() == record["sigmas"]
    assert record["error"] <= record["error_before"]
    assert len(said) == 1
    assert not torch.equal(levels, own.grid(run.recipe.denoiser(), 3))
    torch.testing.assert_close(
        request.sampler.grid(run.recipe.denoiser(), 5), own.grid(run.recipe.denoiser(), 5)
    )
    run.request(range(2))
    assert len(said) == 1
    with torch.no_grad():
        next(run.recipe.parameters()).add_(1)
    run.request(range(2))
    assert len(said) == 2
    assert not torch.equal(run.samples(request).x, run.samples(run.request(range(2), fit=False)).x)


@pytest.mark.parametrize(
    "options",
    [{"sampler": "ancestral"}, {"sampler": "restart"}, {"sampler": "pf-ode"}, {"sampler": ""}],
)
def test_samplers_without_levels_to_fit_are_refused(options, home, tmp_path):
    """Catches an option that has no effect."""
    with pytest.raises(UsageError, match=r"sampler\.grid=optimized"):
        made(tmp_path, **options)
