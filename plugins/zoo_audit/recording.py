"""Keeping and hashing the states of a training while it runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo_audit.digest import state_sha256
from zoo_audit.machine import machine_of
from zoo_audit.trace import FOLDER, Trace, about_run, boundaries, kept_state, read_trace, write_trace
from zoo_core.config import strict_json
from zoo_core.data.identity import BYTES, RECORD
from zoo_core.errors import UsageError, ZooError
from zoo_core.events import hookimpl
from zoo_core.interfaces import RunView
from zoo_core.registry.resolution import plain
from zoo_core.results import write_record
from zoo_core.results.files import AUDIT
from zoo_core.training import checkpoint


class Recorder:
    """Keeps the state of a run every `train.audit` steps, and writes the root of their hashes at the end.

    A state is a checkpoint, so keeping it is a link to its files. A run that can't be audited (several
    processes; continued from a state that was not kept) is trained as ever, and its result has no audit.
    """

    def __init__(self) -> None:
        self._trace: Trace | None = None

    @hookimpl
    def zoo_run_started(self, run: RunView) -> None:
        machine = machine_of(run.device)
        try:
            if machine["processes"] > 1:
                raise UsageError("several processes train it")
            if run.step and _is_ended(run):
                return
            self._trace = self._continued(run, machine) if run.step else self._begun(run, machine)
        except ZooError as error:
            (run.dir / AUDIT).unlink(missing_ok=True)
            run.warn(f"warning: the training is not audited: {error.what}")

    def _begun(self, run: RunView, machine: Mapping[str, Any]) -> Trace:
        shutil.rmtree(run.dir / FOLDER, ignore_errors=True)
        (run.dir / AUDIT).unlink(missing_ok=True)
        config = run.config
        about = about_run(config, data_sha256(run.dir))
        trace = Trace(about, plain(config)["eval"], machine, config.train.audit)
        write_trace(trace, run.dir)
        return trace

    def _continued(self, run: RunView, machine: Mapping[str, Any]) -> Trace:
        """Return the trace up to the step from which a run continues.

        Raises:
            UsageError: where a state before that step was not kept, or another machine kept it.
        """
        trace = read_trace(run.dir)
        states = tuple((step, sha256) for step, sha256 in trace.states if step <= run.step)
        every, steps = run.config.train.audit, [step for step, _ in states]
        before = range(every, run.step + 1, every)
        if trace.every != every or [step for step in steps if step % every == 0] != list(before):
            raise UsageError(f"its states before step {run.step:,} were not kept every {every:,} steps")
        if trace.machine != machine:
            raise UsageError("its steps so far were trained on another machine or with other threads")
        resumed = trace.resumed if run.step in trace.resumed else (*trace.resumed, run.step)
        return replace(trace, states=states, resumed=resumed)

    @hookimpl
    def zoo_checkpoint(self, run: RunView, step: int, path: str) -> None:
        trace = self._trace
        if trace is None:
            return
        saved = checkpoint.load(Path(path))
        ended = checkpoint.END in saved.state
        if step % trace.every and not ended:
            return
        states = tuple(state for state in trace.states if state[0] < step)
        self._trace = trace = replace(trace, states=(*states, (step, state_sha256(saved))))
        if not ended:
            _keep(Path(path), kept_state(run.dir, step))
        write_trace(trace, run.dir)
        if ended and [state[0] for state in trace.states] == boundaries(step, trace.every):
            write_record(trace.commitment(), run.dir)
            run.say(f"audit: {trace.commitment().line}")

    @hookimpl
    def zoo_run_finished(self, run: RunView) -> None:
        if self._trace is not None and not (run.dir / AUDIT).exists():
            run.warn("warning: the training is not audited: a state or its end was not kept")


def data_sha256(folder: Path) -> str:
    """Return the hash of a run's data, as its folder records it."""
    return str(strict_json.read(folder / RECORD, BYTES)["sha256"])


def _is_ended(run: RunView) -> bool:
    """Return whether a run was trained, and its trace written, before."""
    return (run.dir / AUDIT).exists() and read_trace(run.dir).states[-1][0] == run.step


def _keep(source: Path, place: Path) -> None:
    """Link the files of a checkpoint into a folder of their own; copy them where links are not possible."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for file in source.iterdir():
        try:
            os.link(file, place / file.name)
        except OSError:
            shutil.copyfile(file, place / file.name)
