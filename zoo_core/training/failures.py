"""Errors of training that a user can act on: batch norm on one example, and memory that runs out."""

from __future__ import annotations

from zoo_core.config import TrainConfig
from zoo_core.errors import MachineError, UsageError

LONE_ROW = "more than 1 value per channel"
"""What torch's batch norm says of a single value per channel in training."""


def lone_row(plugin: str, config: TrainConfig) -> UsageError:
    """Return the error for micro-batches of one example in a model with batch norm."""
    return UsageError(
        f"a micro-batch of one example cannot pass the batch norm of {plugin!r}: "
        f"train.batch_size={config.batch_size}, train.accumulate={config.accumulate}",
        "expected: at least 2 examples in each micro-batch",
        f"next: train.batch_size={2 * config.accumulate}"
        + (", or a smaller train.accumulate" if config.accumulate > 1 else ""),
    )


def out_of_memory(plugin: str, config: TrainConfig, error: Exception) -> MachineError:
    """Return the error for a batch that does not fit into the device's memory."""
    size = config.batch_size
    return MachineError(
        f"{plugin}: out of memory with train.batch_size={size}: {str(error).splitlines()[0]}",
        f"try: train.batch_size={max(1, size // 2)}, or train.accumulate={2 * config.accumulate}, "
        "or train.precision=bfloat16",
    )
