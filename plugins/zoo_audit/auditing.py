"""Executing segments of a run's training again, and what that shows."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from zoo_audit.challenge import Plan, plan, power_lines
from zoo_audit.curves import Curves, curves_of, whole_records
from zoo_audit.digest import state_sha256
from zoo_audit.machine import differences, machine_of, threads_of
from zoo_audit.segments import Trainer, deviation
from zoo_audit.trace import Trace, about_run, boundaries, kept_state, read_trace
from zoo_core.config import RunConfig, flatten
from zoo_core.errors import DivergedError, MachineError
from zoo_core.registry.resolution import resolve
from zoo_core.results import Reexecution, Result
from zoo_core.results.reexecution import Outcome
from zoo_core.runs import load_data, saved_config
from zoo_core.runs.checkpoints import places
from zoo_core.training import checkpoint
from zoo_core.training.checkpoint import Checkpoint

TOLERANCE = 0.1
"""Distance of two ends of a segment, relative to the way of the weights in it, that counts as consistent."""
ORDER: tuple[Outcome, ...] = get_args(Outcome)
"""From the best outcome to the worst."""


@dataclass(frozen=True)
class Found:
    """What one segment has shown."""

    outcome: Outcome
    line: str


def audited(result: Result, folder: Path, spot: int, challenge: bytes | None = None) -> Reexecution:
    """Execute segments of a run's training again: the first, the last, and `spot` others drawn at random.

    Args:
        result: of the run, with its `audit`.
        folder: of the run, with the states that it kept.
        spot: segments to draw.
        challenge: random bytes; fresh ones of this machine if None. Only those are worth anything: whoever
            knows them while training forges elsewhere.

    Raises:
        UsageError: where the run has no trace.
    """
    trace = read_trace(folder)
    fresh = secrets.token_bytes(32) if challenge is None else challenge
    segments = len(trace.states)
    wrong = misstated(result, folder, trace)
    if wrong:
        return Reexecution("refuted", segments, (), fresh.hex(), (wrong,))
    made = plan(segments, spot, fresh, trace.root())
    with threads_of(trace.machine):
        auditor = Auditor(result, folder, trace)
        if auditor.wrong:
            return Reexecution("refuted", segments, (), fresh.hex(), (auditor.wrong,))
        found = [auditor.check(index) for index in made.executed]
    lines = (*_challenge_lines(made, fresh), *(one.line for one in found), *power_lines(made))
    worst = max((one.outcome for one in found), key=ORDER.index)
    return Reexecution(worst, segments, made.executed, fresh.hex(), lines)


def misstated(result: Result, folder: Path, trace: Trace) -> str:
    """Return in what a trace is not the one that a result was fixed to; "" where it is."""
    if not trace.states or result.audit != trace.commitment():
        return "audit: the states that the run has kept are not those of the result: another root"
    if dict(trace.run) != about_run(saved_config(folder), result.data.sha256):
        return "audit: the states are those of another run"
    return ""


def trained_config(folder: Path, trace: Trace) -> RunConfig:
    """Return the config that a run was trained with: that of its folder may have another evaluation by now.

    Raises:
        Mistakes: where the trace names options that there are not.
    """
    device = {"device": "cpu"} if trace.machine.get("device") == "cpu" else {}
    return resolve({"config": str(folder), **flatten({"eval": trace.evaluation}), **device})


def _challenge_lines(made: Plan, challenge: bytes) -> list[str]:
    drawn = ", ".join(str(k + 1) for k in made.drawn) or "none"
    return [
        f"audit: {made.segments} segments; challenge {challenge.hex()}",
        f"audit: executed again: the first, the last, and of the {made.between} between: {drawn}",
    ]


class Auditor:
    """Checks segments of one training.

    Attributes:
        wrong: why the trace can't be one of this training; "" where it can.
    """

    def __init__(self, result: Result, folder: Path, trace: Trace) -> None:
        self.folder, self.trace = folder, trace
        self.config = config = trained_config(folder, trace)
        self.trainer = Trainer(config, load_data(config), folder)
        self.curves: Curves | None = curves_of(result, folder)
        self.unlike = differences(trace.machine, machine_of(self.trainer.device))
        expected = boundaries(self.trainer.steps, trace.every)
        same = [step for step, _ in trace.states] == expected
        self.wrong = "" if same else f"audit: the states are not those after {len(expected)} segments"

    def check(self, index: int) -> Found:
        """Execute one segment again and compare where it ends with the recorded state."""
        last = index == len(self.trace.states) - 1
        begin, end = 0 if index == 0 else self.trace.states[index - 1][0], self.trace.states[index][0]
        name = f"segment {index + 1} (steps {begin:,} to {end:,})"
        try:
            start = None if index == 0 else self._state(index - 1)
            recorded = self._state(index) if last else None
        except MachineError as error:
            return Found("unverified", f"{name}: {error.what}")
        for what, state, place in (("starts", start, index - 1), ("ends", recorded, index)):
            if state is not None and not self._is_recorded(state, place):
                return Found("refuted", f"{name}: {what} at another state than the one that was hashed")
        try:
            again = self.trainer.execute(start, None if last else end)
        except (DivergedError, MachineError) as error:
            return Found("refuted", f"{name}: can't be executed: {error.what}")
        if state_sha256(again.end) == self.trace.states[index][1]:
            return self._same(name, whole_records(again.logged, begin, self.config, self.trace))
        if not self.unlike and self.trainer.device.type == "cpu":
            return Found("refuted", f"{name}: ends at another state, on the same machine and threads")
        try:
            recorded = self._state(index)
        except MachineError as error:
            return Found("unverified", f"{name}: {error.what}")
        if not self._is_recorded(recorded, index):
            return Found("refuted", f"{name}: ends at another state than the one that was hashed")
        apart = deviation(recorded, again)
        unlike = f" ({'; '.join(self.unlike)})" if self.unlike else ""
        text = f"{name}: ends {apart:.3g} of its way from the recorded state{unlike}"
        return Found("consistent" if apart <= TOLERANCE else "unverified", text)

    def _same(self, name: str, logged: Mapping[int, Mapping[str, float]]) -> Found:
        count, wrong = (0, []) if self.curves is None else self.curves.compared(logged)
        if wrong:
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            return Found("refuted", f"{name}: {wrong[0]}{more}")
        exact: Outcome = "exact" if self.trainer.device.type == "cpu" else "consistent"
        return Found(exact, f"{name}: the same, bit for bit; {count} points of curves agree")

    def _state(self, index: int) -> Checkpoint:
        """Return a recorded state as the run kept it; the last one is the checkpoint that was scored.

        Raises:
            MachineError: where it is missing or damaged.
        """
        if index < len(self.trace.states) - 1:
            return checkpoint.load(kept_state(self.folder, self.trace.states[index][0]))
        return checkpoint.load(places(self.folder)[-1])

    def _is_recorded(self, state: Checkpoint, index: int) -> bool:
        """Return whether a state is the one that was hashed, after as many steps as the trace says."""
        step, sha256 = self.trace.states[index]
        counts = state.state.get("counts")
        total = counts.get("total") if isinstance(counts, dict) else None
        return state_sha256(state) == sha256 and total == step
