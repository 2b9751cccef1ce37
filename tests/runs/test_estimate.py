"""Estimates of time and samples: by a clock of the test's own, and without a trace in the run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from zoo_core.cli import invoke
from zoo_core.runs import estimate, rehearsal
from zoo_core.runs.estimate import Estimate, FirstSteps, Rehearsed, Sampling, duration, sampling
from zoo_core.training import checkpoint, footprint

WORDS = [
    "run",
    "plugin=wgan-gp",
    "preset=tiny",
    "train.steps=40",
    "train.ema.decay=0.9",
    "eval.protocol=none",
    "track.wandb=off",
    "track.plots=false",
]


class Clock:
    """Time that passes where the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(estimate, "time", one)
    monkeypatch.setattr(estimate, "replace", lambda request, steps: Request(request.n, steps))
    return one


def fake(clock: Clock, cost: Callable[[int, int], float], batch: int = 500, steps: int = 1) -> Any:
    """Return a run whose batch of n samples in k sampler steps takes cost(n, k) seconds."""

    def samples(request: Any) -> Any:
        used = request.steps or steps
        clock.now += cost(request.n, used)
        drawn.append((request.n, used))
        return SimpleNamespace(calls=2 * used)

    drawn: list[tuple[int, int]] = []
    config = SimpleNamespace(sample=SimpleNamespace(batch_size=batch))
    return SimpleNamespace(config=config, request=lambda r: Request(len(r)), samples=samples, drawn=drawn)


class Request(SimpleNamespace):
    def __init__(self, n: int, steps: int | None = None) -> None:
        super().__init__(n=n, steps=steps)


def test_samples_of_a_whole_batch_are_timed_where_there_is_time(clock: Clock) -> None:
    """0.1 s a batch and 1 ms a sample: 20 batches of 500 take 12 s; a line through 2 samples says 500 s."""
    made = fake(clock, lambda n, k: 0.1 + 0.001 * n)
    found = sampling(made, Rehearsed(2, 2, 3.0), 4.0)
    assert found == Sampling(pytest.approx(12.0), at_most=False)
    assert [n for n, _ in made.drawn] == [2, 8, 32, 128, 500]


def test_a_few_of_many_sampler_steps_are_timed(clock: Clock) -> None:
    """250 steps of 2 calls each: 4 steps are drawn, and scaled by the calls."""
    made = fake(clock, lambda n, k: k * (0.01 + 0.001 * n), steps=250)
    found = sampling(made, Rehearsed(2, 500, 3.0), 8.0)
    assert found == Sampling(pytest.approx(20 * 250 * 0.51), at_most=False)
    assert {k for _, k in made.drawn} == {4}


def test_samples_take_no_more_than_the_time_there_is(clock: Clock) -> None:
    made = fake(clock, lambda n, k: 0.01 * n)
    found = sampling(made, Rehearsed(2, 2, 0.02), 0.5)
    assert clock.now <= 0.5
    assert [n for n, _ in made.drawn] == [2, 8, 32]
    assert found == Sampling(pytest.approx(100.0), at_most=True)
    assert sampling(made, Rehearsed(2, 2, 1.0), 0.5) is None  # it may be all loading
    assert sampling(made, Rehearsed(2, 2, 60.0), 0.5) == Sampling(300_000, at_most=True)


def test_steps_that_a_sampler_refuses_leave_what_is_known(clock: Clock) -> None:
    def refuses(n: int, k: int) -> float:
        raise ValueError("50 steps or none")

    made = fake(clock, refuses, steps=50)
    assert sampling(made, Rehearsed(2, 100, 10.0), 8.0) == Sampling(50_000, at_most=True)


def steps(clock: Clock, seconds: float, whole: int, stages: int = 1) -> list[str]:
    """Return what is told of stages of `whole` steps that take `seconds` each, the first one 30 s more."""
    lines: list[str] = []
    counts = SimpleNamespace(stage=0, seconds=0.0)
    harness = SimpleNamespace(counts=counts, stage_steps=[whole] * stages, stages=[None] * stages)
    made = SimpleNamespace(harness=harness, say=lines.append, device=torch.device("meta"))
    watch = FirstSteps(made, None, lambda step: None)  # type: ignore[arg-type]
    clock.now += 30
    for step in range(1, stages * whole + 1):
        counts.stage = (step - 1) // whole
        clock.now += seconds
        watch(step)
    return lines


def test_the_first_steps_give_the_time_of_all(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a first step that loads code and is counted, and a second line."""
    monkeypatch.setattr(estimate, "peak_bytes", lambda device: int(2.1e9))
    assert steps(clock, 0.1, 8400) == ["about 14 min, 2.1 GB"]
    assert steps(clock, 3.0, 20) == ["about 60 s, 2.1 GB"]
    assert steps(clock, 0.1, 8400, 2) == [f"stage {k} of 2: about 14 min, 2.1 GB" for k in (1, 2)]
    assert steps(clock, 0.1, 90) == []


def test_an_estimate_is_a_line_for_people() -> None:
    whole = Estimate(14 * 60, int(2.1e9), Sampling(40.2, False))
    assert whole.line == "about 14 min, 2.1 GB; sampling 10,000: 40 s"
    assert Estimate(None, None, None).line == "no training"
    assert Estimate(5, None, Sampling(7200, True)).line == "about 5 s; sampling 10,000: at most 2.0 h"
    seconds = (0.3, 1, 99, 100, 5900, 6000, 86400, 200_000)
    texts = ["under 1 s", "1 s", "99 s", "2 min", "98 min", "1.7 h", "24.0 h", "2.3 days"]
    assert [duration(one) for one in seconds] == texts


def bytes_of(folder: Path) -> tuple[dict[str, str], Any]:
    last = sorted((folder / "checkpoints").glob("step-*"))[-1]
    names = (checkpoint.WEIGHTS, checkpoint.EMA)
    sums = {name: hashlib.sha256((last / name).read_bytes()).hexdigest() for name in names}
    state = checkpoint.load(last).state["end"]
    state["counts"].pop("seconds")
    return sums, state


def test_a_run_is_the_same_with_and_without_its_estimate(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, EMA weights, states of optimizers and of every generator; all that an estimate does is on."""
    measured: list[Any] = []
    monkeypatch.setattr(rehearsal, "check_memory", lambda one: measured.append(footprint.check_memory(one)))
    assert invoke([*WORDS, "track.progress=false", "run_dir=without"]) == 0
    assert not measured
    monkeypatch.setattr(rehearsal, "PLENTY", 1e12)
    for name in ("TIMED", "SHORT"):
        monkeypatch.setattr(estimate, name, 0.0)
    monkeypatch.setattr(estimate, "SPENT", 1e6)
    assert invoke([*WORDS, "run_dir=with"]) == 0
    assert len(measured) == 1
    assert "sampling 10,000:" in capsys.readouterr().err
    without, estimated = bytes_of(Path("without")), bytes_of(Path("with"))
    assert without[0] == estimated[0]
    assert repr(without[1]) == repr(estimated[1])


def test_a_dry_run_prints_an_estimate_and_trains_nothing_that_stays(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo_core.launch.forecast.SECONDS", 0.1)
    assert invoke([*WORDS, "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "sampling 10,000:" in told.err
    assert "about" not in told.out
    assert not (home / "runs").exists()
    monkeypatch.setattr(rehearsal, "PLENTY", 1e12)
    monkeypatch.setattr(footprint, "free_bytes", lambda device: 5_000_000)
    large = "train.batch_size=4096"
    assert invoke([*WORDS, large, "--dry-run"]) == 5
    assert "next: train.accumulate=" in capsys.readouterr().err
    assert invoke([*WORDS, large, "run_dir=here"]) == 5
    assert not list(Path("here").glob("checkpoints/step-*"))
    assert invoke([*WORDS, "data=folder", "data.path=nowhere", "--dry-run"]) == 0
    assert "no estimate:" in capsys.readouterr().err
