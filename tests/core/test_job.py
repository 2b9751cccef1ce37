"""A whole run under faults: killed, interrupted, locked, listened to by something broken."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import zoo_core.home
from zoo_core.errors import DivergedError, Interrupted, MachineError, PluginError, UsageError
from zoo_core.events import Events, hookimpl, trackers
from zoo_core.machine import terminal
from zoo_core.machine.faults import attributed
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.results import RunResult
from zoo_core.runs.job import resume, run
from zoo_core.runs.lock import locked
from zoo_core.runs.signals import Signals

WORDS = [
    "plugin=wgan",
    "preset=tiny",
    "train.steps=60",
    "train.checkpoint_every=7",
    "eval.protocol=none",
    "track.wandb=off",
    "track.plots=false",
    "track.progress=false",
]

spawn = multiprocessing.get_context("forkserver")
spawn.set_forkserver_preload(
    ["zoo_core.runs.job", "zoo_gan.wgan", "zoo_core.data.digits", "sklearn.datasets", "torch._dynamo"]
)


LOGGED = """
import os
from zoo_core.cli import main
os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
main(words)
"""


def job(folder: str, *words: str, log: str = os.devnull) -> Any:
    """Return a process that is a `zoo run` of its own, forked from one that has imported everything.

    Its target is importable there, which this module is not; its standard error goes to the file `log`.
    """
    names = {"log": log, "words": ["run", *(words or WORDS), f"run_dir={folder}"]}
    return spawn.Process(target=exec, args=(LOGGED, names))


def final_bytes(folder: Path) -> dict[str, str]:
    last = sorted((folder / "checkpoints").glob("step-*"))[-1]
    files = [last / "weights.safetensors", last / "ema.safetensors"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("kill_count", [3, pytest.param(20, marks=pytest.mark.slow(depends=("zoo_core",)))])
def test_a_run_killed_at_random_moments_ends_in_the_same_bytes(kill_count: int, home: Path) -> None:
    """SIGKILL at any moment, then the same command again, until it is done: nothing is lost or moved."""
    warm = spawn.Process(target=exec, args=("", {}))  # the imports of the fork server are not timed
    warm.start()
    warm.join()
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
        while True:
            child, started = job(folder), time.monotonic()
            child.start()
            if kills < kill_count:
                child.join(moments.uniform(0.1 * took, 0.9 * took))
                if child.is_alive():
                    os.kill(child.pid, signal.SIGKILL)
                    kills += 1
            child.join()
            if child.exitcode == 0:
                break
            assert child.exitcode == -signal.SIGKILL
        took = min(took, time.monotonic() - started)  # the machine may be less busy than it was at first
        assert final_bytes(Path(folder)) == expected
        records = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
        steps = [record["step"] for record in records]
        assert steps == sorted(set(steps))
        if kills == kill_count:
            break
    assert kills == kill_count


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_saves_and_says_how_to_go_on(number: signal.Signals, home: Path) -> None:
    words = [w for w in WORDS if not w.startswith(("train.steps", "track.progress"))] + ["train.steps=100000"]
    child = job("here", *words, log="log.txt")
    child.start()
    deadline = time.monotonic() + 240
    while not any((Path("here") / "checkpoints").glob("step-*")) and time.monotonic() < deadline:
        assert child.is_alive()
        time.sleep(0.05)
    os.kill(child.pid, number)
    child.join(240)
    told = Path("log.txt").read_text()
    assert child.exitcode == 128 + number, told
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
    received: list[tuple[str, int]] = []

    class Listening:
        @hookimpl
        def zoo_log(self, step: int) -> None:
            received.append(("log", step))

    said: list[str] = []
    events = Events(manager(), said.append)
    with events.listening([Listening()]):
        events.tell("zoo_log", run=None, step=4, values={})
    events.tell("zoo_log", run=None, step=5, values={})
    assert received == [("log", 4)]
    assert said == []


def test_events_of_a_run_within_a_run_do_not_reach_the_listeners_of_the_outer_one() -> None:
    """Catches a tracker that takes a baseline for its own run, and one that is lost afterwards."""
    received: list[tuple[str, int]] = []

    class Listening:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def zoo_log(self, step: int) -> None:
            received.append((self.name, step))

    outer, inner = (Events(manager(), print) for _ in range(2))
    with outer.listening([Listening("run")]), outer.listening([Listening("score")]):
        outer.tell("zoo_log", run=None, step=1, values={})
        with inner.listening([Listening("baseline")]):
            inner.tell("zoo_log", run=None, step=2, values={})
        with pytest.raises(ValueError, match="already"), inner.listening([same := Listening("twice"), same]):
            pass
        outer.tell("zoo_log", run=None, step=3, values={})
    outer.tell("zoo_log", run=None, step=4, values={})
    names = ("run", "score")
    assert sorted(received) == [("baseline", 2), *((name, step) for name in names for step in (1, 3))]
    assert manager().trackers == {}


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
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
                    "track.plots=false",
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


@pytest.mark.slow(depends=("zoo_core",))
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


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
def test_a_dead_wandb_never_kills_a_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def dead(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(wandb, "init", dead)
    words = [w for w in WORDS if not w.startswith("track.wandb")]
    run(resolve([*words, "run_dir=here"]))
    assert json.loads((Path("here") / "run.json").read_text())["state"] == "finished"


class Broken:
    """A stream that fails at every write."""

    encoding = "utf-8"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error

    def isatty(self) -> bool:
        raise self.error


class Prints:
    """A listener that prints at every record, as a third party's may."""

    @hookimpl
    def zoo_log(self, run: Any, step: int, values: Mapping[str, float]) -> None:
        print("out", step, flush=True)
        print("err", step, file=sys.stderr, flush=True)


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
@pytest.mark.parametrize(
    "stream",
    [
        None,
        Broken(BrokenPipeError(32, "Broken pipe")),
        Broken(OSError(28, "full")),
        Broken(ValueError("closed")),
    ],
)
def test_nothing_printed_ends_a_run(stream: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [word for word in WORDS if not word.startswith("track.progress")]
    name = manager().pm.register(Prints())
    try:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", stream)
            patched.setattr(sys, "stderr", stream)
            run(resolve([*words, "train.log_every=10", "run_dir=here"]))
    finally:
        manager().pm.unregister(name=name)
    assert json.loads(Path("here/run.json").read_text())["state"] == "finished"
    assert len(trackers.read_metrics(Path("here/metrics.jsonl"))) == 10


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_what_a_terminal_cannot_encode_is_replaced(encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    terminal.Guarded(stream).write("FD \u2193 1\n")
    stream.flush()
    assert stream.buffer.getvalue() == b"FD ? 1\n"  # type: ignore[attr-defined]


def test_nohup_stays_in_force() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGUSR1) != signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_service_managers_may_send_two_signals() -> None:
    with Signals() as signals:
        signals.deferred = True
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received == signal.SIGTERM


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
@pytest.mark.parametrize("corrupt", [1, 2])
def test_corrupt_checkpoints_are_set_aside_and_the_resume_ends(corrupt: int, home: Path) -> None:
    """Catches a corrupt folder that stays in the way: the run then fails at its end, for ever."""
    run(resolve([*WORDS, "run_dir=whole"]))
    run(resolve([*WORDS, "run_dir=cut"]))
    expected = final_bytes(Path("whole"))
    Path("cut/run.json").unlink()
    spoiled = sorted(Path("cut/checkpoints").glob("step-*"))[-corrupt:]
    for path in spoiled:
        (path / "weights.safetensors").write_bytes(b"\0" * 100)
    result = resume("cut")
    assert final_bytes(Path("cut")) == expected
    assert result.weights_sha256 == expected["weights.safetensors"]
    recorded = json.loads(Path("cut/run.json").read_text())
    assert recorded["state"] == "finished"
    assert len(recorded["set_aside"]) == corrupt
    for path in spoiled:
        assert path.with_name(f"corrupt-{path.name}").is_dir()
    steps = [record["step"] for record in trackers.read_metrics(Path("cut/metrics.jsonl"))]
    assert steps == sorted(set(steps))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A scored run."""
    folder = tmp_path_factory.mktemp("scored") / "run"
    words = [w for w in WORDS if not w.startswith("eval.")] + ["eval.baselines=false", "train.log_every=20"]
    return run(resolve([*words, f"run_dir={folder}"]))


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
@pytest.mark.parametrize(
    ("name", "text"),
    [("result.json", text) for text in ("", "{", "[1]", "\xff", "[" * 100_000)]
    + [(name, text) for name in ("run.json", "provenance.json") for text in ("[1]", "[" * 100_000)],
)
def test_damaged_files_are_made_again_and_damaged_records_are_left_out(
    name: str, text: str, scored: RunResult, home: Path
) -> None:
    shutil.copytree(scored.run_dir, "here")
    Path("here", name).write_text(text, encoding="latin-1")
    with open("here/metrics.jsonl", "ab") as file:
        file.write(text.encode("latin-1") + b'\n{"step": "x"}\n\xfe\n{"loss": 1}\n')
    again = resume("here")
    assert again.weights_sha256 == scored.weights_sha256
    assert again.metrics == scored.metrics
    assert again.cost.steps == 60
    assert [r["step"] for r in trackers.read_metrics(Path("here/metrics.jsonl"))] == [
        1,
        2,
        4,
        8,
        16,
        20,
        40,
        60,
    ]


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
@pytest.mark.parametrize("cost", ["[1]", "7", '{"steps": "many"}', '{"nonsense": 1}'])
def test_a_damaged_cost_of_an_unscored_run_is_counted_again(cost: str, home: Path) -> None:
    expected = run(resolve([*WORDS, "run_dir=here"])).cost
    record = json.loads(Path("here/run.json").read_text())
    Path("here/run.json").write_text(json.dumps({**record, "cost": json.loads(cost)}))
    assert resume("here").cost.steps == expected.steps == 60


def test_records_wait_for_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a record lost, torn or written twice, and a warning at each."""
    told: list[str] = []
    here = types.SimpleNamespace(dir=tmp_path, warn=told.append)
    jsonl = trackers.Jsonl()
    jsonl.zoo_run_started(here)
    appended = trackers._append

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    for step in range(1, 6):
        monkeypatch.setattr(trackers, "_append", full if step in (2, 3) else appended)
        jsonl.zoo_log(here, step, {"loss": 1.0})
    assert [r["step"] for r in trackers.read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]
    assert len(told) == 1


def test_a_log_of_any_size_is_not_read_into_memory(tmp_path: Path) -> None:
    """Catches a MemoryError from a file with a hole of a terabyte."""
    log = tmp_path / "metrics.jsonl"
    with open(log, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="too large"):
        trackers.read_metrics(log)


def test_a_failure_in_scoring_says_how_to_continue(home: Path) -> None:
    def fail(run: Any) -> None:
        raise UsageError("no extractor")

    fail.__name__ = "zoo_score"
    name = manager().pm.register(type("Scorer", (), {"zoo_score": staticmethod(hookimpl(fail))})())
    words = [w.replace("eval.protocol=none", "eval.baselines=false") for w in WORDS]
    try:
        with pytest.raises(UsageError, match="zoo run resume=here"):
            run(resolve([*words, "run_dir=here"]))
    finally:
        manager().pm.unregister(name=name)


def test_sampling_and_likelihoods_are_tried_before_training(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo_vae.vae import VAE

    def broken(self: Any, x: Any, *, noise: Any, k: int) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(VAE, "likelihoods", broken)
    words = ["plugin=vae", "preset=tiny", "track.wandb=off", "eval.baselines=false", "run_dir=here"]
    with pytest.raises(PluginError, match=r"'vae' failed in likelihoods\(\)") as caught:
        run(resolve(words))
    assert caught.value.status == 4
    assert not any(Path("here").glob("checkpoints/step-*"))


@pytest.mark.parametrize("device", ["mps", "meta", "xpu", "cuda:77", "toaster"])
def test_a_device_that_torch_lacks_is_refused_first(device: str, home: Path) -> None:
    with pytest.raises((MachineError, UsageError), match="device"):
        run(resolve([*WORDS, f"device={device}", "run_dir=here"]))
    assert not Path("here/config.yaml").exists()


def test_no_home_directory_says_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(MachineError, match="ZOO_HOME"):
        zoo_core.home.home()


def test_a_full_disk_in_a_plugin_is_the_machines_fault_and_a_bug_the_plugins() -> None:
    full = attributed(OSError(28, "No space left on device", "x"), "toy", "while sampling")
    assert (full.status, "x" in str(full)) == (5, True)
    bug = attributed(KeyError("k"), "toy", "while sampling")
    assert bug.status == 4
    assert "'toy' failed while sampling: KeyError" in str(bug)
    own = UsageError("mine")
    assert attributed(own, "toy", "while sampling") is own


def test_wandb_continues_the_same_run_and_imports_raise_nothing(home: Path) -> None:
    from wandb.sdk.lib import import_hooks

    started: list[str] = []

    class Hears:
        @hookimpl
        def zoo_run_started(self, run: Any) -> None:
            started.append(json.loads((run.dir / "wandb.json").read_text())["id"])
            hooks = [
                h for by_run in import_hooks._post_import_hooks.values() for h in by_run if h == started[-1]
            ]
            assert hooks == []
            started.append("checked")

        @hookimpl
        def zoo_log(self, run: Any, step: int, values: Mapping[str, float]) -> None:
            if step == 30 and len(started) == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    words = [w for w in WORDS if not w.startswith("track.wandb")] + ["train.log_every=10", "run_dir=here"]
    name = manager().pm.register(Hears())
    try:
        with pytest.raises(Interrupted):
            run(resolve(words))
        resume("here")
    finally:
        manager().pm.unregister(name=name)
    assert [started[0], "checked"] * 2 == started
    files = wandb_files(Path("here"))
    assert {file.stem.removeprefix("run-") for file in files} == {started[0]}


@pytest.mark.slow(depends=("zoo_core", "ci/faults.py"))
def test_faults_at_file_operations_lose_nothing(home: Path) -> None:
    """A small version of ci/faults.py: kills and full disks at a few of its operations."""
    driver = Path(__file__).parents[2] / "ci" / "faults.py"
    command = [sys.executable, str(driver), "--stride", "20", "--offset", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split(" cases, 0 wrong")[0].split()[-1]) >= 12


@pytest.mark.slow(depends=("zoo_core/training", "zoo_core/runs"))
def test_what_was_compiled_is_recorded_and_small_requests_compile_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a note that is lost when a run is scored again, and a sample grid that waits for a compiler."""
    import torch
    from torch import nn

    compile_ = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **how: compile_(self, backend="eager", **how))
    torch._dynamo.reset()
    words = [*(w for w in WORDS if "steps" not in w), "train.steps=4", "train.compile=true", "run_dir=here"]
    run(resolve([*words, "sample.batch_size=6"]))
    note = json.loads(Path("here/provenance.json").read_text())["notes"]["compile"]
    assert "first step" in note
    assert str(home) not in note
    resume("here")
    assert json.loads(Path("here/provenance.json").read_text())["notes"]["compile"] == note
    torch._dynamo.utils.counters.clear()
    frames = torch._dynamo.utils.counters["frames"]
    made = zoo_core.load("here")
    some = made.sample(5)
    assert frames["total"] == 0
    assert torch.allclose(made.sample(13)[:5], some, atol=1e-5)
    assert frames["total"] == frames["ok"] > 0
    told = frames["total"]
    made.sample(8)
    assert frames["total"] == told
