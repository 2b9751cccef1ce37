"""A run's result handed in, verified by who has its checkpoint, and refuted where it reports wrong values."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import zoo_core
from tests.eval.made_results import result
from zoo_core.data import cache
from zoo_core.errors import MachineError, UsageError
from zoo_core.results import Result, read_result, write_result
from zoo_core.results.attachments import read_attachment
from zoo_core.results.files import LARGEST_FILE
from zoo_core.results.result import fields_hash
from zoo_eval.cli import leaderboard, submit
from zoo_eval.cli import verify as verify_command
from zoo_eval.store import Reader
from zoo_eval.store.states import recorded_states, verdicts_folder
from zoo_eval.submission import submission, verify, write_submission
from zoo_eval.submission.comparison import compare, disagreements, misstatements
from zoo_eval.submission.submit import without_private_texts

QUIET = {"track.wandb": "off", "track.progress": False, "eval.baselines": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run of a model that trains, with its attachments and its checkpoint."""
    root = tmp_path_factory.mktemp("submitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(root / "home"))
        patch.chdir(root)
        zoo_core.run({"plugin": "wgan", "preset": "tiny", "run_dir": str(root / "run"), **QUIET})
    return root / "run"


@pytest.fixture
def run(made, tmp_path):
    """A copy of it that a test may change."""
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def file(run, tmp_path):
    return write_submission(submission(run, silent), tmp_path / "handed-in" / "result-submitted.json")


def silent(line):
    pass


def state_of(path):
    return Reader(recorded_states()).read(path).state


# -- handing in


def test_a_submission_holds_all_of_the_result(run, file):
    # catches curves, config or a sample grid that stay behind
    handed_in, own = read_result(file), read_result(run / "result.json")
    for name in ("metrics", "protocol", "samples_sha256", "weights_sha256", "cost", "attachments"):
        assert getattr(handed_in, name) == getattr(own, name)
    assert handed_in.config["plugin"] == "wgan"
    code = json.loads((run / "provenance.json").read_text())["plugin_code"]
    assert handed_in.provenance.source_sha256 == code["sha256"]
    assert "run_dir" not in handed_in.config
    assert {"samples", "curves"} <= set(handed_in.attachments)
    for attachment in handed_in.attachments.values():
        assert read_attachment(file.parent, attachment) == read_attachment(run, attachment) is not None
    assert file.stat().st_size < LARGEST_FILE


def test_no_path_of_the_machine_and_no_secret_is_handed_in(run, file, tmp_path):
    # catches the author's name in a folder's, and a token in a command
    assert str(tmp_path) not in file.read_text()
    assert str(run.parent.parent) not in file.read_text()
    secret = "ghp_" + "a1B2" * 9
    private = {"provenance": {"command": ["zoo", "run", f"track.project={secret}", "data=/home/alice/x"]}}
    one = Result.model_validate(result(config={"track.project": secret, "track.api_key": "abc"}, **private))
    text = without_private_texts(one).text().decode()
    for word in (secret, 'abc"', "alice"):
        assert word not in text


def test_an_attachment_that_was_changed_is_left_out_and_it_is_said(run):
    # catches a submission that names a file which is not there
    said = []
    attachment = read_result(run / "result.json").attachments["samples"]
    (run / attachment.file).write_bytes(b"other")
    one = submission(run, said.append)
    assert "samples" not in one.result.attachments
    assert said == [f"{attachment.file} is missing or was changed: left out"]


def test_the_command_writes_it_where_the_leaderboard_finds_it(run, tmp_path):
    # catches a name that result*.json does not match, or one that leads out of the folder
    (tmp_path / "all").mkdir()
    done = CliRunner().invoke(submit, [str(run), "--out", str(tmp_path / "all")], catch_exceptions=False)
    path = Path(done.stdout.strip())
    assert path.parent == tmp_path / "all"
    done = CliRunner().invoke(submit, [str(run), "--out", f"{tmp_path}/new/folder/"], catch_exceptions=False)
    assert Path(done.stdout.strip()) == tmp_path / "new" / "folder" / path.name
    assert (tmp_path / "new" / "folder" / path.name).is_file()
    shown = CliRunner().invoke(leaderboard, [str(tmp_path / "all")], catch_exceptions=False)
    assert "wgan" in shown.stdout
    for name in ("mine.json", "result.txt"):
        refused = CliRunner().invoke(submit, [str(run), "--out", str(tmp_path / name)])
        assert isinstance(refused.exception, UsageError)
        assert not (tmp_path / name).exists()
    (tmp_path / "blocked").write_text("")
    refused = CliRunner().invoke(submit, [str(run), "--out", str(tmp_path / "blocked" / "result.json")])
    assert isinstance(refused.exception, MachineError)


def test_what_can_not_be_handed_in(made, run, tmp_path):
    # catches a traceback for a run without a result, and an impossible value
    with pytest.raises(UsageError, match="no result"):
        submission(tmp_path / "nowhere")
    (run / "result.json").unlink()
    with pytest.raises(UsageError, match="next: zoo run resume="):
        submission(run)
    shutil.copyfile(made / "result.json", run / "result-0123456789ab.json")
    with pytest.raises(UsageError, match=r"next: zoo submit .*result-0123456789ab\.json"):
        submission(run)
    (run / "result.json").write_text(json.dumps({"schema": 1}))
    with pytest.raises(UsageError, match="schema 1"):
        submission(run)
    write_result(Result.model_validate(result("wgan", -1.0)), run / "result.json")
    with pytest.raises(UsageError, match="is impossible"):
        submission(run)


# -- verifying


def test_what_is_not_a_result_file_is_answered_with_one(run, tmp_path):
    # catches a bare "Invalid JSON", and a folder answered with pipes and devices
    with pytest.raises(UsageError, match="is a folder") as error:
        verify(run, None, say=silent)
    assert f"next: zoo verify {run / 'result.json'} --run {run}" in str(error.value)
    other = tmp_path / "result.json"
    other.write_text("hello")
    with pytest.raises(UsageError, match=r"is not a result: Invalid JSON"):
        verify(other, None, say=silent)


def test_a_result_is_reported_until_it_is_reproduced(file, run):
    # catches a state that the file gives itself, a value that is not computed again
    assert state_of(file) == "reported"
    assert verify(file, say=silent).state == "reported"
    assert not verdicts_folder().exists()
    verdict = verify(file, run, say=silent)
    assert (verdict.state, verdict.refuted) == ("reproduced", False), verdict.findings
    assert state_of(file) == "reproduced"
    assert [path.name for path in verdicts_folder().iterdir()] == [f"{verdict.file_sha256}.json"]
    assert not list(file.parent.glob("verdict*"))
    file.write_text(file.read_text() + " ")  # other bytes: the verdict was not on these
    assert state_of(file) == "reported"


def forge(file, change):
    """Change a result as a forger would, who computes the hash of the content anew."""
    plain = json.loads(file.read_text()) | {"content_sha256": None}
    change(plain)
    write_result(Result.model_validate(plain), file)


def test_a_forged_value_is_refuted(file, run):
    # catches a claim that stands because its hash was computed anew
    forge(file, lambda one: one["metrics"]["FD[digits]"].update(value=1.0))
    done = CliRunner().invoke(verify_command, [str(file), "--run", str(run)])
    assert isinstance(done.exception, UsageError)
    assert "FD[digits]: 1 claimed" in done.stdout
    assert "state: reported" in done.stdout
    assert state_of(file) == "reported"


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda one: one["metrics"]["FD[digits]"].update(value=5.00001), "FD[digits]: 5.00001 claimed"),
        (lambda one: one["metrics"].update({"recall[mine]": {"value": 1.0}}), "recall[mine]: claimed only"),
        (lambda one: one["metrics"].pop("recall[digits]"), "recall[digits]: computed only"),
        (lambda one: one["metrics"]["bits_per_dim[elbo]"].update(value=1.0), "bits_per_dim[elbo]: 1 claimed"),
        (
            lambda one: one["metrics"]["bits_per_dim[elbo]"].update(bound="exact"),
            "bits_per_dim[elbo]: bound=",
        ),
        (lambda one: one["metrics"]["FD[digits]"].update(unranked="no"), "FD[digits]: unranked='no' claimed"),
        (
            lambda one: one["metrics"]["FD[digits]"]["interval"].update(low=4.9),
            "FD[digits]: low=4.9 claimed, 4.8 computed again",
        ),
        (
            lambda one: one["metrics"]["FD[digits]"]["interval"].update(high=5.2001),
            "FD[digits]: high=5.2001 claimed, 5.2 computed again",
        ),
        (
            lambda one: one["metrics"]["IS[digits]"].update(interval={"low": 2.9, "high": 3.1}),
            "IS[digits]: high=3.1 claimed, None computed again",
        ),
        (
            lambda one: one["metrics"]["bits_per_dim[elbo]"].update(standard_error=0.01),
            "bits_per_dim[elbo]: standard_error=0.01 claimed, 0.1 computed again",
        ),
        (lambda one: one["metrics"]["FD[digits]"].update(n=50000), "FD[digits]: n=50000 claimed; 2000"),
        (lambda one: one["cost"].update(parameters=7), "parameters: 7 claimed"),
        (lambda one: one["cost"].pop("nfe"), "nfe: computed only"),
        (
            lambda one: one["metrics"]["noise floor[FD[digits]]"].update(value=9.0),
            "noise floor[FD[digits]]: 9",
        ),
    ],
    ids=[
        "value",
        "column",
        "no column",
        "likelihood",
        "bound",
        "unranked",
        "low",
        "high",
        "interval",
        "standard error",
        "n",
        "cost",
        "no cost",
        "floor",
    ],
)
def test_every_claim_is_compared_with_what_is_computed(change, finding):
    # catches a claim that nobody looks at
    bits = {"bits_per_dim[elbo]": {"value": 2.0, "standard_error": 0.1, "bound": "upper"}}
    distance = {"FD[digits]": {"value": 5.0, "interval": {"low": 4.8, "high": 5.2}, "n": 2000}}
    plain = result(metrics=bits | distance)
    again = Result.model_validate(plain)
    claimed = copy.deepcopy(plain)
    for exactly in (True, False):
        assert disagreements(Result.model_validate(claimed), again, exactly=exactly) == []
    change(claimed)
    line, *more = disagreements(Result.model_validate(claimed), again, exactly=True)
    assert line.startswith(finding)
    assert len(more) == (1 if finding.startswith("IS[digits]: high") else 0)  # its other end


def test_columns_that_came_later_are_no_disagreement_where_a_result_lacks_them():
    # catches an older result that is refuted for a new column, and such a column claimed and not compared
    plain = result(metrics={"FD[digits]": {"value": 5.0}})
    later = {"generalization gap[digits]": {"value": 0.2}, "FD to train part[digits]": {"value": 5.0}}
    again = result(metrics={"FD[digits]": {"value": 5.0}} | later)
    before, now = (Result.model_validate(one) for one in (plain, again))
    assert disagreements(before, now, exactly=True) == []
    again["metrics"]["generalization gap[digits]"]["value"] = 0.1
    (line,) = disagreements(Result.model_validate(again), now, exactly=True)
    assert line.startswith("generalization gap[digits]: 0.1 claimed")
    assert disagreements(now, before, exactly=True) == [
        "FD to train part[digits]: claimed only",
        "generalization gap[digits]: claimed only",
    ]


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (
            lambda one: one["data"].update(task="class"),
            "data.task: 'class' claimed, 'unconditional' in the run",
        ),
        (lambda one: one["data"].update(source="edges"), "data.source: 'edges' claimed, '' in the run"),
        (lambda one: one["data"].update(label="faces"), "data.label: 'faces' claimed, '' in the run"),
        (lambda one: one.update(family="flow"), "family: 'flow' claimed, 'gan' in the run"),
        (
            lambda one: one["sampling"].update(sampler="heun"),
            "sampling.sampler: 'heun' claimed, '' in the run",
        ),
        (lambda one: one["sampling"].update(seed=7), "sampling.seed: 7 claimed, 0 in the run"),
        (lambda one: one["sampling"].update(steps=1), "sampling.steps: 1 claimed, None in the run"),
        (lambda one: one["sampling"].update(precision="x"), "sampling.precision: 'x' claimed"),
        (lambda one: one["config"].update({"train.steps": 3}), "config.train.steps: 3 claimed"),
        (lambda one: one["sampling"].update(noise_version=77), "sampling.noise_version: 77 claimed"),
    ],
    ids=[
        "task",
        "source",
        "label",
        "family",
        "sampler",
        "seed",
        "steps",
        "precision",
        "option",
        "noise version",
    ],
)
def test_a_forged_statement_about_data_or_sampling_is_refuted(file, run, change, finding):
    # catches facts that neither the protocol's hash nor the weights hold: another task is another table
    forge(file, change)
    verdict = verify(file, run, say=silent)
    assert (verdict.state, verdict.refuted) == ("reported", True)
    assert [line for line in verdict.findings if line.startswith(finding)], verdict.findings
    assert state_of(file) == "reported"


def test_the_precision_of_sampling_is_recorded_and_not_that_of_training(made, tmp_path):
    # catches a record of bfloat16 samples that says float32 or auto
    assert read_result(made / "result.json").sampling.precision == "float32"
    words = {"sample.precision": "bfloat16", "train.precision": "float32"}
    zoo_core.run({"plugin": "noise", "run_dir": str(tmp_path / "noise"), **QUIET, **words})
    assert read_result(tmp_path / "noise" / "result.json").sampling.precision == "bfloat16"


def test_results_that_recorded_the_precision_of_training_are_not_refuted(made):
    # catches an honest result of an earlier version called a forgery, and any precision believed
    run = zoo_core.load(made)
    honest = read_result(made / "result.json")

    def claiming(precision):
        sampling = honest.sampling.model_copy(update={"precision": precision})
        return misstatements(honest.model_copy(update={"sampling": sampling}), run)

    assert run.config.train.precision == "auto"
    assert claiming("float32") == claiming("auto") == []
    assert claiming("bfloat16") == ["sampling.precision: 'bfloat16' claimed, 'float32' in the run"]


def test_samples_of_another_noise_version_are_not_refuted(file, run):
    # catches an honest result of an earlier version called a forgery
    forge(file, lambda one: (one["sampling"].update(noise_version=77), one.update(samples_sha256="0" * 64)))
    verdict = verify(file, run, say=silent)
    assert (verdict.state, verdict.refuted) == ("reported", False)
    assert any("sampling.noise_version: 77 and" in line for line in verdict.findings)


def test_a_result_of_some_metrics_is_reproduced(file, run):
    # catches columns that were not asked for taken as concealed: eval.metrics=[prdc], eval.ode=never
    def some(one):
        one["config"] |= {"eval.metrics": ["prdc"], "eval.ode": "never"}
        one["metrics"] = {
            k: v for k, v in one["metrics"].items() if k.startswith(("prec", "rec", "den", "cov"))
        }
        one["not_applicable"] = {}

    forge(file, some)
    verdict = verify(file, run, say=silent)
    assert (verdict.state, verdict.refuted) == ("reproduced", False), verdict.findings
    assert any(line.startswith("values: 7 computed again") for line in verdict.findings)  # 4, and 3 counts
    forge(file, lambda one: one["metrics"].pop("recall[digits]"))
    assert "recall[digits]: computed only" in verify(file, run, say=silent).findings


def test_metrics_that_are_not_installed_do_not_excuse_a_value(file, run):
    # catches a forged list of metrics that ends the comparison: the values would stand unchecked
    def change(one):
        one["config"] |= {"eval.metrics": ["frechet", "no-such-metric"], "eval.ode": "sometimes"}
        one["metrics"] = {"FD[digits]": one["metrics"]["FD[digits]"] | {"value": 1.0, "interval": None}}

    forge(file, change)
    verdict = verify(file, run, say=silent)
    assert verdict.refuted
    assert any(line.startswith("FD[digits]: 1 claimed") for line in verdict.findings)


def test_memorization_is_computed_even_where_it_was_left_out():
    # catches a copy of the training split that is scored by other metrics alone
    def one(excess, *names):
        cells = {"memorization[pixels]": None if excess is None else {"value": excess}}
        return Result.model_validate(result(metrics=cells, config={"eval.metrics": list(names)}))

    claimed = one(None, "frechet")
    assert disagreements(claimed, one(0.05, "frechet"), exactly=True) == []
    assert disagreements(claimed, one(0.2, "frechet"), exactly=True) == [
        "memorizes: None claimed, True computed again"
    ]
    asked = one(None, "frechet", "memorization")
    assert len(disagreements(asked, one(0.05, "frechet"), exactly=True)) == 2


def test_what_held_values_without_an_interval_is_said():
    # catches "all within their intervals" of values that have none
    again = Result.model_validate(
        result(metrics={"FD[digits]": {"value": 5.0, "interval": {"low": 4.8, "high": 5.2}}})
    )
    claimed = again.model_copy(update={"samples_sha256": "0" * 64})
    assert compare(claimed, again).findings[-1] == (
        "values: 8 computed again: 1 within the intervals computed here, "
        "3 without an interval within 1%, 4 equal"
    )


def test_memorization_is_compared():
    # catches a copy of the training split that reports less than the threshold, within a wide interval
    def one(excess):
        return Result.model_validate(result(metrics={"memorization[pixels]": {"value": excess}}))

    lines = disagreements(one(0.0999), one(0.1001), exactly=False)
    assert lines == ["memorizes: False claimed, True computed again"]


def test_other_bits_leave_a_margin_as_wide_as_the_interval():
    # catches a forger's own wide interval taken for the computed one
    def one(fd=5.0, ends=(4.8, 5.2), is_=3.0):
        interval = {"interval": {"low": ends[0], "high": ends[1]}}
        return Result.model_validate(
            result(metrics={"FD[digits]": {"value": fd} | interval, "IS[digits]": {"value": is_}})
        )

    def count(claimed):
        return len(disagreements(claimed, one(), exactly=False))

    assert count(one(5.19, (0.0, 100.0))) == 0
    assert count(one(5.21, (0.0, 100.0))) == 1
    assert count(one(is_=3.02)) == 0  # no interval: one per cent
    assert count(one(is_=3.04)) == 1


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
def test_samples_of_other_bits_within_their_intervals_are_resampled(file, run):
    # catches another machine's rounding called a forgery, and called a repetition
    forge(file, lambda one: one.update(samples_sha256="0" * 64))
    verdict = verify(file, run, say=silent)
    assert verdict.state == "resampled", verdict.findings
    assert "not the same bits" in verdict.findings[1]
    forge(file, lambda one: one["metrics"]["FD[digits]"].update(value=1e-3))
    assert verify(file, run, say=silent).refuted


def other_protocol(one, **changes):
    one["protocol"]["fields"] |= changes
    one["protocol"]["hash"] = fields_hash(one["protocol"]["fields"])


def test_a_protocol_that_can_not_be_repeated_is_resampled_at_most(file, run):
    # catches an older version's values refuted, or believed, by ours
    forge(file, lambda one: other_protocol(one, metrics_version=0))
    verdict = verify(file, run, say=silent)
    assert (verdict.state, verdict.refuted) == ("resampled", False)
    assert any("metrics_version: 0 and" in line for line in verdict.findings)
    forge(file, lambda one: one.update(samples_sha256="0" * 64))
    assert verify(file, run, say=silent).state == "reported"


def test_a_protocol_of_a_third_party_is_not_obeyed(file, run):
    # catches 10^12 samples drawn, a network's name that is looked up as a path
    forge(file, lambda one: other_protocol(one, n_generated=10**12, extractor="../../etc"))
    verdict = verify(file, run, say=silent)
    assert verdict.state == "reported"
    assert "are not drawn" in verdict.findings[1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda one: one.update(seed=5), "seed: 0 in the run, 5 in the file"),
        (lambda one: one.update(weights_sha256="0" * 64), "weights_sha256"),
        (lambda one: one.update(plugin="ddpm"), "plugin: wgan in the run"),
        (lambda one: one.update(config_hash="0" * 12), "config_hash"),
    ],
)
def test_another_runs_checkpoint_proves_nothing(file, run, change, named):
    # catches a replay: values of one run believed for another's weights
    forge(file, change)
    with pytest.raises(UsageError, match="is not the run of that file") as error:
        verify(file, run, say=silent)
    assert named in str(error.value)
    assert not verdicts_folder().exists()


def images(root, start=0):
    for k in range(start, start + 60):
        values = np.random.default_rng(k).integers(0, 256, (8, 8), dtype=np.uint8)
        (root / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(root / "ab"[k % 2] / f"{k:03}.png")


@pytest.fixture
def of_images(tmp_path):
    """A scored baseline of a folder of images, and its result as it is handed in."""
    images(tmp_path / "images")
    data = {"name": "folder", "path": str(tmp_path / "images"), "size": 8, "channels": 1, "holdout": 0.5}
    scored = {"eval.extractor": "raw", "eval.protocol": "quick"}
    zoo_core.run({"plugin": "noise", "data": data, "run_dir": str(tmp_path / "of-images"), **QUIET, **scored})
    run = tmp_path / "of-images"
    return run, write_submission(submission(run, silent), tmp_path / "result-of-images.json")


def test_data_that_changed_are_neither_handed_in_nor_verified(of_images, tmp_path):
    # catches a result of images that are gone, believed because the run's record says so
    run, file = of_images
    images(tmp_path / "images", 60)
    for refused in (lambda: submission(run, silent), lambda: verify(file, run, say=silent)):
        with pytest.raises(UsageError, match="the data changed") as error:
            refused()
        assert "examples added" in str(error.value)
    assert not verdicts_folder().exists()


def test_the_content_is_hashed_again_and_not_the_cache(of_images):
    # catches a check of the cache of decoded images against itself
    run, file = of_images
    (entry,) = (cache.home() / "cache" / "images").rglob(cache.INDEX)
    for used in (lambda: submission(run, silent), lambda: verify(file, run, say=silent)):
        other = json.loads(entry.read_text())
        other["digests"][0] = "0" * 64
        entry.write_text(json.dumps(other))
        with pytest.raises(UsageError, match="the cached images were not those of the files"):
            used()
        used()


def test_a_result_of_other_data_than_its_runs_is_refused(file, run):
    # catches a claimed hash of data that is only recorded
    def other(one):
        one["data"]["sha256"] = "0" * 64
        other_protocol(one, data_sha256="0" * 64)

    forge(file, other)
    with pytest.raises(UsageError, match="the result is of other data"):
        verify(file, run, say=silent)
    shutil.copyfile(file, run / "result.json")
    with pytest.raises(UsageError, match="the result is of other data"):
        submission(run, silent)


def test_files_and_folders_that_can_not_be_verified(file, run, tmp_path):
    # catches a traceback
    with pytest.raises(UsageError):
        verify(tmp_path / "none.json", say=silent)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(MachineError, match="no checkpoint"):
        verify(file, run, say=silent)
