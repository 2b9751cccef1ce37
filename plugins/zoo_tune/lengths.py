"""The length of a run's EMA weights, selected after training by a score on the validation part.

Every length is scored with the same noise, which no other score has; the test split is not read. The length
of training is always among those that are compared, and the result of the run stays that of this length.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from zoo_core.config import SampleConfig
from zoo_core.errors import UsageError
from zoo_core.machine.terminal import untold
from zoo_core.results import Selection, recorded
from zoo_core.results.result import canonical_json
from zoo_core.runs import Run, load
from zoo_core.runs.exchange import run_folder
from zoo_core.runs.lengths import residual_of, use_length, write_length
from zoo_eval.validation import validate, validation_data

AMONG = (0.03, 0.05, 0.07, 0.1, 0.14, 0.2)
"""Lengths that are compared by default: from the shortest to the longest that snapshots span, a factor of
about 1.4 apart."""
HEAD = ("length", "residual", "{} on validation")


@dataclass(frozen=True)
class Scored:
    """EMA weights of one length.

    Attributes:
        length: sigma_rel.
        residual: of the profile of snapshots; 0 for the average that training kept.
        value: score on the validation part, the lower the better.
    """

    length: float
    residual: float
    value: float


@dataclass(frozen=True)
class Chosen:
    """What was compared and selected.

    Attributes:
        column: that selects.
        trained: the length of training.
        scores: of each length, in their order.
        best: that was selected.
        how: the record of the selection.
        folder: of the run.
    """

    column: str
    trained: float
    scores: Sequence[Scored]
    best: Scored
    how: Selection
    folder: Path

    def rows(self) -> list[list[str]]:
        """Return a row for each length; `*` marks the selected one."""
        return [
            [
                f"{one.length:g}{' (training)' if one.length == self.trained else ''}"
                f"{' *' if one is self.best else ''}",
                f"{one.residual:.2%}",
                f"{one.value:.4g}",
            ]
            for one in self.scores
        ]

    def lines(self) -> list[str]:
        """Return what was selected, and what to do with it."""
        selected = f"selected: {self.best.length:g}, {self.how.line}: {self.best.value:.4g}"
        if self.best.length == self.trained:
            return [selected, "this is the length of training: the result of the run has it"]
        return [selected, f"next: zoo eval {self.folder} sample.ema_length={self.best.length:g}"]


def choose(run: str, among: Sequence[float] = AMONG, progress: Callable[[str], None] = untold) -> Chosen:
    """Score a trained run with EMA weights of several lengths on its validation part and record the best.

    Args:
        run: its folder.
        among: lengths beside that of training.
        progress: told of each score.

    Raises:
        UsageError: where the run has no validation part, no snapshots, or none that span a length, or where
            its weights or its options were selected otherwise.
        MachineError: where its checkpoint or a snapshot is missing or corrupt.
    """
    folder = run_folder(run)
    made = load(folder, say=untold)
    _check(made)
    config = made.config
    trained = config.sample.ema_length or config.train.ema.sigma_rel
    wanted = sorted({trained, *among})
    residuals = {length: residual_of(made, length) for length in wanted}
    if config.sample.ema_length is None:
        residuals[trained] = 0.0
    start = time.monotonic()
    scores: dict[float, float] = {}
    column = ""
    for length in sorted(wanted, key=lambda one: one != trained):  # that of training first, as it was loaded
        if length != trained:
            use_length(made, length)
        column, scores[length] = next(iter(validate(made).items()))
        progress(f"length {length:g}: {column} {scores[length]:.4g} on validation")
    scored = [Scored(length, residuals[length], scores[length]) for length in wanted]
    best = min(scored, key=lambda one: (one.value, one.length != trained))
    space = canonical_json({"sample.ema_length": wanted})
    how = Selection(
        trials=len(scored),
        metric=column,
        value=best.value,
        space_sha256=hashlib.sha256(space.encode()).hexdigest(),
        seconds=round(time.monotonic() - start, 3),
    )
    write_length(folder, best.length, {one.length: one.value for one in scored}, how)
    return Chosen(column, trained, scored, best, how, folder)


def _check(made: Run) -> None:
    """Refuse a run in which no length can be selected.

    Raises:
        UsageError: as `choose`.
    """
    config = made.config
    if config.sample.checkpoint != "last" or recorded(Selection, made.dir) is not None:
        raise UsageError(
            f"{made.dir}: its checkpoint or its options were selected on the validation part before",
            "expected: a run of zoo run, with its last checkpoint",
        )
    if config.eval.weights == "raw":
        raise UsageError(f"{made.dir} is scored with eval.weights=raw", "expected: eval.weights=ema")
    validation_data(made.data)


def lengths_of(text: str) -> list[float]:
    """Return the lengths in a text: "0.03,0.05,0.1".

    Raises:
        UsageError: for another text, or a length that no EMA weights have.
    """
    found: list[float] = []
    for word in text.split(","):
        try:
            length = SampleConfig.model_validate({"ema_length": word.strip()}).ema_length
        except ValidationError:
            length = None
        if length is None:
            raise UsageError(
                f"{word!r} is not a length", "expected: numbers from 0.03 to 0.20: 0.03,0.05,0.1"
            )
        found.append(length)
    return found
