"""What a run will take, told soon after its first steps: time of training, memory, time of samples.

The steps that are timed are the run's own, so the estimate costs no training and can't change the run; only
samples are drawn for it, as sample grids are, for at most 2 % of the time that training takes. A run that
takes a few seconds is over before an estimate is of use, and draws none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from zoo_core.machine.memory import peak_bytes, shown
from zoo_core.runs.run import Run

SAMPLES = 10_000
"""Samples whose cost is told."""
TIMED = 1.0
"""Least seconds of steps that an estimate is made from."""
SHORT = 10.0
"""Seconds of training of a run that gets no estimate."""
SPENT = 0.02
"""Fraction of the time of training that may be spent on drawing samples for the estimate."""
LOADING = 5.0
"""Seconds of the very first samples that may have gone into loading code."""
FEW = 4
"""Sampler steps that are timed of a sampler with many; all take the same time."""


@dataclass(frozen=True)
class Rehearsed:
    """The first samples of a run.

    Attributes:
        n: how many.
        calls: model evaluations for each (NFE).
        seconds: that they took.
    """

    n: int
    calls: int
    seconds: float


@dataclass(frozen=True)
class Sampling:
    """What `SAMPLES` samples take.

    Attributes:
        seconds: of all.
        at_most: whether it takes less, as no batch of the size of those to come could be timed.
    """

    seconds: float
    at_most: bool


@dataclass(frozen=True)
class Estimate:
    """What a run takes on this machine.

    Attributes:
        train_seconds: of training; None where there is none.
        memory: bytes at the highest, of the process or of tensors on a GPU; None where that is unknown.
        sampling: of `SAMPLES` samples; None where it was not measured.
        what: is estimated, where it is not the whole run: "stage 1 of 2".
    """

    train_seconds: float | None
    memory: int | None
    sampling: Sampling | None
    what: str = ""

    @property
    def line(self) -> str:
        """The estimate for people: "about 14 min, 2.1 GB; sampling 10,000: 40 s"."""
        parts = ["no training" if self.train_seconds is None else f"about {duration(self.train_seconds)}"]
        parts += [] if self.memory is None else [shown(self.memory)]
        line = f"{self.what}: " * bool(self.what) + ", ".join(parts)
        if self.sampling is not None:
            bound = "at most " * self.sampling.at_most
            line += f"; sampling {SAMPLES:,}: {bound}{duration(self.sampling.seconds)}"
        return line


def duration(seconds: float) -> str:
    """Return a duration for people: "under 1 s", "40 s", "14 min", "2.5 h", "3.0 days"."""
    for unit, size, upto in (("s", 1, 99.5), ("min", 60, 99.5), ("h", 3600, 48)):
        if seconds / size < upto:
            n = seconds / size
            return "under 1 s" if n < 0.95 else f"{n:.1f} {unit}" if unit == "h" else f"{n:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"


def sampling(made: Run, first: Rehearsed, most: float) -> Sampling | None:
    """Return about how long `SAMPLES` samples take, in batches of `sample.batch_size`.

    Ever larger batches are drawn, for at most `most` seconds. The time of a batch that is not reached is
    taken to be in proportion, which is too long where many samples are computed at once. Of a sampler with
    many steps a few are timed. Random states are restored after.

    Returns:
        None where there was no time for any, and the first samples took little besides loading code.
    """
    batch = min(made.config.sample.batch_size, SAMPLES)
    steps = FEW if first.calls > 4 * FEW else None
    whole, reached, n, spent = first.seconds, first.n, min(first.n, batch), 0.0
    guess = first.seconds * (FEW / first.calls if steps else 1)
    while (reached < batch or not spent) and spent + guess <= most:
        start = time.perf_counter()
        try:
            calls = made.samples(replace(made.request(range(n)), steps=steps)).calls
        except Exception:  # steps that the sampler refuses, or memory: what is known so far is told
            break
        took = time.perf_counter() - start
        spent += took
        whole, reached = took * (first.calls / max(1, calls) if steps else 1), n
        n = min(4 * n, batch)
        guess = took * n / reached
    if not spent and whole < LOADING:
        return None
    return Sampling(whole * SAMPLES / reached, reached < batch)


class FirstSteps:
    """Times the first steps of each stage and tells the estimate; a listener's `step`.

    Args:
        made: in training.
        first: its first samples, where they were timed.
        then: called at every step.
    """

    def __init__(self, made: Run, first: Rehearsed | None, then: Callable[[int], None]) -> None:
        self.made, self.first, self.then = made, first, then
        self.stage = -1
        self.waiting = True
        self.begun: tuple[float, int] | None = None

    def __call__(self, step: int) -> None:
        self.then(step)
        counts = self.made.harness.counts
        if counts.stage != self.stage:
            self.stage, self.waiting, self.begun = counts.stage, True, None
        if self.waiting:
            self._time(step, time.perf_counter())

    def _time(self, step: int, now: float) -> None:
        if self.begun is None:  # the step before loaded kernels and made the states of optimizers
            self.begun = now, step
            return
        seconds, steps = now - self.begun[0], step - self.begun[1]
        if seconds < TIMED or steps < 2:
            return
        self.waiting = False
        harness = self.made.harness
        whole = seconds / steps * harness.stage_steps[self.stage]
        if whole < SHORT:
            return
        samples = None
        if self.first is not None and self.stage == 0:
            samples = sampling(self.made, self.first, SPENT * whole)
            harness.counts.seconds -= time.perf_counter() - now  # samples are not training
        several = len(harness.stages) > 1
        what = f"stage {self.stage + 1} of {len(harness.stages)}" if several else ""
        self.made.say(Estimate(whole, peak_bytes(self.made.device), samples, what).line)


def estimated(made: Run, first: Rehearsed | None, then: Callable[[int], None]) -> Any:
    """Return what is called at every step: `then`, with an estimate where progress is shown."""
    return FirstSteps(made, first, then) if made.config.track.progress else then
