"""A run handed in as one file, verified by who has its checkpoint, and refuted where it lies."""

from __future__ import annotations

import base64
import copy
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from zoo_eval.results import Stored, read
from zoo_eval.schema import LARGEST, POINTS, content_hash
from zoo_eval.verification import disagreements, state, verdict_path, verify

import zoo_core
from tests.eval.test_leaderboard import dump, result
from tests.eval.test_store import whole
from zoo_core.errors import MachineError, UsageError
from zoo_eval.cli import leaderboard, submit
from zoo_eval.cli import verify as verify_command
from zoo_eval.leaderboard import make_table
from zoo_eval.submission import enrich, file_name, submission, text_of, thinned

QUIET = {"track.wandb": "off", "track.progress": False, "eval.baselines": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run of a model that trains, with its pictures and its checkpoint."""
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
    path = tmp_path / "result-submitted.json"
    path.write_text(text_of(submission(run)))
    return path


def silent(line):
    pass


# -- handing in


def test_a_submission_is_one_file_with_all_of_it(run, file):
    # catches curves, config or a picture that stay behind, and a file that its own schema refuses
    stored = read(file)
    assert isinstance(stored, Stored)
    one = stored.result
    assert one["metrics"] == json.loads((run / "result.json").read_text())["metrics"]
    assert one["config"]["plugin"] == "wgan"
    assert "run_dir" not in one["config"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert one["curves"]["critic/loss"] == [[line["step"], line["critic/loss"]] for line in lines]
    assert base64.b64decode(one["sheet"]) == (run / "pictures" / "samples.png").read_bytes()
    assert len(one["weights_sha256"]) == len(one["samples_sha256"]) == 64
    assert file.stat().st_size < LARGEST


def test_no_path_of_the_machine_is_handed_in(run, file, tmp_path):
    # catches the author's name in a folder's
    assert str(tmp_path) not in file.read_text()
    assert str(run.parent.parent) not in file.read_text()


def test_the_verb_writes_it_where_the_leaderboard_finds_it(run, tmp_path):
    # catches a name that result*.json does not match, or that leads out of the folder
    (tmp_path / "handed-in").mkdir()
    done = CliRunner().invoke(
        submit, [str(run), "--out", str(tmp_path / "handed-in")], catch_exceptions=False
    )
    path = Path(done.stdout.strip())
    assert path.parent == tmp_path / "handed-in"
    shown = CliRunner().invoke(leaderboard, [str(tmp_path / "handed-in")], catch_exceptions=False)
    assert "wgan" in shown.stdout
    evil = whole(plugin="../../etc/passwd\x00", data="a/b")
    assert "/" not in file_name(evil)
    assert "\x00" not in file_name(evil)


def test_what_can_not_be_handed_in(run, tmp_path):
    # catches a traceback for a run that has no figures
    with pytest.raises(UsageError, match="no result"):
        submission(tmp_path / "nowhere")
    (run / "result.json").unlink()
    with pytest.raises(UsageError, match="next: zoo run resume="):
        submission(run)
    dump(
        run / "result.json",
        {"schema": 1, "plugin": "a", "family": "b", "data": "c", "config_hash": "d", "seed": 0},
    )
    with pytest.raises(UsageError, match=r"eval\.protocol=quick"):
        submission(run)


def test_curves_are_thinned_and_keep_their_ends():
    # catches a curve without its last value
    points = [[k, k * 0.5] for k in range(1234)]
    few = thinned(points)
    assert len(few) == POINTS
    assert (few[0], few[-1]) == (points[0], points[-1])
    assert few == sorted(few)
    assert thinned(points[:7]) == points[:7]


def test_enriching_takes_what_is_there_and_no_more(tmp_path):
    # catches a submission's config read from its neighbour, a broken file that ends the page
    flat = tmp_path / "results" / "result-a.json"
    dump(flat, result())
    assert enrich(Stored(flat, result())) == result()
    dump(tmp_path / "whole" / "result-b.json", whole())
    lean = {k: v for k, v in whole().items() if k not in ("config", "curves", "sheet")}
    assert enrich(Stored(tmp_path / "whole" / "result-b.json", lean)) == whole()
    torn = tmp_path / "torn"
    dump(torn / "result.json", result())
    dump(torn / "config.yaml", "a: [")
    dump(torn / "metrics.jsonl", '{"step": 1, "loss": 2.0}\n[1]\n{"step": 2, "loss": NaN}\n{"step"')
    (torn / "pictures").mkdir()
    (torn / "pictures" / "samples.png").write_bytes(b"no picture")
    assert enrich(Stored(torn / "result.json", result())) == result() | {"curves": {"loss": [[1, 2.0]]}}
    assert enrich(Stored(tmp_path / "gone.json", result())) == result()


def test_a_large_picture_is_made_small_enough(run):
    # catches a submission that its own schema refuses, for a colourful grid
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(run / "pictures" / "samples.png")
    one = submission(run)
    assert len(base64.b64decode(one["sheet"])) <= 200 * 1024


# -- believing it


def test_a_result_is_reported_until_it_is_reproduced(file, run):
    # catches a state that the file gives itself, a figure that is not measured again
    assert state(read(file)) == "reported"
    assert verify(file, say=silent).state == "reported"
    assert not verdict_path(file).exists()
    verdict = verify(file, run, say=silent)
    assert (verdict.state, verdict.refuted) == ("reproduced", False), verdict.findings
    assert state(read(file)) == "reproduced"
    assert make_table([read(file)]).rows[0].row.state == "reproduced"
    file.write_text(file.read_text() + " ")  # other bytes: the verdict was not on these
    assert state(read(file)) == "reported"


def forge(file, change):
    """Change a submission as a forger would, who computes the hash of the content anew."""
    one = copy.deepcopy(dict(read(file).result))
    change(one)
    one["content_sha256"] = content_hash(one)
    file.write_text(text_of(one))


def test_a_forged_figure_is_refuted(file, run):
    # catches a claim that stands because its hash was computed anew
    forge(file, lambda one: one["metrics"]["FD[digits]"].update(value=1.0))
    done = CliRunner().invoke(verify_command, [str(file), "--run", str(run)])
    assert isinstance(done.exception, UsageError)
    assert "FD[digits]: 1 claimed" in done.stdout
    assert "state: reported" in done.stdout
    assert state(read(file)) == "reported"


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda one: one["metrics"]["FD[digits]"].update(value=5.00001), "FD[digits]: 5.00001 claimed"),
        (lambda one: one["metrics"].update({"recall[mine]": {"value": 1.0}}), "recall[mine]: claimed only"),
        (lambda one: one["metrics"].pop("recall[digits]"), "recall[digits]: measured only"),
        (lambda one: one["likelihood"][0].update(bits_per_dim=1.0), "elbo bits_per_dim: 1 claimed"),
        (lambda one: one["cost"].update(parameters=7), "parameters: 7 claimed"),
        (lambda one: one["cost"].pop("nfe"), "nfe: measured only"),
        (lambda one: one["floor"].update(value=9.0), "floor: 9 claimed"),
        (lambda one: one["memorisation"].update(memorises=True), "memorises: True claimed"),
    ],
    ids=["figure", "column", "no column", "likelihood", "cost", "no cost", "floor", "memorises"],
)
def test_every_claim_is_held_against_what_is_measured(change, finding):
    # catches a claim that nobody looks at
    record = {"name": "elbo", "bits_per_dim": 2.0, "se": 0.1, "bound": True}
    again, claimed = (result(likelihood=[dict(record)]) for _ in range(2))
    for exactly in (True, False):
        assert disagreements(claimed, again, exactly=exactly) == []
    change(claimed)
    (line,) = disagreements(claimed, again, exactly=True)
    assert line.startswith(finding)


def test_other_bits_leave_room_as_wide_as_the_interval():
    # catches a forger's own wide interval taken for the measured one
    again, claimed = result(), result()
    again["metrics"]["FD[digits]"] |= {"low": 4.8, "high": 5.2}
    claimed["metrics"]["FD[digits]"] |= {"value": 5.19, "low": 0.0, "high": 100.0}
    assert disagreements(claimed, again, exactly=False) == []
    claimed["metrics"]["FD[digits]"]["value"] = 5.21
    assert len(disagreements(claimed, again, exactly=False)) == 1
    claimed["metrics"]["FD[digits]"]["value"] = 5.0
    claimed["metrics"]["IS[digits]"]["value"] = 3.02  # no interval: one per cent
    assert disagreements(claimed, again, exactly=False) == []
    claimed["metrics"]["IS[digits]"]["value"] = 3.04
    assert len(disagreements(claimed, again, exactly=False)) == 1


def test_samples_of_other_bits_within_their_intervals_are_resampled(file, run):
    # catches another machine's rounding called a forgery, and called a repetition
    forge(file, lambda one: one.update(samples_sha256="0" * 64))
    verdict = verify(file, run, say=silent)
    assert verdict.state == "resampled"
    assert "not the same bits" in verdict.findings[1]
    forge(file, lambda one: one["metrics"]["FD[digits]"].update(value=1e-3))
    assert verify(file, run, say=silent).refuted


def test_a_protocol_that_can_not_be_repeated_is_resampled_at_most(file, run):
    # catches an older arithmetic's figures refuted, or believed, by ours
    from zoo_eval.protocol import fields_hash

    def older(one):
        one["protocol"]["fields"]["metrics_version"] = 0
        one["protocol"]["hash"] = fields_hash(one["protocol"]["fields"])

    forge(file, older)
    verdict = verify(file, run, say=silent)
    assert (verdict.state, verdict.refuted) == ("resampled", False)
    assert any("metrics_version: 0 and" in line for line in verdict.findings)
    forge(file, lambda one: one.update(samples_sha256="0" * 64))
    assert verify(file, run, say=silent).state == "reported"


def test_a_protocol_of_a_stranger_is_not_obeyed(file, run):
    # catches 10^12 samples drawn, a network's name that is looked up as a path
    from zoo_eval.protocol import fields_hash

    def huge(one):
        fields = one["protocol"]["fields"]
        fields |= {"n_generated": 10**12, "extractor": "../../etc", "iwae_k": 64}
        one["protocol"]["hash"] = fields_hash(fields)

    forge(file, huge)
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
    # catches a replay: figures of one run believed for another's weights
    forge(file, change)
    with pytest.raises(UsageError, match="is not the run of that file") as error:
        verify(file, run, say=silent)
    assert named in str(error.value)
    assert not verdict_path(file).exists()


def test_files_and_folders_that_are_none(file, run, tmp_path):
    # catches a traceback
    with pytest.raises(UsageError, match="is no result"):
        verify(tmp_path / "none.json", say=silent)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(MachineError, match="no checkpoint"):
        verify(file, run, say=silent)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"state": "reproduced"}',
        '{"state": "believe me", "file_sha256": "HERE"}',
        "[" * 100_000,
    ],
)
def test_a_verdict_that_is_none_changes_nothing(tmp_path, text):
    # catches a state made up beside a file
    import hashlib

    path = tmp_path / "result.json"
    dump(path, result())
    verdict_path(path).write_text(text.replace("HERE", hashlib.sha256(path.read_bytes()).hexdigest()))
    assert state(read(path)) == "reported"
