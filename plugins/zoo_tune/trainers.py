"""Where trials are trained: in this process, one after another, or as jobs of a launcher."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from zoo_core.config import RunConfig, flatten, strict_json
from zoo_core.errors import Interrupted, MachineError, ZooError
from zoo_core.launch.jobs import Job, Outcome
from zoo_core.registry.resolution import plain, resolve
from zoo_tune import milestone
from zoo_tune.metrics import Metric
from zoo_tune.search import Failure, Measured, Planned
from zoo_tune.trials import Trial

SEEDS = 1_000_000
"""Seeds of trials begin here: a run that is ranked never has one of them."""
T = TypeVar("T", Planned, Measured)


class Folders:
    """Trials with their options and folders.

    Args:
        base: config of every trial, with a validation part.
        root: folder that holds a folder for each trial.
        metric: that selects.
        seed: of the search.
    """

    def __init__(self, base: RunConfig, root: Path, metric: Metric, seed: int = 0) -> None:
        self.base, self.root, self.metric, self.seed = base, root, metric, seed

    def folder(self, trial: Trial) -> Path:
        """Return the folder of a trial; it may not exist."""
        return self.root / f"{trial.number:04}"

    def chosen(self, trial: Trial) -> dict[str, Any]:
        """Return a trial's own options: those that are searched, and seeds that no other trial has."""
        own = SEEDS + 10_000 * self.seed + trial.number
        return {**trial.options, "seed": own, "sample.seed": own}

    def options(self, trial: Trial) -> dict[str, Any]:
        """Return all options of a trial, by dotted name."""
        return milestone.options_of(self.base, self.chosen(trial), trial.steps)

    def clean(self, trial: Trial) -> None:
        """Remove the runs of a trial that has ended, and those before its last score of one that goes on."""
        keep = milestone.RUN.format(trial.steps_done) if trial.state == "running" else ""
        for path in self.folder(trial).glob(milestone.RUN.format("*")):
            if path.name != keep:
                shutil.rmtree(path, ignore_errors=True)


class Here(Folders):
    """Trains in this process, one trial after another."""

    slots = 1

    def plan(self, trials: Sequence[Trial], seconds: float | None) -> list[Planned | Failure]:
        """See `search.Trainer`."""
        return [_attempt(partial(_planned, self, trial, seconds)) for trial in trials]

    def advance(self, trials: Sequence[Trial], steps: Sequence[int]) -> list[Measured | Failure]:
        """See `search.Trainer`."""

        def one(trial: Trial, n: int) -> Measured:
            return milestone.advance(
                self.options(trial), n, self.folder(trial), trial.steps_done, self.metric
            )

        pairs = zip(trials, steps, strict=True)
        return [_attempt(partial(one, trial, n)) for trial, n in pairs]


def _planned(where: Folders, trial: Trial, seconds: float | None) -> Planned:
    if seconds is None:
        return Planned(_own_steps(where, trial), 0.0)
    return milestone.plan(where.base, where.chosen(trial), seconds)


def _own_steps(where: Folders, trial: Trial) -> int:
    return resolve({**flatten(plain(where.base)), **where.chosen(trial)}).train.steps


def _attempt(work: Callable[[], T]) -> T | Failure:
    start = time.monotonic()
    try:
        return work()
    except (Interrupted, MachineError):
        raise
    except Exception as error:  # a plugin may raise anything; the other trials go on
        text = error.what if isinstance(error, ZooError) else f"{type(error).__name__}: {error}"
        return Failure(text.partition("\n")[0][:200], time.monotonic() - start)


class Jobs(Folders):
    """Trains each trial in a process of its own, through a launcher.

    Args:
        folders: the trials.
        slots: trials at once.
        run: does jobs and returns what has become of each.
    """

    def __init__(
        self, folders: Folders, slots: int, run: Callable[[Sequence[Job]], Sequence[Outcome]]
    ) -> None:
        super().__init__(folders.base, folders.root, folders.metric, folders.seed)
        self.slots, self._run = slots, run

    def plan(self, trials: Sequence[Trial], seconds: float | None) -> list[Planned | Failure]:
        """See `search.Trainer`."""
        if seconds is None:
            return [_attempt(partial(_planned, self, trial, None)) for trial in trials]
        base = plain(self.base)
        tasks = [{"kind": "plan", "base": base, "chosen": self.chosen(t), "seconds": seconds} for t in trials]
        return self._answers(Planned, trials, tasks, ["plan.json"] * len(trials))

    def advance(self, trials: Sequence[Trial], steps: Sequence[int]) -> list[Measured | Failure]:
        """See `search.Trainer`."""
        tasks = [
            {
                "kind": "advance",
                "options": self.options(trial),
                "steps": n,
                "before": trial.steps_done,
                "metric": self.metric.name,
            }
            for trial, n in zip(trials, steps, strict=True)
        ]
        return self._answers(Measured, trials, tasks, [f"steps-{n}.json" for n in steps])

    def _answers(
        self, kind: type[T], trials: Sequence[Trial], tasks: Sequence[Mapping[str, Any]], names: Sequence[str]
    ) -> list[T | Failure]:
        jobs = []
        for trial, task, name in zip(trials, tasks, names, strict=True):
            folder = self.folder(trial).absolute()
            milestone.write_task(folder, {**task, "answer": name})
            job = Job(
                f"trial {trial.number + 1}",
                "zoo_tune.milestone",
                (str(folder),),
                folder,
                (folder / name).exists,
            )
            jobs.append(job)
        return [
            _answer(kind, outcome, outcome.job.folder / name)
            for outcome, name in zip(self._run(jobs), names, strict=True)
        ]


def _answer(kind: type[T], outcome: Outcome, path: Path) -> T | Failure:
    """Return what a job wrote; its failure where it wrote nothing.

    Raises:
        MachineError: where the machine is at fault.
    """
    if outcome.state in ("machine", "not started", "interrupted"):
        raise MachineError(f"{outcome.job.name}: {outcome.state}: {outcome.note}", f"see: {outcome.job.log}")
    if outcome.status:
        return Failure(outcome.note or outcome.state, outcome.seconds)
    found = strict_json.mapping_or_empty(path)
    return kind(**{field.name: found[field.name] for field in dataclasses.fields(kind)})
