"""A finished run trained further equals a run of that length; weights of a run start another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo_core
from zoo_core.cli import invoke
from zoo_core.errors import MachineError, UsageError
from zoo_core.results import read_result
from zoo_core.results.result import InitialWeights, Provenance
from zoo_core.runs.initial import match
from zoo_core.runs.job import resume, run
from zoo_core.training import checkpoint
from zoo_eval.rescoring import rescore

QUIET = {"eval.protocol": "none", "track.wandb": "off", "track.plots": False, "track.progress": False}
CONSTANT = {"optim.net.schedule": "constant", "optim.net.warmup": 3, "train.ema.decay": 0.9}


def last(folder: str | Path) -> Path:
    return checkpoint.listed(Path(folder) / "checkpoints")[-1]


MODELS = {
    "wgan": {},
    "vae": CONSTANT | {"model.kl_warmup": 0},
    "ddpm": CONSTANT,
    "ncsn": CONSTANT,
}


def _lengths() -> list[Any]:
    packages = {"wgan": "gan", "vae": "vae", "ddpm": "ddpm", "ncsn": "ncsn"}
    short = [(plugin, 10) for plugin in MODELS]
    return short + [
        pytest.param(
            plugin,
            500,
            marks=pytest.mark.slow(
                depends=("zoo_core/training", "zoo_core/runs", "zoo_core/data", f"plugins/zoo_{package}")
            ),
        )
        for plugin, package in packages.items()
    ]


@pytest.mark.parametrize(("plugin", "steps"), _lengths())
def test_two_halves_equal_the_whole_to_the_byte(plugin: str, steps: int, home: Path) -> None:
    given = {"plugin": plugin, "preset": "tiny", "train.batch_size": 8} | MODELS[plugin] | QUIET
    half = run(given, **{"train.steps": steps})
    before = last(half.run_dir).joinpath("manifest.json").read_bytes()
    longer = resume(half.run_dir, steps=2 * steps)
    whole = run(given, **{"train.steps": 2 * steps}, run_dir="whole")
    for name in ("weights.safetensors", "ema.safetensors"):
        assert (last(longer.run_dir) / name).read_bytes() == (last("whole") / name).read_bytes()
    states = [checkpoint.load(last(folder)).state for folder in (longer.run_dir, "whole")]
    for state in states:
        state["counts"].pop("seconds")
        state["end"]["counts"].pop("seconds")
    assert_equal(*states)
    assert longer.config_hash == whole.config_hash
    assert last(half.run_dir).joinpath("manifest.json").read_bytes() == before


def assert_equal(one: object, other: object) -> None:
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor)
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert isinstance(other, dict)
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


def test_an_interrupted_run_is_continued_to_another_length(home: Path) -> None:
    given = {"plugin": "wgan", "preset": "tiny", "train.batch_size": 8, "train.checkpoint_every": 4} | QUIET
    half = run(given, **{"train.steps": 6})
    point = last(half.run_dir)
    for file in point.iterdir():  # as a run that was killed after its checkpoint at step 4
        file.unlink()
    point.rmdir()
    longer = resume(half.run_dir, steps=9)
    whole = run(given, **{"train.steps": 9}, run_dir="whole")
    assert (last(longer.run_dir) / "weights.safetensors").read_bytes() == (
        last(whole.run_dir) / "weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"plugin": "ddpm"}, "optim.net.schedule=cosine is a function of train.steps"),
        ({"plugin": "vae", "model.kl_warmup": 0.5}, "(model.kl_warmup=0.5)"),
        ({"plugin": "vq-vae"}, "share train.steps"),
    ],
)
def test_what_ties_a_run_to_its_length_is_named(options: dict[str, object], reason: str, home: Path) -> None:
    half = run({"preset": "tiny", "train.batch_size": 8, "train.steps": 4} | options | QUIET)
    with pytest.raises(UsageError) as refused:
        resume(half.run_dir, steps=8)
    assert reason in str(refused.value)
    assert "init=" in str(refused.value)


def test_fewer_steps_and_fitted_models_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = run({"plugin": "wgan", "preset": "tiny", "train.batch_size": 8, "train.steps": 4} | QUIET)
    assert invoke(["run", f"resume={half.run_dir}", "train.steps=3"]) == 2
    assert "at least 4" in capsys.readouterr().err
    assert invoke(["run", f"resume={half.run_dir}", "train.steps=many"]) == 2
    assert "expected: a number of steps" in capsys.readouterr().err
    assert invoke(["run", f"resume={half.run_dir}", "optim.net.lr=1"]) == 2
    assert "optim.net.lr" in capsys.readouterr().err
    fitted = run({"plugin": "gaussian"} | QUIET)
    with pytest.raises(UsageError, match="no state of an optimizer"):
        resume(fitted.run_dir, steps=3)


def test_the_command_line_trains_further(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = run({"plugin": "wgan", "preset": "tiny", "train.batch_size": 8, "train.steps": 2} | QUIET)
    assert invoke(["run", f"resume={half.run_dir}", "train.steps=3", "run_dir=longer"]) == 0
    assert zoo_core.load("longer").step == 3
    assert "continuing from step" not in capsys.readouterr().out


def test_layers_are_matched_by_name_then_by_prefix() -> None:
    a, b = torch.zeros(2, 3), torch.zeros(4)
    source = {"net.a.weight": a, "net.a.bias": b, "head.weight": a, "old.x": b, "half": a.half()}
    model = {"body.a.weight": a, "body.a.bias": b, "head.weight": torch.zeros(5, 3), "new.x": b, "half": a}
    found = match(source, model)
    assert found.pairs == {"body.a.weight": "net.a.weight", "body.a.bias": "net.a.bias"}
    assert found.renamed == (("net.", "body."),)
    assert found.other == {
        "head.weight": "(2, 3) there, (5, 3) here",
        "half": "float16 (2, 3) there, (2, 3) here",
    }
    assert found.missing == ("new.x",)
    assert found.unused == ("old.x",)


def test_a_run_starts_from_the_scored_weights_of_another(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"plugin": "ddpm", "preset": "tiny", "train.batch_size": 8, "train.ema.decay": 0.5} | QUIET
    first = run(given, **{"train.steps": 3})
    scored, _ = checkpoint.scored_and_raw(checkpoint.load(last(first.run_dir)))
    tuned = {
        "optim.net.lr": 1e-12,
        "optim.net.schedule": "constant",
        "optim.net.warmup": 0,
        "init": first.run_dir,
    }
    second = run(given, **{"train.steps": 1, "seed": 5} | tuned)
    moved, _ = checkpoint.scored_and_raw(checkpoint.load(last(second.run_dir)))
    for name, tensor in scored.items():
        assert torch.allclose(moved[name], tensor, atol=1e-9), name
    assert second.config_hash != run(given, **{"train.steps": 1, "seed": 5}).config_hash
    told = capsys.readouterr().err
    assert f"{len(scored)} of {len(scored)} weights are loaded" in told.replace(" constant", "")
    recorded = zoo_core.load(second.run_dir)
    assert recorded.step == 1


def images(folder: Path, seed: int) -> str:
    """Write 300 images of 8x8 random gray levels."""
    folder.mkdir()
    for k, x in enumerate(np.random.default_rng(seed).integers(0, 256, (300, 8, 8), dtype=np.uint8)):
        Image.fromarray(x).save(folder / f"{k}.png")
    return str(folder)


def test_the_data_of_the_initial_weights_are_recorded_beside_a_runs_own(home: Path, tmp_path: Path) -> None:
    """Catches weights pretrained on unnamed data, which may hold the test images of the run's own."""
    given = {"plugin": "vae", "preset": "tiny", "train.batch_size": 8, "data": "folder", "data.channels": 1}
    given |= {"data.size": 8, "train.steps": 1} | QUIET
    theirs, own = (images(tmp_path / name, seed) for seed, name in enumerate(("theirs", "own")))
    first = run(given, **{"data.path": theirs})
    scored = {"eval.protocol": "quick", "eval.extractor": "raw", "eval.metrics": ["frechet"]}
    scored |= {"eval.baselines": False, "data.path": own}
    second = run(given | scored, init=first.run_dir)
    hashes = [zoo_core.load(made.run_dir).data.sha256 for made in (first, second)]
    assert len(set(hashes)) == 2
    provenance = json.loads((Path(second.run_dir) / "provenance.json").read_text())
    assert provenance["data"] == {"name": "folder", "sha256": hashes[1]}
    assert provenance["init"]["data"] == {"name": "folder", "sha256": hashes[0]}
    weights = checkpoint.verify(last(first.run_dir))[checkpoint.WEIGHTS]
    kept = InitialWeights(plugin="vae", step=1, weights_sha256=weights, data="folder", data_sha256=hashes[0])
    path = Path(second.run_dir) / "result.json"
    assert read_result(path).provenance.init == kept
    assert str(tmp_path) not in json.dumps(read_result(path).provenance.model_dump(exclude={"command"}))
    path.unlink()
    assert rescore(Path(second.run_dir), {}, say=lambda line: None).provenance.init == kept
    assert "init" not in Provenance().model_dump()
    for damaged in ([1], {"plugin": 1}, {**provenance["init"], "data": {"sha256": "x"}}):
        (Path(second.run_dir) / "provenance.json").write_text(json.dumps({**provenance, "init": damaged}))
        with pytest.raises(MachineError, match=r"provenance\.json is damaged"):
            zoo_core.load(second.run_dir)


def test_another_number_of_classes_is_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"plugin": "ddpm", "preset": "tiny", "train.batch_size": 8, "train.steps": 1} | QUIET
    first = run(given)
    capsys.readouterr()
    run(given, **{"data.task": "class", "init": first.run_dir})
    told = capsys.readouterr().err
    assert "newly initialized, not in the source: net." in told
    words = ["run", "plugin=wgan", "preset=tiny", "train.steps=1", "eval.protocol=none", "track.wandb=off"]
    assert invoke([*words, f"init={first.run_dir}"]) == 2
    told = capsys.readouterr().err
    assert "no weight of the ddpm there fits the wgan here" in told
    assert invoke([*words, "init=nowhere"]) == 2
    assert "no run in 'nowhere'" in capsys.readouterr().err
