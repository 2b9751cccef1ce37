"""Autoguidance between two runs: the weaker one is found, checked and used as the formula says."""

from __future__ import annotations

import json
import math

import pytest
import torch

import zoo_core
from zoo_core.config import validate
from zoo_core.diffusion.guidance import AutoGuided, IntervalGuided
from zoo_core.diffusion.sampling import bind, draw
from zoo_core.errors import UsageError
from zoo_core.types import Cond, DataInfo
from zoo_ddpm.ddpm import DDPM, DDPMConfig

TINY = {"preset": "tiny", "data": "ring", "eval.baselines": False, "eval.ode": "never"}
AUTO = {"sample.guide": "auto", "sample.guidance_scale": 2.0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of 60 steps that keeps two checkpoints, and one of 90 that it guides."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("guiding")
        patch.setenv("ZOO_HOME", str(folder / "home"))
        patch.chdir(folder)
        weak, strong = folder / "weak", folder / "strong"
        common = {"plugin": "edm", **TINY}
        zoo_core.run(**common, run_dir=str(weak), **{"train.checkpoint_every": 40})
        options = {"train.steps": 90, "sample.guidance_run": str(weak), **AUTO}
        zoo_core.run(**common, run_dir=str(strong), **options)
        yield weak, strong


def changed(folder, **options):
    """The run with other options of its samples."""
    config = zoo_core.load(folder).config
    return zoo_core.load(
        folder, config=config.model_copy(update={"sample": config.sample.model_copy(update=options)})
    )


def test_samples_follow_the_formula(runs):
    """Catches raw weights for the scored ones, and a guide that is loaded and not used."""
    weak, strong = map(zoo_core.load, runs)
    request = strong.request(range(6))
    found = strong.samples(request)
    with weak.inference(), strong.inference():
        guided = AutoGuided(strong.recipe.denoiser(), weak.recipe.denoiser(), None, 2.0)
        expected = draw(guided, (2,), strong.request(range(6)), bind(strong.recipe.default_sampler))
    torch.testing.assert_close(found.x, expected.x)
    assert found.calls == expected.calls
    plain = changed(runs[1], guidance_scale=1.0)
    assert plain.guide is None
    assert not torch.allclose(plain.samples(plain.request(range(6))).x, found.x)
    assert all(not p.requires_grad for p in strong.guide.recipe.parameters())


def test_the_run_records_its_guide(runs):
    """Catches a result that cannot be made again, as nothing tells which weights guided it."""
    weak, strong = runs
    record = json.loads((strong / "provenance.json").read_text())["guide"]
    assert record["address"] == str(weak)
    assert record["step"] == 60
    assert len(record["sha256"]) == 64


def test_an_earlier_checkpoint_guides(runs):
    """Catches guidance_step that is not heeded, and one that names no checkpoint."""
    _, strong = runs
    early = changed(strong, guidance_step=40)
    assert early.guide.record["step"] == 40
    late = zoo_core.load(strong)
    assert not torch.allclose(
        early.samples(early.request(range(6))).x, late.samples(late.request(range(6))).x
    )
    with pytest.raises(UsageError, match="one of 40, 60"):
        changed(strong, guidance_step=7)


def test_levels_outside_the_interval_cost_one_call(runs):
    """Catches an interval that is configured and not used."""
    limited = changed(runs[1], guidance_low=0.1, guidance_high=1.0)
    drawn = limited.samples(replace_trace(limited.request(range(3))))
    inside = sum(0.1 <= sigma <= 1.0 for sigma in drawn.sigmas)
    assert 0 < inside < len(drawn.sigmas)
    assert drawn.calls == len(drawn.sigmas) + inside


def replace_trace(request):
    return type(request)(request.noise, request.cond, request.sampler, request.steps, True, request.guide)


def test_another_kind_of_run_is_refused(runs, tmp_path):
    """Catches two models that are not of the same thing."""
    with pytest.raises(UsageError, match="its plugin is edm, and here it is vp-sde"):
        zoo_core.run(
            plugin="vp-sde",
            **TINY,
            run_dir=str(tmp_path / "x"),
            **AUTO,
            **{"sample.guidance_run": str(runs[0])},
        )
    with pytest.raises(UsageError, match="its data is ring, and here it is moons"):
        zoo_core.run(
            plugin="edm",
            run_dir=str(tmp_path / "y"),
            **(TINY | {"data": "moons"} | AUTO | {"sample.guidance_run": str(runs[0])}),
        )


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
    config, mistakes = validate(DDPMConfig, DDPMConfig.PRESETS["tiny"].overrides | options, "ddpm")
    assert not mistakes
    with pytest.raises(UsageError, match=said):
        DDPM(config, DataInfo("ring", (2,), levels=None, classes=8, task="class"))


def test_the_recipe_limits_guidance_to_the_interval():
    """Catches one end that is not passed on."""
    data = DataInfo("ring", (2,), levels=None, classes=8, task="class")
    given = {"sample.guidance_scale": 2.0, "sample.guidance_low": 0.3}
    config, _ = validate(DDPMConfig, DDPMConfig.PRESETS["tiny"].overrides | given, "ddpm")
    limited = DDPM(config, data).conditioned(Cond(label=torch.tensor([1])))
    assert isinstance(limited, IntervalGuided)
    assert (limited.low, limited.high) == (0.3, math.inf)
