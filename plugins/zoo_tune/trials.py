"""What is known of a search, in one file that is replaced whole after each event: `search.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from zoo_core.config import strict_json
from zoo_core.errors import UsageError
from zoo_core.machine.files import write_atomic

SCHEMA = 1
"""Of search.json; raised when a field changes its meaning."""
MILESTONES = (1, 3, 9)
"""Ninths of a trial's training steps after which it is scored; after the last one it has all its steps."""

State = Literal["running", "done", "stopped", "failed", "memorizes", "out of budget"]


@dataclass(frozen=True)
class Score:
    """A trial's score at a milestone.

    Attributes:
        steps: training steps done.
        value: of the metric that selects.
        loss: the same, where lower is better.
        memorization: largest excess fraction of samples close to the training data.
        train_seconds: of training since the last score.
        score_seconds: of sampling and scoring.
        anew: whether training began again, because an option is a function of the number of steps.
    """

    steps: int
    value: float
    loss: float
    memorization: float | None
    train_seconds: float
    score_seconds: float
    anew: bool = False


@dataclass
class Trial:
    """One choice of options.

    Attributes:
        number: from 0.
        options: dotted name -> value, of the options that are searched.
        steps: training steps that its budget allows; 0 until they are planned.
        plan_seconds: that planning took: its speed is measured.
        scores: one a milestone.
        state: what has become of it.
        reason: why it failed.
        lost_seconds: of an attempt that failed.
    """

    number: int
    options: dict[str, Any]
    steps: int = 0
    plan_seconds: float = 0.0
    scores: list[Score] = field(default_factory=list)
    state: State = "running"
    reason: str = ""
    lost_seconds: float = 0.0

    @property
    def steps_done(self) -> int:
        """Training steps at the last score."""
        return self.scores[-1].steps if self.scores else 0

    @property
    def seconds(self) -> float:
        """Measured compute: planning, training and scoring."""
        spent = (one.train_seconds + one.score_seconds for one in self.scores)
        return self.plan_seconds + self.lost_seconds + sum(spent)


@dataclass
class Record:
    """A search as its file has it.

    Attributes:
        metric: column that selects, as scored on validation; "" until the first score.
        space: option -> text.
        trials: in their order.
    """

    metric: str = ""
    space: Mapping[str, str] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Measured compute of all trials."""
        return sum(trial.seconds for trial in self.trials)

    def count(self, *states: State) -> int:
        """Return how many trials are in one of these states."""
        return sum(trial.state in states for trial in self.trials)


def read_record(path: Path) -> Record | None:
    """Return the search in a file; None where there is no file.

    Raises:
        UsageError: for a file that is not a search.
    """
    if not path.exists():
        return None
    try:
        found = strict_json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA:
            raise ValueError
        trials = [
            Trial(**{**one, "scores": [Score(**score) for score in one["scores"]]}) for one in found["trials"]
        ]
        return Record(found["metric"], found["space"], trials)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{path} is not the record of a search", "next: remove it") from error


def write_record(record: Record, path: Path) -> None:
    """Write a search into its file, whole or not at all.

    Raises:
        MachineError: where it can't be written.
    """
    text = json.dumps({"schema": SCHEMA, **asdict(record)}, indent=1)
    write_atomic(path, text.encode(), parents=True)


def best(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the best last score among those that got furthest; None where none has a score.

    Trials that failed, or in which memorization was detected, are left out, whatever their scores.
    """
    able = [trial for trial in trials if trial.scores and trial.state not in ("failed", "memorizes")]
    furthest = max((len(trial.scores) for trial in able), default=0)
    last = [trial for trial in able if len(trial.scores) == furthest]
    return min(last, key=lambda trial: trial.scores[-1].loss, default=None)
