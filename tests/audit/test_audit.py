"""A training that is audited from end to end, and forgeries of it on the disk and in memory."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import zoo_core
from tests.eval.made_results import result as plain_result
from zoo_audit.auditing import audited
from zoo_audit.curves import CURVES
from zoo_audit.digest import state_sha256
from zoo_audit.trace import kept_state, read_trace, write_trace
from zoo_core.errors import UsageError
from zoo_core.registry.resolution import config_hash, resolve
from zoo_core.results import Reexecution, Result, TrainingAudit, read_result, write_record, write_result
from zoo_core.results.attachments import attachment_of, read_attachment, write_attachment
from zoo_core.results.result import content_hash
from zoo_core.training import checkpoint
from zoo_eval.cli import verify as verify_command
from zoo_eval.store import Reader, Verdict
from zoo_eval.store.states import record, recorded_states, verdicts_folder
from zoo_eval.submission import verify
from zoo_eval.submission.comparison import Repeated
from zoo_eval.submission.verify import _with_training

QUIET: dict[str, Any] = {
    "track.wandb": "off",
    "track.progress": False,
    "eval.baselines": False,
    "device": "cpu",
}
TINY = {"plugin": "vae", "preset": "tiny", "train.steps": 22, "train.log_every": 4, **QUIET}
DEPENDS = ("plugins/zoo_audit", "zoo_core/training", "zoo_core/runs", "evaluation/zoo_eval/submission")
slow = pytest.mark.slow(depends=DEPENDS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of 6 segments, trained without an evaluation and scored later."""
    root = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(root / "home"))
        patch.chdir(root)
        options = {**TINY, "train.audit": 4, "run_dir": str(root / "run")}
        zoo_core.run({**options, "eval.protocol": "none"})
        zoo_core.run({**options, "eval.protocol": "quick"})
        yield root / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def audit(run: Path, spot: int = 99) -> Reexecution:
    return audited(read_result(run / "result.json"), run, spot)


def command(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(verify_command, words)
    return (1 if done.exception else 0), done.output + str(done.exception or "")


# -- the honest run


@slow
def test_an_honest_training_is_audited_and_the_verdict_can_be_repeated(run: Path) -> None:
    """Trained under another evaluation than it is scored by: its networks move the random numbers."""
    file = run / "result.json"
    result = read_result(file)
    assert result.audit == TrainingAudit(every=4, segments=6, root=read_trace(run).root())
    status, said = command(str(file), "--run", str(run), "--spot", "2")
    assert status == 0, said
    assert "state: audited" in said
    assert "power: a forgery in the first or the last segment is caught for certain" in said
    (stored,) = verdicts_folder().glob("*.json")
    training = json.loads(stored.read_text())["training"]
    assert Reader(recorded_states()).read(file).state == "audited"
    again = audited(result, run, 2, bytes.fromhex(training["challenge"]))
    assert list(again.executed) == training["executed"]
    assert len(again.executed) == 4
    assert (again.outcome, training["outcome"]) == ("exact", "exact")


@slow
def test_auditing_changes_neither_the_weights_nor_the_name_of_a_run(made: Path, home: Path) -> None:
    plain = zoo_core.run({**TINY, "eval.protocol": "none"})
    assert plain.weights_sha256 == read_result(made / "result.json").weights_sha256
    assert not (Path(plain.run_dir) / "audit").exists()
    assert config_hash(resolve({**TINY, "train.audit": 4})) == config_hash(resolve(TINY))


def interrupted(run: Path, step: int) -> None:
    """Leave of a finished run what a kill after a checkpoint at a step leaves."""
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(kept_state(run, step), run / "checkpoints" / f"step-{step:08d}")
    for name in ("audit.json", "result.json", "run.json"):
        (run / name).unlink()


@slow
def test_an_interrupted_training_has_the_same_root(run: Path) -> None:
    root = read_trace(run).root()
    interrupted(run, 12)
    zoo_core.run({**TINY, "train.audit": 4, "run_dir": str(run), "eval.protocol": "quick"})
    assert read_trace(run).root() == root
    assert read_trace(run).resumed == (12,)
    assert audit(run).outcome == "exact"


@slow
@pytest.mark.parametrize("lost", ["state", "trace"])
def test_a_training_that_continues_from_an_unkept_state_is_not_audited(
    lost: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(run, 12)
    trace = read_trace(run)
    if lost == "trace":
        shutil.rmtree(run / "audit")
    else:
        write_trace(replace(trace, states=(trace.states[0], *trace.states[2:])), run)
    done = zoo_core.run({**TINY, "train.audit": 4, "run_dir": str(run), "eval.protocol": "quick"})
    assert done.scored.audit is None
    assert "the training is not audited" in "".join(capsys.readouterr())


@slow
@pytest.mark.parametrize(
    ("plugin", "steps", "every", "segments"), [("ldm", 8, 2, 4), ("gaussian", 0, 5, 1), ("wgan", 5, 2, 3)]
)
def test_stages_fits_and_several_optimizers_repeat(
    plugin: str, steps: int, every: int, segments: int, home: Path
) -> None:
    """ldm: a state is kept where one stage ends and the next begins. gaussian: a fit without steps."""
    options = {"plugin": plugin, "train.audit": every, "eval.metrics": "[frechet]", **QUIET}
    sized = {"preset": "tiny", "train.steps": steps} if steps else {}
    done = zoo_core.run({**options, **sized})
    found = audited(done.scored, Path(done.run_dir), 99)
    assert (found.outcome, found.segments) == ("exact", segments), found.findings


# -- forgeries on the disk, as a submitter hands them in


def replaced(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> checkpoint.Checkpoint:
    """Write a changed checkpoint in the place of another one."""
    saved, step = checkpoint.load(path), int(path.name.partition("-")[2])
    change(saved.weights)
    shutil.rmtree(path)
    checkpoint.save(path.parent / "new", step, saved, {}).rename(path)  # beside others it would drop old ones
    return saved


def refounded(run: Path, place: int, state: checkpoint.Checkpoint) -> None:
    """Hash a forged state into the trace, and its root into the result."""
    trace = read_trace(run)
    states = list(trace.states)
    states[place] = (states[place][0], state_sha256(state))
    trace = replace(trace, states=tuple(states))
    write_trace(trace, run)
    write_record(trace.commitment(), run)
    rewritten(run, audit=trace.commitment())


def rewritten(run: Path, **changed: Any) -> None:
    result = read_result(run / "result.json").model_copy(update=changed)
    write_result(result, run / "result.json")


def nudge(weights: dict[str, torch.Tensor]) -> None:
    next(w for w in weights.values() if w.is_floating_point()).view(-1)[0] += 1e-3


@slow
@pytest.mark.parametrize("hashed", [True, False])
def test_swapped_last_weights_are_caught(hashed: bool, run: Path) -> None:
    (last,) = list((run / "checkpoints").glob("step-00000022"))
    state = replaced(last, nudge)
    rewritten(run, weights_sha256=checkpoint.verify(last)[checkpoint.WEIGHTS])
    if hashed:
        refounded(run, -1, state)
    found = audit(run, 0)
    assert found.outcome == "refuted"
    assert "segment 6" in next(line for line in found.findings if "another state" in line)


@slow
def test_a_forged_state_between_is_caught_where_it_begins_and_ends(run: Path) -> None:
    refounded(run, 2, replaced(kept_state(run, 12), nudge))
    found = audit(run)
    wrong = [line.partition(" (")[0] for line in found.findings if "ends at another state" in line]
    assert (found.outcome, wrong) == ("refuted", ["segment 3", "segment 4"])


@slow
def test_an_invented_curve_is_caught_by_the_first_segment(run: Path) -> None:
    result = read_result(run / "result.json")
    content = read_attachment(run, result.attachments[CURVES])
    assert content is not None
    curves = json.loads(content)
    name = next(name for name in curves if name.endswith("/loss"))
    curves[name] = [[step, value * 0.9] for step, value in curves[name]]
    forged = json.dumps(curves).encode()
    attachment = attachment_of(CURVES, forged, "json")
    write_attachment(run, attachment, forged)
    rewritten(run, attachments={**result.attachments, CURVES: attachment})
    found = audit(run, 0)
    assert found.outcome == "refuted"
    assert any(line.startswith("segment 1") and "claimed" in line for line in found.findings)


@slow
def test_a_state_that_is_not_handed_in_does_not_pass(run: Path) -> None:
    # catches the submitter who sends all but the forged segment
    shutil.rmtree(kept_state(run, 8))
    found = audit(run)
    assert found.outcome == "unverified"
    assert _with_training(Repeated("reproduced", False, []), found).state == "reproduced"


@slow
def test_it_is_said_that_a_training_was_not_executed_because_the_scores_are_wrong(run: Path) -> None:
    metrics = dict(read_result(run / "result.json").metrics)
    column = next(name for name in metrics if name.startswith("FD["))
    metrics[column] = metrics[column].model_copy(
        update={"value": metrics[column].value + 1, "interval": None}
    )
    rewritten(run, metrics=metrics)
    status, said = command(str(run / "result.json"), "--run", str(run), "--spot", "1")
    assert status == 1
    assert "training: not executed again, as the samples or scores are not those of the result" in said


@slow
def test_a_result_of_another_root_or_another_run_is_refuted_at_once(run: Path) -> None:
    other = TrainingAudit(every=4, segments=6, root="ab" * 32)
    rewritten(run, audit=other)
    assert audit(run).findings == (
        "audit: the states that the run has kept are not those of the result: another root",
    )
    status, said = command(str(run / "result.json"), "--run", str(run), "--spot", "all")
    assert status == 1
    assert "claims that are not those of the run" in said
    trace = read_trace(run)
    trace = replace(trace, run={**trace.run, "seed": 1})
    write_trace(trace, run)
    rewritten(run, audit=trace.commitment())
    assert audit(run).findings == ("audit: the states are those of another run",)
    fewer = replace(read_trace(run), run={**trace.run, "seed": 0}, states=trace.states[1:])
    write_trace(fewer, run)
    rewritten(run, audit=fewer.commitment())
    assert audit(run).findings == ("audit: the states are not those after 6 segments",)


# -- forgeries in memory, of every kind


@pytest.fixture(scope="module")
def study() -> ModuleType:
    path = Path(__file__).parents[2] / "ci" / "studies" / "forgeries.py"
    spec = importlib.util.spec_from_file_location("forgeries_study", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["forgeries_study"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def honest(study: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    root = tmp_path_factory.mktemp("forged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(root / "home"))
        patch.chdir(root)
        yield study.trained_run(root / "run")


@pytest.mark.slow(depends=(*DEPENDS, "ci/studies/forgeries.py"))
def test_each_kind_of_forgery_shows_where_it_was_made(study: ModuleType, honest: Any) -> None:
    rows = study.study(honest, 3, 50, 0.01)
    assert len(rows) == len(study.KINDS) == 11
    none = study.Forgery("none", honest.states, honest.states, frozenset(), honest.curves)
    assert study.showing(honest, none) == set()
    for row in rows:
        assert row["shows"] == row["as_made"], row["kind"]
    always = {row["kind"] for row in rows if row["caught"] == 1}
    assert {"swapped last weights", "wrong initialization", "other data", "invented curve"} <= always
    assert "other weights after one segment" not in always


@pytest.mark.slow(depends=(*DEPENDS, "ci/studies/forgeries.py"))
@pytest.mark.parametrize(("scale", "outcome"), [(1e-6, "consistent"), (1e-1, "unverified")])
def test_on_another_machine_a_segment_is_compared_within_tolerance(
    scale: float, outcome: str, study: ModuleType, honest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import random

    rng = random.Random(0)
    state = study.moved(honest.states[3], rng, scale)
    states = honest.trained(honest.trainer(), [*honest.states[:3], state])
    forgery = study.Forgery("rounded", states, states, frozenset())
    assert study.InMemory(honest, forgery).check(3).outcome == "refuted"
    there = {**honest.trace.machine, "instructions": "another"}
    elsewhere = replace(honest, trace=replace(honest.trace, machine=there))
    found = study.InMemory(elsewhere, forgery).check(3)
    assert found.outcome == outcome, found.line
    assert "instructions: another there" in found.line
    assert study.InMemory(elsewhere, forgery).check(1).outcome == "exact"


# -- states and records


def reexecution(outcome: str, executed: int = 2) -> Reexecution:
    return Reexecution(outcome, 9, tuple(range(executed)), "00", ("found",))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "outcome", "state", "refuted"),
    [
        ("reproduced", "exact", "audited", False),
        ("reproduced", "consistent", "consistent", False),
        ("reproduced", "unverified", "reproduced", False),
        ("reproduced", "refuted", "reported", True),
        ("resampled", "exact", "resampled", False),
        ("resampled", "refuted", "reported", True),
    ],
)
def test_only_a_reproduced_result_rises(before: str, outcome: str, state: str, refuted: bool) -> None:
    found = _with_training(Repeated(before, False, ["samples"]), reexecution(outcome))
    assert found == Repeated(state, refuted, ["samples", "found"])


def test_of_two_audits_the_one_of_more_segments_stays(home: Path) -> None:
    def verdict(state: str, executed: int | None) -> Verdict:
        training = None if executed is None else reexecution("exact", executed)
        return Verdict(state, (), False, "ab" * 32, "", training)

    def stored() -> int:
        text = (verdicts_folder() / f"{'ab' * 32}.json").read_text()
        return len(json.loads(text)["training"]["executed"])

    assert record(verdict("reproduced", None)) == "reproduced"
    assert record(verdict("audited", 5)) == "audited"
    assert record(verdict("audited", 3)) == "audited"
    assert stored() == 5
    assert record(verdict("reproduced", None)) == "audited"
    record(verdict("audited", 7))
    assert stored() == 7
    assert recorded_states()["ab" * 32] == "audited"


def test_a_result_without_an_audit_is_written_as_before(tmp_path: Path) -> None:
    one = Result.model_validate(plain_result())
    assert b'"audit"' not in one.text()
    sealed = one.model_copy(update={"content_sha256": one.content_hash()})
    assert content_hash(sealed.text()) == sealed.content_sha256
    with_audit = one.model_copy(update={"audit": TrainingAudit(every=4, segments=6, root="ab" * 32)})
    write_result(with_audit, tmp_path / "result.json")
    again = read_result(tmp_path / "result.json")
    assert again.audit == with_audit.audit
    assert "6 segments of 4 steps, root abababababab" in str(again)


def test_spot_needs_a_run_and_an_audit(home: Path) -> None:
    path = home.parent / "result.json"
    write_result(Result.model_validate(plain_result()), path)
    with pytest.raises(UsageError, match=r"no training of .* can be executed again"):
        verify(path, None, spot=1)
    with pytest.raises(UsageError, match=r"no training of .* can be executed again"):
        verify(path, home, spot=1)
    assert command(str(path), "--spot", "0")[0] == 1
    assert os.listdir(home.parent) == ["result.json"]
