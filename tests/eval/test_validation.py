"""Scores during training: on the validation part, equal to those of the same checkpoints afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from zoo_core.cli import invoke
from zoo_core.events.trackers import read_metrics
from zoo_core.registry.manager import manager
from zoo_core.runs import build, load_data, restore, saved_config
from zoo_core.training import checkpoint
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
    record = json.loads(Path("scored/best.json").read_text())
    assert record == {"step": best, "column": "FD[digits]", "value": found[best], "split": "validation"}
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
    assert json.loads(Path("scored/best.json").read_text()) == record
    assert last("plain") == last("scored")
    capsys.readouterr()
    without = [word for word in WORDS if "validation" not in word]
    assert invoke([*without, "eval.every=8", "run_dir=none"]) == 2
    assert "expected: data.validation=0.1" in capsys.readouterr().err
