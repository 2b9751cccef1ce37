"""Many jobs over a launcher's slots: what is done is skipped, what was killed is tried again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from zoo_core.errors import MachineError, UsageError, ZooError, guess
from zoo_core.launch.jobs import Handle, Job, Launcher, Outcome, by_signal, signal_name, state_of
from zoo_core.launch.process import POLL_S
from zoo_core.machine.faults import machine_error
from zoo_core.registry.spec import load_target
from zoo_core.runs.lock import held
from zoo_core.runs.signals import Signals

ATTEMPTS = 3
"""Of a job that a signal ends again and again; out of memory is the usual reason."""

GRACE_S = 60.0
"""Between asking jobs to save and end, and ending them."""

LAUNCHERS = {
    "local": "zoo_core.launch.local:Local",
    "ray": "zoo_core.launch.ray_cluster:Ray",
    "slurm": "zoo_core.launch.slurm:Slurm",
}


def make_launcher(name: str, slots: int | None, resources: Mapping[str, str]) -> Launcher:
    """Return the launcher of a name.

    Raises:
        UsageError: for an unknown name or resource.
        MachineError: where it is not there.
    """
    if name not in LAUNCHERS:
        raise UsageError(
            f"no launcher {name!r}",
            guess(name, LAUNCHERS, "--launcher {}"),
            f"expected: {', '.join(LAUNCHERS)}",
        )
    launcher: Launcher = load_target(LAUNCHERS[name])(slots, resources)
    return launcher


class Watcher(Protocol):
    """Receives the progress of jobs."""

    def started(self, job: Job, attempt: int) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...

    def tick(self, running: Sequence[Job], waiting: int) -> None: ...


@dataclass
class _Running:
    handle: Handle
    attempt: int


class Queue:
    """Runs jobs on a launcher.

    Args:
        jobs: in the order in which they start; two of one folder are one.
        launcher: where they run.
        watcher: told how they go.
    """

    def __init__(self, jobs: Sequence[Job], launcher: Launcher, watcher: Watcher) -> None:
        self.jobs = list({job.folder: job for job in jobs}.values())
        self.launcher = launcher
        self.watcher = watcher
        self.outcomes: dict[Job, Outcome] = {}
        self._waiting = list(self.jobs)
        self._running: dict[Job, _Running] = {}
        self._attempts: dict[Job, int] = {}
        self._since: dict[Job, float] = {}

    def run(self) -> tuple[list[Outcome], int | None]:
        """Do all jobs.

        Returns:
            (the outcome of each job, in their order; the signal that ended the work early, or None).
        """
        with self._ended_at_last(), Signals() as signals:
            signals.deferred = True
            while (self._waiting or self._running) and signals.received is None:
                self._start()
                self._collect()
                self.watcher.tick(list(self._running), len(self._waiting))
                time.sleep(POLL_S)
            if signals.received is not None:
                self._stop()
            for job in self.jobs:
                self.outcomes.setdefault(job, Outcome(job, "not started", 128 + (signals.received or 0)))
            return [self.outcomes[job] for job in self.jobs], signals.received

    @contextlib.contextmanager
    def _ended_at_last(self) -> Iterator[None]:
        """End all jobs that still run when the block ends; where it raises, ask them to save first."""
        try:
            yield
        except BaseException:
            handles = [running.handle for running in self._running.values()]
            for handle in handles:
                handle.stop()
            deadline = time.monotonic() + GRACE_S
            while any(handle.poll() is None for handle in handles) and time.monotonic() < deadline:
                time.sleep(POLL_S)
            raise
        finally:
            for running in self._running.values():
                running.handle.kill()

    def _start(self) -> None:
        # A folder that another process holds (a launcher that was killed leaves jobs that are saving) waits.
        for job in list(self._waiting):
            if len(self._running) >= self.launcher.slots or not self.launcher.has_space():
                return
            try:
                if held(job.folder):
                    continue
            except OSError as error:
                self._waiting.remove(job)
                self._fail(job, error)
                continue
            self._waiting.remove(job)
            self._since.setdefault(job, time.monotonic())
            attempt = self._attempts[job] = self._attempts.get(job, 0) + 1
            try:
                if job.done():
                    self._end(job, Outcome(job, "done before" if attempt == 1 else "done", 0, attempt - 1))
                    continue
                handle = self.launcher.start(job)
            except (ZooError, OSError) as error:
                self._fail(job, error)
                continue
            self._running[job] = _Running(handle, attempt)
            self.watcher.started(job, attempt)

    def _fail(self, job: Job, error: ZooError | OSError) -> None:
        """Record that a job could not be started; the others go on."""
        fault = error if isinstance(error, ZooError) else machine_error(error) or MachineError(str(error))
        attempt = self._attempts.get(job, 0)
        self._end(job, Outcome(job, state_of(fault.status), fault.status, attempt, 0.0, fault.what))

    def _collect(self) -> None:
        for job, running in list(self._running.items()):
            status = running.handle.poll()
            if status is None:
                continue
            del self._running[job]
            if by_signal(status) and running.attempt < ATTEMPTS:
                self._waiting.insert(0, job)
            else:
                self._end(job, self._outcome(job, status, running.attempt))

    def _outcome(self, job: Job, status: int, attempts: int) -> Outcome:
        seconds = time.monotonic() - self._since[job]
        note = ""
        if by_signal(status):
            times = f" {attempts} times" if attempts > 1 else ""
            note = f"ended by {signal_name(status)}{times}; see {job.log}"
        elif status:
            note = job.last_error()
        return Outcome(job, state_of(status), status, attempts, seconds, note)

    def _end(self, job: Job, outcome: Outcome) -> None:
        self.outcomes[job] = outcome
        self.watcher.ended(outcome)

    def _stop(self) -> None:
        """Ask all to save and end, wait for them, then end them."""
        for running in self._running.values():
            running.handle.stop()
        deadline = time.monotonic() + GRACE_S
        while self._running and time.monotonic() < deadline:
            for job, running in list(self._running.items()):
                status = running.handle.poll()
                if status is not None:
                    del self._running[job]
                    outcome = self._outcome(job, status, running.attempt)
                    note = outcome.note if status and not by_signal(status) else ""
                    state = "interrupted" if by_signal(status) else outcome.state
                    self._end(job, Outcome(job, state, status, outcome.attempts, outcome.seconds, note))
            time.sleep(POLL_S)


def first_status(outcomes: Sequence[Outcome]) -> int:
    """Return the first status that is not 0, or 0."""
    return next((outcome.status for outcome in outcomes if outcome.status), 0)
