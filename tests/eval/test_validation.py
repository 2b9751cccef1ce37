"""Scores during training: on the validation part, equal to those of the same checkpoints afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo_core
from zoo_core.cli import invoke
from zoo_core.config.additions import before_later
from zoo_core.errors import MachineError, UsageError
from zoo_core.events.trackers import read_metrics
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import deciding, plain, resolve
from zoo_core.results import read_result
from zoo_core.runs import build, load_data, restore, saved_config
from zoo_core.runs.best import best_selection
from zoo_core.runs.exchange import push
from zoo_core.training import checkpoint
from zoo_eval.rescoring import rescore
from zoo_eval.submission import verify
from zoo_eval.validation import validate, validation_source

WORDS = [
    "run",
    "plugin=wgan",
    "preset=tiny",
    "train.steps=24",
    "train.checkpoint_every=8",
    "train.keep=9",
    "train.ema.decay=0.9",
    "data.validation=0.2",
    "eval.protocol=none",
    "track.wandb=off",
    "track.progress=false",
]


def curve(folder: str) -> dict[int, float]:
    records = read_metrics(Path(folder) / "metrics.jsonl")
    return {r["step"]: r["validation/FD[digits]"] for r in records if "validation/FD[digits]" in r}


def best_record(folder: str) -> tuple[dict[str, Any], dict[int, float]]:
    """Return what best.json says of the best checkpoint, and every score in it."""
    record = json.loads((Path(folder) / "best.json").read_text())
    return record, {one["step"]: one["value"] for one in record.pop("scores")}


def last(folder: str) -> bytes:
    return (checkpoint.listed(Path(folder) / "checkpoints")[-1] / checkpoint.EMA).read_bytes()


@pytest.mark.slow(depends=("zoo_core", "evaluation/zoo_eval", "plugins/zoo_gan"))
def test_the_curve_is_that_of_the_same_checkpoints_afterwards(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the best is the least of it, the weights are those without scores, a resume repeats the curve."""
    assert invoke([*WORDS, "eval.every=8", "run_dir=scored"]) == 0
    found = curve("scored")
    assert list(found) == [8, 16, 24]
    config = saved_config(Path("scored"))
    for path in checkpoint.listed(Path("scored/checkpoints")):
        data = load_data(config)
        made = build(config, data, Path("scored"), manager(), say=lambda line: None, warn=lambda line: None)
        restore(made, path, checkpoint.load(path))
        assert validate(made) == {"FD[digits]": found[made.step]}
        source = validation_source(made)
        assert data.validation is not None
        rows = torch.arange(9)
        assert torch.equal(source.data.test.examples(rows), data.validation.examples(rows))
        own, scored = next(source.draw(8, 0, None)).rows, next(made.draw(8)).rows
        assert not torch.equal(own, scored)  # seeds of its own
    best = min(found, key=lambda step: found[step])
    record, scores = best_record("scored")
    assert record == {"step": best, "column": "FD[digits]", "value": found[best], "split": "validation"}
    assert scores == found
    assert [path.name for path in checkpoint.listed(Path("scored/best"))] == [f"step-{best:08d}"]
    assert list(Path("scored/plots").glob("curves.*"))
    assert invoke([*WORDS, "run_dir=plain"]) == 0
    assert last("plain") == last("scored")
    # As if stopped after the first checkpoint, with what was written past it still there.
    for path in checkpoint.listed(Path("scored/checkpoints"))[1:]:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    Path("scored/run.json").unlink()
    assert invoke(["run", "resume=scored"]) == 0
    assert len(checkpoint.listed(Path("scored/checkpoints"))) == 3
    assert curve("scored") == found
    assert best_record("scored") == (record, scores)
    assert last("plain") == last("scored")
    capsys.readouterr()
    without = [word for word in WORDS if "validation" not in word]
    assert invoke([*without, "eval.every=8", "run_dir=none"]) == 2
    assert "expected: data.validation=0.1" in capsys.readouterr().err


@pytest.mark.slow(depends=("zoo_core", "evaluation/zoo_eval", "plugins/zoo_gan"))
def test_the_best_checkpoint_is_sampled_and_scored_where_it_is_asked_for(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the last one by default; the record says of how many it is the best, and can be repeated."""
    words = [word for word in WORDS if "protocol" not in word]
    few = ["eval.metrics=[frechet]", "eval.every=8", "eval.baselines=false", "track.plots=false"]
    assert invoke([*words, *few, "run_dir=run"]) == 0
    folder = Path("run")
    record, found = best_record("run")
    # As if the first score had been the best, which it need not be in so few steps.
    first = min(found)
    shutil.rmtree(folder / "best")
    shutil.copytree(folder / f"checkpoints/step-{first:08d}", folder / f"best/step-{first:08d}")
    scores = [{"step": step, "value": value, "seconds": 0.5} for step, value in found.items()]
    record |= {"step": first, "value": found[first], "scores": scores}
    (folder / "best.json").write_text(json.dumps(record))
    own = read_result(folder / "result.json")
    assert own.selection is None
    quiet: Any = {"say": lambda line: None}
    last, best = zoo_core.load("run", **quiet), zoo_core.load("run", **quiet, **{"sample.checkpoint": "best"})
    data = load_data(last.config)
    made = build(last.config, data, folder, manager(), say=quiet["say"], warn=quiet["say"])
    path = folder / f"checkpoints/step-{first:08d}"
    restore(made, path, checkpoint.load(path))
    assert torch.equal(best.sample(8), made.sample(8))
    assert not torch.equal(best.sample(8), last.sample(8))
    assert best.cost == last.cost  # all steps were trained to choose among them
    assert best.step == 24
    assert invoke(["sample", "run", "-n", "2", "sample.checkpoint=best", "--out", "a.npz"]) == 0
    assert "step-00000008: best of 3 by FD[digits] on validation" in capsys.readouterr().err
    chosen = rescore("run", {"sample.checkpoint": "best"}, **quiet)
    assert chosen.selection is not None
    assert chosen.selection.line == "best of 3 by FD[digits] on validation"
    assert (chosen.selection.value, chosen.cost.search_seconds) == (found[first], 1.5)
    assert chosen.weights_sha256 == checkpoint.verify(path)[checkpoint.WEIGHTS] != own.weights_sha256
    assert read_result(folder / "result.json") == own
    (file,) = folder.glob("result-*.json")
    assert read_result(file).samples_sha256 == chosen.samples_sha256 != own.samples_sha256
    for recorded in (file, folder / "result.json"):
        verdict = verify(recorded, folder, **quiet)
        assert (verdict.state, verdict.refuted) == ("reproduced", False), verdict.findings


@pytest.mark.slow(depends=("zoo_core", "evaluation/zoo_eval", "plugins/zoo_gan", "plugins/zoo_runs"))
def test_a_run_that_asks_for_its_best_checkpoint_ends_with_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in WORDS if "protocol" not in word]
    few = ["eval.metrics=[frechet]", "eval.every=8", "eval.baselines=false", "track.plots=false"]
    assert invoke([*words, *few, "sample.checkpoint=best", "run_dir=run"]) == 0
    assert "selected    best of 3 by FD[digits] on validation; search " in capsys.readouterr().out
    result = read_result(Path("run/result.json"))
    (best,) = checkpoint.listed(Path("run/best"))
    assert result.weights_sha256 == checkpoint.verify(best)[checkpoint.WEIGHTS]
    assert result.selection is not None
    assert result.selection.value == min(curve("run").values())
    assert result.cost.steps == 24
    with pytest.raises(UsageError, match="holds the weights of the last checkpoint alone"):
        push("run", "bundle", say=lambda line: None)
    assert invoke(["rm", "run", "--yes"]) == 0


def test_a_best_checkpoint_that_is_not_kept_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "plugin=wgan", "preset=tiny", "train.steps=8", "sample.checkpoint=best"]
    for more in ([], ["eval.every=9", "data.validation=0.1"]):
        assert invoke([*words, *more]) == 2
        assert "expected: eval.every=N, at most train.steps, and data.validation=0.1" in (
            capsys.readouterr().err
        )
    both = ["eval.every=4", "data.validation=0.1", "train.ema.kind=power", "sample.ema_length=0.1"]
    assert invoke([*words, *both]) == 2
    assert "each is selected by itself" in capsys.readouterr().err
    with pytest.raises(MachineError, match=r"no best checkpoint.*best\.json"):
        best_selection(home)


def test_the_choice_of_a_checkpoint_moves_no_hash_of_a_run_before_it() -> None:
    decides = [
        deciding(plain(config), before_later(type(config)))
        for more in ({}, {"sample.checkpoint": "best"})
        for config in [resolve({"plugin": "wgan", **more})]
    ]
    assert ["sample.checkpoint" in its for its in decides] == [False, True]
