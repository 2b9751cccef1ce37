"""The search: trials are asked for, trained step by step, stopped early, and recorded at each event."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from zoo_eval.verdicts import EXCESS
from zoo_tune.metrics import Metric
from zoo_tune.space import Space, as_plain
from zoo_tune.study import Adviser
from zoo_tune.trials import MILESTONES, Record, Score, State, Trial, read_record, write_record

ANEW = sum(MILESTONES) / MILESTONES[-1]
"""Training of a trial whose milestones are each trained anew, over that of one which is trained further."""
UNKNOWN = 1 / 3
"""Part of a trial's budget that is kept for scoring while no scoring has been measured."""
LEAST = 1 / 10
"""Part of a trial's budget that training has at least, however long scoring takes."""


@dataclass(frozen=True)
class Failure:
    """A trial that could not be trained or scored.

    Attributes:
        reason: one line.
        seconds: that the attempt took.
    """

    reason: str
    seconds: float


@dataclass(frozen=True)
class Planned:
    """How many steps a trial has, and what measuring its speed took."""

    steps: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """What training to a milestone and scoring found: as `trials.Score`, with the column's whole name."""

    column: str
    value: float
    memorization: float | None
    train_seconds: float
    score_seconds: float
    anew: bool = False


class Trainer(Protocol):
    """Trains and scores trials, several at a time where it has places for them.

    An error of the machine, or an interruption, is raised; any other is the trial's failure.
    """

    slots: int

    def plan(self, trials: Sequence[Trial], seconds: float | None) -> Sequence[Planned | Failure]:
        """Return the steps that a budget of training allows each trial; all of them where it is None."""
        ...

    def advance(self, trials: Sequence[Trial], steps: Sequence[int]) -> Sequence[Measured | Failure]:
        """Train each trial from its last score to a number of steps, and score it."""
        ...

    def clean(self, trial: Trial) -> None:
        """Remove what is no longer needed of a trial whose state was recorded."""
        ...


@dataclass(frozen=True)
class Limits:
    """What a search may take.

    Attributes:
        trials: most trials.
        seconds: after which no milestone is begun; None for no limit.
        each: seconds of one trial, which decide its steps; None for the steps of its options.
    """

    trials: int
    seconds: float | None = None
    each: float | None = None


class Search:
    """A search whose state is one file.

    Args:
        path: of the file; a search that is there goes on.
        space: what is searched.
        metric: that selects.
        limits: what it may take.
        seed: of the choice of options.
        first: options of the first trial; None for random ones.
        say: receives a line for each event.

    Raises:
        UsageError: where the file holds something else.
        MachineError: where Optuna is not installed.
    """

    def __init__(
        self,
        path: Path,
        space: Space,
        metric: Metric,
        limits: Limits,
        seed: int = 0,
        first: Mapping[str, Any] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.path, self.metric, self.limits, self.say = path, metric, limits, say
        self.record = read_record(path) or Record(space=as_plain(space))
        self._first = first
        self._adviser = Adviser(space, seed, self.record.trials)

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.limits.seconds is not None and self.record.seconds >= self.limits.seconds

    def run(self, trainer: Trainer) -> Record:
        """Do what is left of the search and return its record.

        Raises:
            Interrupted, MachineError: as the trainer does; the search goes on when it is run again.
        """
        while True:
            running = [trial for trial in self.record.trials if trial.state == "running"]
            unplanned = [trial for trial in running if not trial.steps]
            if self.spent:
                for trial in running:
                    self._end(trial, "out of budget", trainer)
                return self.record
            if unplanned:
                self._plan(unplanned, trainer)
            elif running:
                milestone = min(len(trial.scores) for trial in running)
                self._advance(
                    [trial for trial in running if len(trial.scores) == milestone], milestone, trainer
                )
            elif len(self.record.trials) < self.limits.trials:
                self._begin(min(trainer.slots, self.limits.trials - len(self.record.trials)))
            else:
                return self.record

    def _begin(self, count: int) -> None:
        for number in range(len(self.record.trials), len(self.record.trials) + count):
            known = self._first if number == 0 else None
            self.record.trials.append(Trial(number, self._adviser.ask(number, known)))
        self._save()

    def _plan(self, trials: Sequence[Trial], trainer: Trainer) -> None:
        found = trainer.plan(trials, self._training_budget())
        for trial, one in zip(trials, found, strict=True):
            if isinstance(one, Failure):
                self._fail(trial, one, trainer)
            else:
                trial.steps, trial.plan_seconds = max(1, one.steps), one.seconds
        self._save()

    def _training_budget(self) -> float | None:
        """Return the seconds of training that a trial has, after what scoring takes."""
        each = self.limits.each
        if each is None:
            return None
        scores = [score for trial in self.record.trials for score in trial.scores]
        scoring = (
            len(MILESTONES) * statistics.fmean(s.score_seconds for s in scores) if scores else UNKNOWN * each
        )
        factor = ANEW if any(score.anew for score in scores) else 1.0
        return max(LEAST * each, (each - scoring) / factor)

    def _advance(self, trials: Sequence[Trial], milestone: int, trainer: Trainer) -> None:
        steps = [max(1, trial.steps * MILESTONES[milestone] // MILESTONES[-1]) for trial in trials]
        again = [t for t, n in zip(trials, steps, strict=True) if t.scores and t.scores[-1].steps == n]
        for trial in again:  # so few steps that two milestones are one
            last = trial.scores[-1]
            self._scored(
                trial, Score(last.steps, last.value, last.loss, last.memorization, 0.0, 0.0), trainer
            )
        todo = [(t, n) for t, n in zip(trials, steps, strict=True) if t not in again]
        found = trainer.advance([t for t, _ in todo], [n for _, n in todo]) if todo else []
        for (trial, n), one in zip(todo, found, strict=True):
            if isinstance(one, Measured) and one.column != (self.record.metric or one.column):
                why = f"the trial has {one.column}, and others {self.record.metric}"
                one = Failure(why, one.train_seconds + one.score_seconds)
            if isinstance(one, Failure):
                self._fail(trial, one, trainer)
                continue
            self.record.metric = one.column
            seconds = (one.train_seconds, one.score_seconds)
            loss = self.metric.loss(one.value)
            self._scored(trial, Score(n, one.value, loss, one.memorization, *seconds, one.anew), trainer)

    def _scored(self, trial: Trial, score: Score, trainer: Trainer) -> None:
        """Record a score and decide what becomes of the trial."""
        trial.scores.append(score)
        milestone = len(trial.scores) - 1
        if (score.memorization or 0.0) > EXCESS:
            self._end(trial, "memorizes", trainer)
        elif self._adviser.stops(trial.number, milestone, score.loss):
            self._end(trial, "stopped", trainer)
        elif milestone + 1 == len(MILESTONES):
            self._end(trial, "done", trainer)
        else:
            self._save()
            trainer.clean(trial)
            self.say(f"{self._about(trial)} after {score.steps:,} of {trial.steps:,} steps")

    def _fail(self, trial: Trial, failure: Failure, trainer: Trainer) -> None:
        trial.reason, trial.lost_seconds = failure.reason, failure.seconds
        self._end(trial, "failed", trainer)

    def _end(self, trial: Trial, state: State, trainer: Trainer) -> None:
        trial.state = state
        self._adviser.tell(trial)
        self._save()
        trainer.clean(trial)
        reason = f": {trial.reason}" if trial.reason else ""
        self.say(
            f"{self._about(trial)} after {trial.steps_done:,} steps, {trial.seconds:.1f} s: {state}{reason}"
        )

    def _about(self, trial: Trial) -> str:
        found = f": {self.record.metric} {trial.scores[-1].value:.4g}" if trial.scores else ""
        return f"trial {trial.number + 1} of {self.limits.trials}{found}"

    def _save(self) -> None:
        write_record(self.record, self.path)
