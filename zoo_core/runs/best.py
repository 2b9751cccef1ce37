"""The best checkpoint of a run by its scores on the validation part; the ranked one is always the last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from zoo_core.config import strict_json
from zoo_core.errors import PluginError
from zoo_core.events import Events
from zoo_core.interfaces import RunView
from zoo_core.machine.files import write_atomic
from zoo_core.runs.run import Run
from zoo_core.training import checkpoint

FOLDER, RECORD = "best", "best.json"
"""In a run's folder: the checkpoint, and the step, column and value that selected it."""


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
        found = strict_json.mapping_or_empty(made.dir / RECORD)
        known = found if found.get("step", 0) <= made.harness.counts.total else {}
        if found and not known and first:  # of later steps than a resume starts from: it is found again there
            shutil.rmtree(made.dir / FOLDER, ignore_errors=True)
        self.value = float(known.get("value", "inf"))
        self.column = str(known.get("column", ""))

    def score(self, step: int) -> bool:
        """Score the run, and return whether no earlier score is as good."""
        values: Any = self.events.first("zoo_validate", run=self.made)
        if not values:
            raise PluginError("no plugin scores a run on its validation part", "next: eval.every=0")
        named = {f"validation/{column}": float(value) for column, value in values.items()}
        self.events.tell("zoo_log", run=self.view, step=step, values=named)
        self.column, value = next(iter(values.items()))
        better = value < self.value
        self.value = min(value, self.value)
        return better

    def keep(self, metadata: Mapping[str, str]) -> Callable[[int, checkpoint.Checkpoint], None]:
        """Return what keeps a checkpoint as the best."""

        def keep(step: int, kept: checkpoint.Checkpoint) -> None:
            if self.first:
                checkpoint.save(self.made.dir / FOLDER, step, kept, metadata, keep=1)
                record = {"step": step, "column": self.column, "value": self.value, "split": "validation"}
                write_atomic(self.made.dir / RECORD, json.dumps(record).encode())

        return keep
