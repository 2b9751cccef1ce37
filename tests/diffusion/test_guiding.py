"""Autoguidance between two runs: the weaker one is found, checked and used as the formula says."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.making import made_of, settings
from zoo_core.diffusion.guidance import AutoGuided, IntervalGuided
from zoo_core.diffusion.sampling import bind, draw
from zoo_core.errors import UsageError
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import build, load_data
from zoo_core.runs.job import write_config
from zoo_core.training import checkpoint
from zoo_core.types import Cond, DataInfo
from zoo_ddpm.ddpm import DDPM, DDPMConfig

TINY = {"plugin": "edm", "preset": "tiny", "data": "ring", "sample.steps": 4}
RNG = torch.Generator().manual_seed(0)
AUTO = {"sample.guide": "auto", "sample.guidance_scale": 2.0}


def made(folder, steps=(), **options):
    """A run with its initial weights, saved as the checkpoints of some steps with other weights at each."""
    config = resolve(TINY | options)
    run = build(config, load_data(config), folder, manager(), say=print, warn=print)
    for step in steps:
        with torch.no_grad():
            for parameter in run.recipe.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=RNG))
        run.harness.counts.total = step
        ema = {"net": {name: 1.1 * weight.detach() for name, weight in run.recipe.net.named_parameters()}}
        checkpoint.save(folder / "checkpoints", step, replace(run.harness.checkpoint(), ema=ema), {})
    write_config(config, folder)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with two checkpoints, that guides others."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("guiding")
        patch.setenv("ZOO_HOME", str(folder / "home"))
        patch.chdir(folder)
        made(folder / "weak", (40, 60))
        yield folder / "weak"


def guided(weak, tmp_path, **options):
    return made(tmp_path, **{"seed": 1, "sample.guidance_run": str(weak)}, **AUTO, **options)


def drawn(run, **changes):
    return run.samples(replace(run.request(range(6)), **changes))


def test_samples_follow_the_formula(folder, tmp_path):
    """Catches raw weights for the scored ones, and a guide that is loaded and not used."""
    strong, weak = guided(folder, tmp_path), made(tmp_path / "weak")
    found = drawn(strong)
    saved = checkpoint.load(folder / "checkpoints" / "step-00000060")
    weak.recipe.load_state_dict(saved.weights | {f"net.{k}": v for k, v in saved.ema["net"].items()})
    with weak.inference(), strong.inference():
        both = AutoGuided(strong.recipe.denoiser(), weak.recipe.denoiser(), None, 2.0)
        expected = draw(both, (2,), strong.request(range(6)), bind(strong.recipe.default_sampler))
    torch.testing.assert_close(found.x, expected.x)
    assert found.calls == expected.calls == 14
    plain = made(tmp_path / "plain", seed=1)
    assert plain.guide is None
    assert not torch.allclose(drawn(plain).x, found.x)
    assert all(not p.requires_grad for p in strong.guide.recipe.parameters())
    assert (
        made(
            tmp_path / "one", **AUTO | {"sample.guidance_scale": 1.0, "sample.guidance_run": str(folder)}
        ).guide
        is None
    )


def test_the_run_records_its_guide(folder, tmp_path):
    """Catches a result that can't be repeated, as nothing tells which weights guided it."""
    record = guided(folder, tmp_path).provenance["guide"]
    assert record["address"] == str(folder)
    assert record["step"] == 60
    assert len(record["sha256"]) == 64


def test_an_earlier_checkpoint_guides(folder, tmp_path):
    """Catches guidance_step that is not heeded, and one that names no checkpoint."""
    early, late = guided(folder, tmp_path, **{"sample.guidance_step": 40}), guided(folder, tmp_path)
    assert early.guide.record["step"] == 40
    assert not torch.allclose(drawn(early).x, drawn(late).x)
    with pytest.raises(UsageError, match="one of 40, 60"):
        guided(folder, tmp_path, **{"sample.guidance_step": 7})


def test_levels_outside_the_interval_cost_one_call(folder, tmp_path):
    """Catches an interval that is configured and not used."""
    limits = {"sample.guidance_low": 0.1, "sample.guidance_high": 10.0}
    found = drawn(guided(folder, tmp_path, **limits), trace=True)
    inside = sum(0.1 <= sigma <= 10.0 for sigma in found.sigmas)
    assert 0 < inside < len(found.sigmas)
    assert found.calls == len(found.sigmas) + inside


def test_another_kind_of_run_is_refused(folder, tmp_path):
    """Catches two models that are not of the same kind."""
    with pytest.raises(UsageError, match="its plugin is edm, and here it is vp-sde"):
        guided(folder, tmp_path, plugin="vp-sde")
    with pytest.raises(UsageError, match="its data is ring, and here it is moons"):
        guided(folder, tmp_path, data="moons")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (AUTO, "needs a weaker model"),
        ({"sample.guidance_run": "x"}, "sample.guide=auto"),
        ({"sample.guidance_step": 3}, "sample.guide=auto"),
        ({"sample.guidance_low": 2.0, "sample.guidance_high": 1.0}, "guidance_low < guidance_high"),
    ],
)
def test_options_without_effect_are_refused(options, said):
    """Catches guidance that is asked for and silently not there."""
    config = settings(DDPMConfig, **options)
    with pytest.raises(UsageError, match=said):
        DDPM(config, DataInfo("ring", (2,), levels=None, classes=8, task="class"))


def test_the_recipe_limits_guidance_to_the_interval():
    """Catches one end that is not passed on."""
    data = DataInfo("ring", (2,), levels=None, classes=8, task="class")
    given = {"sample.guidance_scale": 2.0, "sample.guidance_low": 0.3}
    limited = made_of(DDPM, DDPMConfig, data, **given).conditioned(Cond(label=torch.tensor([1])))
    assert isinstance(limited, IntervalGuided)
    assert (limited.low, limited.high) == (0.3, math.inf)
