"""Every registered model is tested because it is registered: on pictures and on points, at preset `tiny`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo_core
from zoo_core.interfaces import HasDenoiser, HasLikelihood
from zoo_core.registry.manager import load_entry, manager
from zoo_core.resolve import resolve
from zoo_core.runs import build, load_data
from zoo_core.seeds import Seeds
from zoo_core.types import SampleRequest

MODELS = [entry.spec.name for entry in manager().entries("plugin")]
SAMPLERS = [entry.spec.name for entry in manager().entries("sampler")]
CASES = [(name, data) for name in MODELS for data in ("digits", "ring")]


def able(capability: str) -> list[tuple[str, str]]:
    """Return the cases whose recipe has a method."""
    has = {n for n in MODELS if hasattr(load_entry("plugin", manager().find("plugin", n)), capability)}
    return [case for case in CASES if case[0] in has]


def config(name: str, data: str, *more: str) -> Any:
    made = load_entry("plugin", manager().find("plugin", name), "config")
    tiny = ["preset=tiny"] if "tiny" in made.PRESETS else []
    return resolve([f"plugin={name}", f"data={data}", "device=cpu", "track.wandb=off", *tiny, *more])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that trains a model once a session, unscored, and loads it."""
    folder, runs = tmp_path_factory.mktemp("registered"), {}

    def get(name: str, data: str) -> Any:
        if (name, data) not in runs:
            words = ["eval.protocol=none", "track.pictures=false", "track.progress=false"]
            result = zoo_core.run(config(name, data, *words, f"run_dir={folder / name / data}"))
            runs[name, data] = zoo_core.load(result["run_dir"])
        return runs[name, data]

    return get


@pytest.mark.parametrize(("name", "data"), CASES)
def test_samples_depend_on_seed_and_index_alone(name: str, data: str, trained: Any) -> None:
    """Catches a batch norm in train mode, noise drawn for the batch, and a seed that is not used."""
    run = trained(name, data)
    info = run.data.info

    def draw(indices: range, seed: int = 0) -> torch.Tensor:
        drawn: torch.Tensor = run.samples(run.request(indices, seed)).x
        return drawn

    whole = draw(range(12))
    assert tuple(whole.shape) == (12, *info.shape)
    assert bool(torch.isfinite(whole).all())
    assert torch.equal(whole, draw(range(12)))
    split = torch.cat([draw(range(5)), draw(range(5, 6)), draw(range(6, 12))])
    torch.testing.assert_close(whole, split, rtol=1e-4, atol=1e-5)
    assert not torch.equal(whole, draw(range(12), seed=1))


@pytest.mark.parametrize(("name", "data"), CASES)
def test_gradients_reach_all_that_a_phase_updates(name: str, data: str) -> None:
    """Catches a layer that is built and never used, and one that a phase forgets to name."""
    settings = config(name, data)
    dataset = load_data(settings)
    run = build(settings, dataset, Path(), manager(), say=print, warn=print)
    updated: set[int] = set()
    for stage in run.harness.stages:
        run.harness._begin(stage, fresh=False)
        for optimizer in run.harness.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = 1e-3  # whatever a warm-up says of the first steps
        for phase in stage.phases:
            seen: set[int] = set()
            for _ in range(8):  # a layer that starts at zero passes no gradient on until it has moved
                run.harness._phase(stage, phase, 10)
                moved = run.harness._parameters(phase)
                assert all(p.grad is not None for p in moved)
                seen |= {id(p) for p in moved if p.grad is not None and bool(p.grad.abs().sum() > 0)}
            names = {id(p): n for n, p in run.recipe.named_parameters()}
            # A bias may have none by right: a Wasserstein critic's last one cancels out of its loss.
            weights = [p for p in run.harness._parameters(phase) if p.ndim > 1]
            assert [names[id(p)] for p in weights if id(p) not in seen] == []
            updated |= {id(p) for p in moved}
    untouched = [n for n, p in run.recipe.named_parameters() if p.requires_grad and id(p) not in updated]
    assert run.config.train.steps == 0 or not untouched


@pytest.mark.parametrize(("name", "data"), able("likelihoods"))
def test_a_likelihood_is_finite_of_one_value_an_example_and_sound(name: str, data: str, trained: Any) -> None:
    run = trained(name, data)
    assert isinstance(run.recipe, HasLikelihood)
    rows = run.data.test.rows(torch.arange(6))
    x = run.harness.data.to_model(rows)
    with run.harness.quiet():
        found = run.recipe.likelihoods(x, noise=Seeds(0, range(6)), k=4)
    assert found
    for likelihood in found:
        assert likelihood.log_prob.shape == (6,)
        assert likelihood.log_prob.dtype == torch.float64
        assert bool(torch.isfinite(likelihood.log_prob).all())
        if likelihood.dequantisation == "none" and run.data.info.levels is not None:
            assert bool((likelihood.log_prob <= 0).all())  # the logarithm of a probability


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("name", "data"), able("denoiser"))
def test_every_sampler_drives_every_denoiser(name: str, data: str, sampler: str, trained: Any) -> None:
    run = trained(name, data)
    assert isinstance(run.recipe, HasDenoiser)
    from zoo_core.diffusion.sampling import bind

    bound = bind(manager().find("sampler", sampler).spec)
    request = SampleRequest(Seeds(0, range(3)), None, bound, 5)
    drawn = run.samples(request)
    assert tuple(drawn.x.shape) == (3, *run.data.info.shape)
    assert bool(torch.isfinite(drawn.x).all())
    assert drawn.calls == (9 if sampler == "heun" else 5)


@pytest.mark.parametrize("name", MODELS)
def test_a_run_is_scored_drawn_and_recorded(name: str, home: Path) -> None:
    """The whole job on real digits: finite figures, pictures that are there, a record in strict JSON."""
    result = zoo_core.run(config(name, "digits", "eval.baselines=false", "track.progress=false"))
    folder = Path(result["run_dir"])
    recorded = json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)
    assert recorded == {key: value for key, value in result.items() if key != "run_dir"}
    assert "FD[digits]" in recorded["metrics"]
    assert recorded["cost"]["nfe"] >= 1
    for path in recorded["pictures"].values():
        assert (folder / path).read_bytes().startswith(b"\x89PNG")
    for name in ("config.yaml", "provenance.json", "run.json"):
        assert (folder / name).exists()
