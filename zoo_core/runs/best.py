"""The best checkpoint of a run by its scores on the validation part; the ranked one is always the last."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo_core.config import RunConfig, strict_json
from zoo_core.errors import MachineError, PluginError, UsageError
from zoo_core.events import Events
from zoo_core.interfaces import RunView
from zoo_core.machine.files import write_atomic
from zoo_core.results import Selection, recorded
from zoo_core.results.result import canonical_json
from zoo_core.runs.checkpoints import owner
from zoo_core.runs.lengths import length_selection
from zoo_core.runs.run import Run
from zoo_core.training import checkpoint

FOLDER, RECORD = "best", "best.json"
"""In a run's folder: the checkpoint; every score, and the step, column and value that selected it."""


class Best:
    """Scores a run during training, logs the curve, and keeps the best checkpoint in `best/`.

    Args:
        made: in training.
        view: that listeners are given.
        events: told of each score, in the first process alone.
        first: whether this is the first process.
    """

    def __init__(self, made: Run, view: RunView, events: Events, first: bool) -> None:
        self.made, self.view, self.events, self.first = made, view, events, first
        found, done = strict_json.mapping_or_empty(made.dir / RECORD), made.harness.counts.total
        known = found if found.get("step", 0) <= done else {}
        if found and not known and first:  # of later steps than a resume starts from: it is found again there
            shutil.rmtree(made.dir / FOLDER, ignore_errors=True)
        self.step = int(known.get("step", 0))
        self.value = float(known.get("value", "inf"))
        self.column = str(known.get("column", ""))
        self.scores = [one for one in found.get("scores", ()) if one["step"] <= done]

    def score(self, step: int) -> bool:
        """Score the run, and return whether no earlier score is as good."""
        start = time.monotonic()
        values: Any = self.events.first("zoo_validate", run=self.made)
        if not values:
            raise PluginError("no plugin scores a run on its validation part", "next: eval.every=0")
        named = {f"validation/{column}": float(value) for column, value in values.items()}
        self.events.tell("zoo_log", run=self.view, step=step, values=named)
        self.column, value = next(iter(values.items()))
        seconds = round(time.monotonic() - start, 3)
        self.scores.append({"step": step, "value": float(value), "seconds": seconds})
        better: bool = value < self.value
        if better:
            self.step, self.value = step, value
        elif self.step:
            self._record()
        return better

    def keep(self, metadata: Mapping[str, str]) -> Callable[[int, checkpoint.Checkpoint], None]:
        """Return what keeps a checkpoint as the best."""

        def keep(step: int, kept: checkpoint.Checkpoint) -> None:
            if self.first:
                of = owner(self.made.config)
                checkpoint.save(self.made.dir / FOLDER, step, kept, metadata, keep=1, run=of)
                self._record()

        return keep

    def _record(self) -> None:
        if self.first:
            record = {"step": self.step, "column": self.column, "value": self.value, "split": "validation"}
            text = json.dumps({**record, "scores": self.scores})
            write_atomic(self.made.dir / RECORD, text.encode())


def checkpoints_of(folder: Path, config: RunConfig) -> Path:
    """Return the folder whose newest checkpoint a config samples from."""
    return folder / (FOLDER if config.sample.checkpoint == "best" else "checkpoints")


def check_best(config: RunConfig) -> None:
    """Refuse to sample from the best checkpoint of a run that keeps none.

    Raises:
        UsageError: naming the option that makes it keep one.
    """
    if config.sample.checkpoint == "last":
        return
    if not 0 < config.eval.every <= config.train.steps:
        raise UsageError(
            f"sample.checkpoint=best: a run with eval.every={config.eval.every} and "
            f"train.steps={config.train.steps} keeps no best checkpoint",
            "expected: eval.every=N, at most train.steps, and data.validation=0.1",
        )
    if config.sample.ema_length is not None:
        raise UsageError(
            "sample.checkpoint=best and sample.ema_length were given: each is selected by itself",
            "expected: one of them",
        )


def best_checkpoint(folder: Path, say: Callable[[str], None]) -> tuple[Path, checkpoint.Checkpoint]:
    """Return the best checkpoint of the run in a folder, and say how it was selected.

    Raises:
        MachineError: where it is missing or corrupt.
    """
    how = best_selection(folder)
    found = checkpoint.latest(folder / FOLDER, say)
    if found is None:
        raise _missing(folder)
    say(f"{found[0].name}: {how.line}, {how.value:.4g}")
    return found


def best_selection(folder: Path) -> Selection:
    """Return how the best checkpoint of the run in a folder was selected.

    Raises:
        MachineError: where the folder does not say it.
    """
    try:
        record = strict_json.mapping_or_empty(folder / RECORD)
        scores = record["scores"]
        steps = canonical_json({"step": [one["step"] for one in scores]})
        return Selection(
            trials=len(scores),
            metric=record["column"],
            value=record["value"],
            space_sha256=hashlib.sha256(steps.encode()).hexdigest(),
            seconds=round(sum(one["seconds"] for one in scores), 3),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise _missing(folder) from error


def selection_of(folder: Path, config: RunConfig) -> Selection | None:
    """Return how the options or the weights of a run were selected; None where nothing was.

    Args:
        folder: of the run.
        config: under which it is scored.

    Raises:
        UsageError, MachineError: where the record of the selection is missing or is none.
    """
    if config.sample.checkpoint == "best":
        return best_selection(folder)
    length = config.sample.ema_length
    chosen = None if length is None else length_selection(folder, length)
    return chosen or recorded(Selection, folder)


def _missing(folder: Path) -> MachineError:
    return MachineError(
        f"{folder} has no best checkpoint: {FOLDER}/ or {RECORD} is missing",
        "expected: the folder of a run trained with eval.every=N and data.validation=0.1",
        "next: sample.checkpoint=last",
    )
