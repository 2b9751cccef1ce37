"""A whole run under faults: killed, interrupted, locked, listened to by something broken."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from zoo_core.cli import main
from zoo_core.errors import DivergedError, Interrupted, MachineError, PluginError
from zoo_core.events import Events, hookimpl
from zoo_core.job import locked, resume, run
from zoo_core.registry.manager import manager
from zoo_core.resolution import resolve
from zoo_core.tracking import trackers

WORDS = [
    "plugin=wgan",
    "preset=tiny",
    "train.steps=60",
    "train.checkpoint_every=7",
    "eval.protocol=none",
    "track.wandb=off",
    "track.pictures=false",
    "track.progress=false",
]

spawn = multiprocessing.get_context("forkserver")
spawn.set_forkserver_preload(["zoo_core.job", "zoo_gan.wgan", "zoo_core.data.digits", "sklearn.datasets"])


def job(folder: str) -> Any:
    """Return a process that is a `zoo run` of its own, forked from one that has imported everything."""
    return spawn.Process(target=main, args=(["run", *WORDS, f"run_dir={folder}"],))


def final_bytes(folder: Path) -> dict[str, str]:
    last = sorted((folder / "checkpoints").glob("step-*"))[-1]
    files = [last / "weights.safetensors", last / "ema.safetensors"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_a_run_killed_at_20_random_moments_ends_in_the_same_bytes(home: Path) -> None:
    """SIGKILL at any moment, then the same command again, until it is done: nothing is lost or moved."""
    started = time.monotonic()
    whole = job("whole")
    whole.start()
    whole.join()
    assert whole.exitcode == 0
    took = time.monotonic() - started
    expected = final_bytes(Path("whole"))
    moments = random.Random(0)
    kills = 0
    for attempt in range(60):
        folder = f"killed-{attempt}"
        while kills < 20:
            child = job(folder)
            child.start()
            child.join(moments.uniform(0.1 * took, 0.9 * took))
            if child.is_alive():
                os.kill(child.pid, signal.SIGKILL)
                kills += 1
            child.join()
            if child.exitcode == 0:
                break
        child = job(folder)
        child.start()
        child.join()
        assert child.exitcode == 0
        assert final_bytes(Path(folder)) == expected
        records = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
        steps = [record["step"] for record in records]
        assert steps == sorted(set(steps))
        if kills == 20:
            break
    assert kills == 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(number: signal.Signals, home: Path) -> None:
    words = [w for w in WORDS if not w.startswith(("train.steps", "track.progress"))] + ["train.steps=100000"]
    command = [sys.executable, "-m", "zoo_core.cli", "run", *words, "run_dir=here"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any((Path("here") / "checkpoints").glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(number)
    told = child.communicate(timeout=30)[1]
    assert child.returncode == 128 + number
    assert "next: zoo run resume=here" in told
    assert "Traceback" not in told
    state = json.loads((Path("here") / "run.json").read_text())
    assert state["state"] == "interrupted"
    assert any((Path("here") / "checkpoints").glob("step-*"))


def test_a_resume_uses_the_saved_config_and_ends_like_an_uninterrupted_run(home: Path) -> None:
    class Stop:
        @hookimpl
        def zoo_log(self, run: Any, step: int, values: Mapping[str, float]) -> None:
            if step == 30:
                os.kill(os.getpid(), signal.SIGTERM)

    run(resolve([*WORDS, "train.log_every=10", "run_dir=whole"]))
    name = manager().pm.register(Stop())
    try:
        with pytest.raises(Interrupted) as caught:
            run(resolve([*WORDS, "train.log_every=10", "run_dir=cut"]))
    finally:
        manager().pm.unregister(name=name)
    assert caught.value.status == 143
    resume("cut")
    assert final_bytes(Path("cut")) == final_bytes(Path("whole"))


def test_a_second_run_in_the_same_folder_is_told_at_once(home: Path) -> None:
    with (
        locked(Path("here")),
        pytest.raises(MachineError, match="another process") as caught,
        locked(Path("here")),
    ):
        pass
    assert caught.value.status == 5
    with locked(Path("here")):  # the lock of one that ended is free
        pass


def test_a_listener_that_fails_is_dropped_and_changes_nothing(home: Path) -> None:
    """The bytes are those of a run without it, which a dead tracker must not move either."""

    class Broken:
        @hookimpl
        def zoo_run_started(self, run: Any) -> None:
            random.seed(1)
            raise SystemExit(3)

        @hookimpl
        def zoo_log(self, run: Any, step: int, values: Mapping[str, float]) -> None:
            raise RuntimeError("boom")

    run(resolve([*WORDS, "run_dir=plain"]))
    name = manager().pm.register(Broken())
    try:
        run(resolve([*WORDS, "run_dir=broken"]))
    finally:
        manager().pm.unregister(name=name)
    assert final_bytes(Path("plain")) == final_bytes(Path("broken"))


def test_events_give_each_listener_what_it_asks_for() -> None:
    heard: list[tuple[str, int]] = []

    class Listening:
        @hookimpl
        def zoo_log(self, step: int) -> None:
            heard.append(("log", step))

    said: list[str] = []
    events = Events(manager(), said.append)
    with events.listening([Listening()]):
        events.tell("zoo_log", run=None, step=4, values={})
    events.tell("zoo_log", run=None, step=5, values={})
    assert heard == [("log", 4)]
    assert said == []


@pytest.mark.parametrize("hook", ["zoo_preflight", "zoo_score"])
@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(0)])
def test_a_hook_that_must_answer_and_raises_is_named(hook: str, error: BaseException, home: Path) -> None:
    """Catches a plugin that ends the process, and a run that is called finished without its score."""

    def fail(run: Any) -> None:
        raise error

    fail.__name__ = hook
    name = manager().pm.register(type("Broken", (), {hook: staticmethod(hookimpl(fail))})())
    words = [w.replace("eval.protocol=none", "eval.baselines=false") for w in WORDS]
    try:
        with pytest.raises(PluginError, match=hook) as caught:
            run(resolve([*words, "run_dir=here"]))
    finally:
        manager().pm.unregister(name=name)
    assert caught.value.status == 4
    assert json.loads((Path("here") / "run.json").read_text())["state"] == "failed"


def test_the_first_result_is_taken_and_no_other_scorer_runs(home: Path) -> None:
    """Catches every scorer run, and all but one thrown away: an evaluation takes minutes."""
    called: list[str] = []
    events = Events(manager(), print)

    def scorer(name: str, answer: Any) -> Any:
        def zoo_score(run: Any) -> Any:
            called.append(name)
            return answer

        return type(name, (), {"zoo_score": staticmethod(hookimpl(zoo_score))})()

    names = [
        manager().pm.register(scorer(name, answer))
        for name, answer in (("late", "late"), ("early", "early"), ("abstains", None))
    ]
    try:
        assert events.first("zoo_score", run=None) == "early"
    finally:
        for name in names:
            manager().pm.unregister(name=name)
    assert called == ["abstains", "early"]


def test_a_diverged_run_is_recorded_and_keeps_its_last_good_checkpoint(home: Path) -> None:
    with pytest.raises(DivergedError):
        run(
            resolve(
                [
                    "plugin=wgan",
                    "data=moons",
                    "preset=tiny",
                    "model.clip=1e30",
                    "optim.critic.lr=1e20",
                    "optim.generator.lr=1e20",
                    "eval.protocol=none",
                    "track.wandb=off",
                    "track.pictures=false",
                    "run_dir=here",
                ]
            )
        )
    assert json.loads((Path("here") / "run.json").read_text())["state"] == "diverged"
    assert not (Path("here") / "result.json").exists()


def test_metrics_lines_torn_by_a_kill_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert trackers.read_metrics(path) == [{"step": 1}, {"step": 2}]


def wandb_files(folder: Path) -> list[Path]:
    return list(folder.glob("wandb/offline-run-*/run-*.wandb"))


def test_wandb_is_offline_without_a_key_and_moves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    words = [w for w in WORDS if not w.startswith("track.wandb")]
    with contextlib.suppress(FileNotFoundError):
        (Path.home() / ".netrc").stat()
        pytest.skip("this machine may hold a W&B key")
    run(resolve([*words, "run_dir=tracked"]))
    run(resolve([*WORDS, "run_dir=plain"]))
    assert len(wandb_files(Path("tracked"))) == 1
    assert final_bytes(Path("tracked")) == final_bytes(Path("plain"))


def test_a_dead_wandb_never_kills_a_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def dead(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(wandb, "init", dead)
    words = [w for w in WORDS if not w.startswith("track.wandb")]
    run(resolve([*words, "run_dir=here"]))
    assert json.loads((Path("here") / "run.json").read_text())["state"] == "finished"
