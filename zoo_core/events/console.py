"""Progress of a run on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from zoo_core.errors import Interrupted
from zoo_core.events.dispatch import hookimpl
from zoo_core.interfaces import RunView
from zoo_core.machine import terminal

PLAIN_SECONDS = 5.0
"""Between the lines that are printed where there is no terminal."""
STEPS = "it"
"""Unit of training; its last step is always printed."""
REDRAW_SECONDS = 0.1
"""Between two redraws of the bar: drawing it takes about a millisecond."""


class Console:
    """Progress with rate, time left and the last losses, through training, sampling and scoring.

    Args:
        progress: False prints results and warnings only.
    """

    def __init__(self, progress: bool = True) -> None:
        self.progress = progress
        self.live = progress and terminal.Guarded(sys.stderr).isatty() and not os.environ.get("CI")
        self.done = self.total = 0
        self._bar: Any = None
        self._what = self._unit = self._losses = ""
        self._first = 0
        self._started = self._told = self._next = 0.0

    def say(self, line: str) -> None:
        """Print a line that is of use only to who watches the run."""
        if self.progress:
            self.warn(line)

    def warn(self, line: str) -> None:
        """Print a line to standard error, above the bar; where that is impossible, print nothing."""
        if self._bar is None:
            terminal.tell(line)
            return
        try:
            self._bar.console.print(line, markup=False, highlight=False)
        except Interrupted:
            raise
        except Exception:  # whatever a terminal that is gone raises through rich
            self._bar = None
            terminal.tell(line)

    @hookimpl
    def zoo_run_started(self, run: RunView) -> None:
        self._begin(run.config.plugin, run.step, run.config.train.steps, STEPS)

    def step(self, step: int) -> None:
        """Receive each training step; most calls read the clock and return."""
        self.done = step
        now = time.monotonic()
        if now >= self._next or step == self.total:
            self._tell(now)

    def advance(self, what: str, done: int, total: int, unit: str) -> None:
        """Receive progress of sampling or scoring; another `what` begins a bar of its own."""
        if what != self._what:
            self._begin(what, done, total, unit)
        self.total = total
        self.step(done)

    @hookimpl
    def zoo_log(self, run: RunView, step: int, values: Mapping[str, float]) -> None:
        losses = [f"{k.removesuffix('/loss')} {v:.3g}" for k, v in values.items() if k.endswith("/loss")]
        self._losses = " ".join(losses) or self._losses  # numbers of a hook's own keep the losses

    @hookimpl
    def zoo_run_failed(self, run: RunView, error: BaseException) -> None:
        self._close()

    @hookimpl
    def zoo_run_finished(self, run: RunView) -> None:
        self._close()

    def _begin(self, what: str, done: int, total: int, unit: str) -> None:
        self._close()
        self._what, self._unit, self._losses = what, unit, ""
        self.done = self._first = done
        self.total = total
        self._started = self._told = time.monotonic()
        self._next = self._started + (REDRAW_SECONDS if self.live else PLAIN_SECONDS)
        if self.live and total:
            self._bar = _bar()
            self._bar.add_task(what, total=total, completed=done, rate="", left="", losses="")
            self._bar.start()

    def _tell(self, now: float) -> None:
        """Draw the bar, or print a line; the end closes the bar."""
        rate = (self.done - self._first) / max(now - self._started, 1e-9)
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        ended = self.done >= self.total
        self._next = now + (REDRAW_SECONDS if self.live else PLAIN_SECONDS)
        if self._bar is not None:
            speed = f"{rate:,.1f} {self._unit}/s" if rate > 0 else ""
            shown = {
                "rate": speed,
                "left": clock(now - self._started if ended else left),
            }
            with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
                self._bar.update(self._bar.task_ids[0], completed=self.done, losses=self._losses, **shown)
                self._bar.refresh()
            if ended:
                self._close()
        elif self.progress and not self.live and (self._worth_a_line(now) or (ended and self._unit == STEPS)):
            self._told = now
            line = f"{self._what}: {self.done:,}/{self.total:,} {self._unit}, {rate:.1f} {self._unit}/s"
            line += f", {clock(now - self._started)}" if ended else f", {clock(left)} left"
            self.say(f"{line}, {self._losses}" if self._losses else line)

    def _worth_a_line(self, now: float) -> bool:
        """Return whether a line is printed without a terminal: one every PLAIN_SECONDS."""
        return now - self._told >= PLAIN_SECONDS

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        self._what = ""
        if bar is not None:
            with contextlib.suppress(Exception):  # the terminal may be gone
                bar.stop()


def clock(seconds: float) -> str:
    """Return a duration as 0:05, 1:45 or 2:03:00; "-:--" where it is not known."""
    if seconds == float("inf"):
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar() -> Any:
    """Return a bar that is drawn when it is told to, not by a thread of its own."""
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[losses]}", style="dim"),
        console=RichConsole(stderr=True),
        auto_refresh=False,
    )
