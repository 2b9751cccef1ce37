"""The verbs on a real run of a baseline, through the public door."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

import zoo_core
from tests.eval.made_results import result as made_result
from zoo_core.errors import Mistakes, NotFoundError, UsageError
from zoo_core.results import Result, merged, read_result, write_result
from zoo_core.runs import opening
from zoo_core.runs.exchange import push
from zoo_core.training import checkpoint
from zoo_eval import zoo_commands
from zoo_eval.cli import evaluate, fetch, leaderboard
from zoo_eval.rescoring import rescore
from zoo_eval.submission import submission, verify, write_submission

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


def quiet(line):
    pass


def test_a_run_without_a_result_gets_one_that_is_handed_in_and_verified(home):
    # catches weights_sha256=None, and a result that zoo submit does not find
    made = zoo_core.run({"plugin": "histogram", "eval.protocol": "none", **QUIET})
    folder = home / made.run_dir
    assert not (folder / "result.json").exists()
    with pytest.raises(UsageError, match=r"next: zoo eval .* protocol=quick"):
        rescore(folder, {}, say=quiet)
    scored = rescore(folder, {"protocol": "quick"}, say=quiet)
    assert scored.weights_sha256 == made.weights_sha256 is not None
    assert read_result(folder / "result.json").metrics == scored.metrics
    assert not list(folder.glob("result-*.json"))
    file = write_submission(submission(folder, quiet), home / "handed-in")
    verdict = verify(file, folder, say=quiet)
    assert (verdict.state, verdict.refuted) == ("reproduced", False), verdict.findings


def test_the_weights_that_were_scored_are_recorded(run, home):
    # catches the hash of the run's first result copied to a score of an earlier checkpoint
    folder = home / run.run_dir
    (last,) = checkpoint.listed(folder / "checkpoints")
    newer = last.with_name("step-99999999")
    shutil.copytree(last, newer)
    (newer / checkpoint.WEIGHTS).write_bytes(b"corrupt")
    write_result(run.scored.model_copy(update={"weights_sha256": "0" * 64}), folder / "result.json")
    found = rescore(folder, {"eval.extractor": "raw", "eval.metrics": "[prdc]"}, say=quiet)
    assert found.weights_sha256 == checkpoint.verify(last)[checkpoint.WEIGHTS]


def test_a_pulled_bundle_is_scored_where_it_was_pulled_to(run, home):
    # catches a result written into the bundle, without the hash of its weights
    bundle = home / "bundle"
    push(home / run.run_dir, str(bundle), say=quiet)
    before = sorted(path.name for path in bundle.iterdir())
    found = rescore(bundle, {"eval.metrics": "[prdc]"}, say=quiet)
    assert sorted(path.name for path in bundle.iterdir()) == before
    (file,) = home.rglob("*-pulled-*/result.json")
    weights = checkpoint.verify(checkpoint.listed(file.parent / "checkpoints")[-1])[checkpoint.WEIGHTS]
    assert read_result(file).weights_sha256 == found.weights_sha256 == weights


def test_other_metrics_of_the_same_samples_are_added(run, home):
    # catches a complete result replaced by one of a single metric, in each of the places that write one
    folder = home / run.run_dir
    whole = read_result(folder / "result.json")
    rescore(folder, {"eval.metrics": "[prdc]"}, say=quiet)
    assert read_result(folder / "result.json") == whole  # nothing new: the same bytes
    some = {"eval.extractor": "raw", "eval.metrics": "[prdc]"}
    first = rescore(folder, some, say=quiet)
    both = rescore(folder, some | {"eval.metrics": "[frechet]"}, say=quiet)
    assert {"recall[raw]", "FD[raw]"} <= set(both.metrics)
    assert both.metrics["recall[raw]"] == first.metrics["recall[raw]"]
    assert set(both.cost.metric_seconds) == {"prdc", "frechet"}
    assert both.config["eval.metrics"] == ["prdc", "frechet"]
    (file,) = folder.glob("result-*.json")
    assert read_result(file).metrics == both.metrics
    again = zoo_core.run({"plugin": "histogram", "eval.baselines": False, "eval.metrics": ["prdc"], **QUIET})
    assert again.run_dir == run.run_dir
    recorded = read_result(folder / "result.json")
    assert set(recorded.metrics) == set(whole.metrics)
    assert recorded.config["eval.metrics"] is None
    assert verify(folder / "result.json", folder, say=quiet).state == "reproduced"


def test_merging_needs_the_same_samples_and_protocol():
    # catches columns of other samples in one result, an old value kept, and a reason kept beside a value
    def of(fd, names, **changes):
        none = dict.fromkeys(("FD[digits]", "IS[digits]", "recall[digits]", "noise floor[FD[digits]]"))
        none["memorization[pixels]"] = None
        metrics = none | {name: {"value": fd} for name in names}
        plain = made_result("wgan", 1.0, metrics=metrics, config={"eval.ode": "never"}, **changes)
        return Result.model_validate(plain)

    absent = {"not_applicable": {"sFD[digits]": {"reason": "x"}, "IS[digits]": {"reason": "y"}}}
    kept, new = of(1.0, ["FD[digits]", "sFD[digits]"]), of(2.0, ["FD[digits]"], **absent)
    one = merged(kept, new)
    assert {name: cell.value for name, cell in one.metrics.items()} == {"FD[digits]": 2.0, "sFD[digits]": 1.0}
    assert set(one.not_applicable) == {"IS[digits]"}
    other = new.model_copy(update={"samples_sha256": "0" * 64})
    assert merged(kept, other) is other
    always = new.model_copy(update={"config": {"eval.ode": "auto"}})
    assert merged(kept, always).config["eval.ode"] == merged(always, kept).config["eval.ode"] == "auto"


def test_samples_that_came_out_otherwise_do_not_replace_a_result(run, home):
    # catches a result of other bits, of the same weights, overwritten without a word
    folder, said = home / run.run_dir, []
    write_result(run.scored.model_copy(update={"samples_sha256": "0" * 64}), folder / "result.json")
    before = (folder / "result.json").read_bytes()
    rescore(folder, {"eval.metrics": "[prdc]"}, say=said.append)
    assert (folder / "result.json").read_bytes() == before
    assert any("not recorded: the samples differ" in line for line in said)


def test_options_of_a_score(run, home, monkeypatch):
    # catches protocol= taken for an option of the run, advice that fails, and a data.root without effect
    folder = home / run.run_dir
    for words in ({"protocol": "quik"}, {"eval.protocol": "quik"}):
        with pytest.raises(UsageError, match="no protocol 'quik'"):
            rescore(folder, words, say=quiet)
    with pytest.raises(UsageError, match="were both given"):
        rescore(folder, {"protocol": "quick", "eval.protocol": "quick"}, say=quiet)
    with pytest.raises(Mistakes, match=r"unknown option 'eval\.metric'"):
        rescore(folder, {"eval.metric": "prdc"}, say=quiet)
    with pytest.raises(Mistakes, match=r"unknown option 'sample\.stepz'"):
        rescore(folder, {"sample.stepz": "3"}, say=quiet)
    with pytest.raises(UsageError, match=r"expected: eval\.KEY, sample\.batch_size, data\.root"):
        rescore(folder, {"seed": "3"}, say=quiet)
    with pytest.raises(NotFoundError, match="no run in"):
        rescore(home / "nowhere", {"protocol": "quick"}, say=quiet)
    roots = []

    def load_data(config):
        roots.append(config.data.root)
        return real(config)

    real = opening.load_data
    monkeypatch.setattr(opening, "load_data", load_data)
    found = rescore(folder, {"data.root": "elsewhere", "eval.metrics": "[prdc]"}, say=quiet)
    assert roots == ["elsewhere"]
    assert found.samples_sha256 == run.scored.samples_sha256


def test_fetch_knows_what_there_is():
    # catches a traceback on a misspelled name
    found = CliRunner().invoke(fetch, ["dinov3"])
    assert isinstance(found.exception, UsageError)
    assert "timm:NAME" in str(found.exception)


def test_every_verb_has_its_command():
    # catches a verb whose code is not there
    from zoo_core.registry.spec import load_target

    for spec in zoo_commands():
        assert load_target(spec.target).callback is not None
