"""A run trained further: the longer run starts from the checkpoint of the shorter one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zoo_core.config import RunConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.identity import check
from zoo_core.errors import UsageError
from zoo_core.machine import terminal
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs.checkpoints import newest
from zoo_core.runs.opening import build, load_data, restore, saved_config
from zoo_core.training import checkpoint
from zoo_core.training.length import reopened, tied_to_length


@dataclass(frozen=True)
class Extension:
    """A longer run and the state from which it starts.

    Attributes:
        config: of the longer run.
        data: of both runs.
        checkpoint: of the shorter run, before its last stage ended.
    """

    config: RunConfig
    data: Dataset
    checkpoint: checkpoint.Checkpoint


def extension(folder: Path, steps: int) -> Extension:
    """Return the run of `steps` steps that continues the run in a folder, bit for bit.

    Raises:
        NotFoundError: where the folder holds no run.
        UsageError: where it has done more steps than that, where its checkpoint can't be continued, or where
            an option ties the steps that it has done to its length.
        MachineError: where it has no checkpoint.
    """
    saved = saved_config(folder)
    config = resolve({"config": str(folder), "train.steps": steps})
    dataset = load_data(saved)
    check(folder, dataset)
    path, kept = newest(folder, terminal.tell)
    done = kept.state["counts"]["total"]
    if steps < done:
        raise UsageError(
            f"{folder} has done {done:,} steps; train.steps={steps:,} was asked for",
            f"expected: at least {done:,}",
        )
    kept = reopened(kept)
    made = build(saved, dataset, folder, manager(), say=terminal.tell, warn=terminal.tell)
    restore(made, path, kept)
    reasons = tied_to_length(made.harness, saved, steps)
    if reasons:
        raise UsageError(
            f"{folder} can't be continued to {steps:,} steps: its first {done:,} would have been others",
            *reasons,
            f"next: zoo run config={folder} init={folder} train.steps={steps} starts anew from its weights",
        )
    return Extension(config, dataset, kept)
