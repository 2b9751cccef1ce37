"""The verbs on a real run of a baseline, through the public door."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

import zoo_core
from zoo_core.errors import UsageError
from zoo_eval import zoo_commands
from zoo_eval.cli import evaluate, fetch, leaderboard
from zoo_eval.rescoring import rescore

QUIET = {"track.wandb": "off", "track.plots": False, "track.progress": False}


@pytest.fixture
def run(home):
    return zoo_core.run({"plugin": "histogram", "eval.baselines": False, **QUIET})


def imported(statement, heavy):
    code = f"import sys; {statement}; print([m for m in {heavy} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_costs_what_it_must():
    # catches a listing that imports torch, and torchmetrics or timm imported where nothing is scored
    heavy = ["torchmetrics", "torchvision", "timm", "sklearn", "scipy", "matplotlib", "PIL", "torch_fidelity"]
    assert imported("import zoo_eval", ["torch", *heavy]).strip() == "[]"
    modules = ("pipeline", "context", "metrics.kernel", "extractors.inception", "extractors.timm_models")
    modules += ("cli", "rescoring", "samples")
    every = ", ".join(f"zoo_eval.{module}" for module in modules)
    assert imported(f"import {every}", heavy).strip() == "[]"


def test_a_run_is_scored_ranked_and_scored_again(run, home):
    # catches a result that the leaderboard does not read, and a second score that replaces the first
    folder = run.run_dir
    assert "FD[digits]" in run.metrics
    again = CliRunner().invoke(evaluate, [folder, "eval.extractor=raw"], catch_exceptions=False)
    assert "FD[raw]" in again.stdout
    same = rescore(home / folder, {}, say=lambda line: None)
    assert same.protocol.hash == run.scored.protocol.hash
    assert same.samples_sha256 == run.scored.samples_sha256
    assert same.metrics == run.metrics
    assert same.weights_sha256 == run.scored.weights_sha256
    assert len(list((home / folder).glob("result-*.json"))) == 1
    board = json.loads(CliRunner().invoke(leaderboard, ["--json", folder]).stdout)
    assert sorted(table["metric"] for table in board["tables"]) == ["FD[digits]", "FD[raw]"]
    assert board["bad"] == []
    assert {row["plugin"] for table in board["tables"] for row in table["rows"]} == {"histogram"}


def test_scoring_again_may_not_change_the_samples(run, home):
    # catches another sampler's figures recorded under this run's config
    with pytest.raises(UsageError, match=r"sample\.steps.*changes the run") as error:
        rescore(home / run.run_dir, {"sample.steps": "3"})
    assert "zoo run config=" in str(error.value)
    with pytest.raises(UsageError, match=r"eval\.protocol=none"):
        rescore(home / run.run_dir, {"eval.protocol": "none"})


def test_fetch_knows_what_there_is():
    # catches a traceback on a misspelled name
    found = CliRunner().invoke(fetch, ["dinov2"])
    assert isinstance(found.exception, UsageError)
    assert "timm:NAME" in str(found.exception)


def test_every_verb_has_its_command():
    # catches a verb whose code is not there
    from zoo_core.registry.spec import load_target

    for spec in zoo_commands():
        assert load_target(spec.target).callback is not None
