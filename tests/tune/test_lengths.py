"""`zoo lengths`: EMA weights of several lengths, scored on the validation part, and what results say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo_core
from zoo_core.cli import invoke
from zoo_core.errors import UsageError
from zoo_core.results import Selection, read_result, write_record
from zoo_core.runs.lengths import length_selection, write_length
from zoo_core.training import checkpoint
from zoo_eval.rescoring import rescore
from zoo_eval.submission import verify
from zoo_eval.validation import validate
from zoo_tune.lengths import AMONG, Chosen, Scored, choose, lengths_of
from zoo_tune.metrics import metric_of
from zoo_tune.search import Limits
from zoo_tune.tuning import tuning

HOW = Selection(trials=3, metric="FD[raw]", value=0.1, space_sha256="0" * 64, seconds=12.5)
WORDS = [
    *("run", "plugin=edm", "data=ring", "preset=tiny", "train.steps=64", "sampler=heun", "sample.steps=3"),
    *("train.ema.kind=power", "train.ema.sigma_rel=0.2", "eval.metrics=[frechet]", "eval.baselines=false"),
    *("track.wandb=off", "track.progress=false", "track.plots=false", "plots.worst=0"),
]


def test_lengths_are_those_that_ema_weights_may_have() -> None:
    assert lengths_of("0.03, 0.1") == [0.03, 0.1]
    for text in ("0.03,", "0.5", "none", "a"):
        with pytest.raises(UsageError, match=r"not a length.*\n.*0.03 to 0.20"):
            lengths_of(text)


def test_the_table_marks_the_selected_length_and_that_of_training() -> None:
    scores = [Scored(0.05, 0.012, 0.3), Scored(0.1, 0.0, 0.4), Scored(0.2, 0.0, 0.5)]
    chosen = Chosen("FD[raw]", 0.1, scores, scores[0], HOW, Path("here"))
    assert chosen.rows() == [
        ["0.05 *", "1.20%", "0.3"],
        ["0.1 (training)", "0.00%", "0.4"],
        ["0.2", "0.00%", "0.5"],
    ]
    assert chosen.lines() == [
        "selected: 0.05, best of 3 by FD[raw] on validation: 0.3",
        "next: zoo eval here sample.ema_length=0.05",
    ]
    same = Chosen("FD[raw]", 0.1, scores, scores[1], HOW, Path("here"))
    assert same.lines()[1:] == ["this is the length of training: the result of the run has it"]


def test_a_selection_is_of_one_length_of_one_checkpoint(tmp_path: Path) -> None:
    def trained(step: int) -> None:
        kept = checkpoint.Checkpoint({"w": torch.full((2,), float(step))}, {}, {})
        checkpoint.save(tmp_path / "checkpoints", step, kept, {})

    trained(1)
    assert length_selection(tmp_path, 0.05) is None
    write_length(tmp_path, 0.05, {0.05: 0.1, 0.1: 0.2}, HOW)
    assert length_selection(tmp_path, 0.05) == HOW
    assert length_selection(tmp_path, 0.1) is None
    trained(2)
    assert length_selection(tmp_path, 0.05) is None
    write_length(tmp_path, 0.05, {0.05: 0.1}, HOW)
    path = tmp_path / "lengths.json"
    path.write_text(path.read_text().replace('"metric"', '"other"'))
    with pytest.raises(UsageError, match="not the record of a selection"):
        length_selection(tmp_path, 0.05)


def test_a_search_does_not_choose_among_the_weights_of_a_run() -> None:
    for key, value in (("sample.checkpoint", "best"), ("sample.ema_length", "0.1")):
        with pytest.raises(UsageError, match=f"{key}= chooses among the weights of one run"):
            tuning({"plugin": "vae", key: value}, lambda config: {}, metric_of("FD"), Limits(2))


@pytest.mark.slow(depends=("zoo_core", "evaluation/zoo_eval", "plugins/zoo_sde", "plugins/zoo_tune"))
def test_the_length_with_the_best_score_is_selected_and_its_result_says_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet: Any = {"say": lambda line: None}
    assert invoke([*WORDS, "data.validation=0.2", "run_dir=run"]) == 0
    capsys.readouterr()
    assert invoke(["lengths", "run", "--among", "0.04,0.1"]) == 0
    told = capsys.readouterr().out
    record = json.loads(Path("run/lengths.json").read_text())
    scores = {one["length"]: one["value"] for one in record["scores"]}
    assert list(scores) == [0.04, 0.1, 0.2]
    alone = {
        length: validate(zoo_core.load("run", **quiet, **{"sample.ema_length": length}))["FD[raw]"]
        for length in (0.04, 0.1)
    }
    alone[0.2] = validate(zoo_core.load("run", **quiet))["FD[raw]"]
    assert scores == alone
    best = min(alone, key=lambda length: alone[length])
    assert record["length"] == best
    assert f"selected: {best:g}, best of 3 by FD[raw] on validation: {alone[best]:.4g}" in told
    assert "0.2 (training)" in told
    own = read_result(Path("run/result.json"))
    other = next(length for length in alone if length not in (best, 0.2))
    found = {x: rescore("run", {"sample.ema_length": f"{x}"}, **quiet) for x in (best, other)}
    assert found[other].selection is None
    selection = found[best].selection
    assert selection is not None
    assert (selection.trials, selection.metric, selection.value) == (3, "FD[raw]", alone[best])
    assert found[best].cost.search_seconds == selection.seconds > 0
    assert found[best].metrics["FD[raw]"].value != alone[best]  # other examples, other noise
    assert read_result(Path("run/result.json")) == own
    assert own.selection is None
    files = sorted(Path("run").glob("result-*.json"))
    assert {read_result(file).config_hash for file in files} == {one.config_hash for one in found.values()}
    for file in files:
        assert verify(file, Path("run"), **quiet).state == "reproduced"
    assert invoke(["lengths", "run", "--among", "0.011"]) == 2
    assert "do not span" in capsys.readouterr().err
    write_record(HOW, Path("run"))
    with pytest.raises(UsageError, match="selected on the validation part before"):
        choose("run", AMONG)
    assert invoke([*WORDS, "run_dir=without"]) == 0
    assert invoke(["lengths", "without"]) == 2
    assert "expected: data.validation=0.1" in capsys.readouterr().err
