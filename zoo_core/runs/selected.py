"""How what a result is of was selected: options by a search, weights by their scores on a validation part."""

from __future__ import annotations

from pathlib import Path

from zoo_core.config import RunConfig
from zoo_core.results import Selection, recorded
from zoo_core.runs.best import best_selection
from zoo_core.runs.lengths import length_selection


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
