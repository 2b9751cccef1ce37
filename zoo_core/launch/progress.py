"""Progress of jobs: a line for each that ends, and on a terminal a line that is updated."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from zoo_core.launch.jobs import Job, Outcome

REFRESH_S = 1.0


def duration(seconds: float) -> str:
    """Return a duration as it is told: 8 s, 2 min 05 s, 1 h 04 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Lines on standard error: how each job ended; on a terminal also which are at work, and how far.

    Args:
        total: number of jobs.
        out: where to.
    """

    def __init__(self, total: int, out: TextIO | None = None) -> None:
        self.total = total
        self.out = out or sys.stderr
        self._ended = 0
        self._bad = 0
        self._told = 0.0
        self._live = self.out.isatty()

    def started(self, job: Job, attempt: int) -> None:
        if attempt > 1:
            self._line(f"{job.name}: ended by a signal; attempt {attempt}")

    def ended(self, outcome: Outcome) -> None:
        self._ended += 1
        self._bad += bool(outcome.status)
        took = f" in {duration(outcome.seconds)}" if outcome.seconds else ""
        note = f": {outcome.note}" if outcome.note else ""
        self._line(f"[{self._ended}/{self.total}] {outcome.job.name}: {outcome.state}{took}{note}")

    def tick(self, running: Sequence[Job], waiting: int) -> None:
        now = time.monotonic()
        if not self._live:
            return
        if not running and not waiting:
            self.out.write("\r\x1b[K")  # what is printed next starts on a line of its own
            return
        if now - self._told < REFRESH_S:
            return
        self._told = now
        counts = f"{self._ended} of {self.total} ended"
        counts += f", {self._bad} badly" if self._bad else ""
        at_work = ", ".join(f"{job.name} {job.step()}/{job.steps}" for job in running)
        width = shutil.get_terminal_size().columns - 1
        self.out.write("\r\x1b[K" + f"{counts} | {at_work or 'waiting for a folder that is held'}"[:width])
        self.out.flush()

    def _line(self, text: str) -> None:
        clear = "\r\x1b[K" if self._live else ""
        print(f"{clear}{text}", file=self.out, flush=True)


def table_rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Return a row for each job: name, state, attempts, time, note."""
    return [
        [
            outcome.job.name,
            outcome.state,
            str(outcome.attempts),
            duration(outcome.seconds) if outcome.seconds else "",
            outcome.note,
        ]
        for outcome in outcomes
    ]


HEAD = ("job", "state", "attempts", "took", "note")


def counted(outcomes: Sequence[Outcome]) -> str:
    """Return how many ended how: "7 done, 1 diverged"."""
    return ", ".join(f"{n} {state}" for state, n in Counter(o.state for o in outcomes).items())
