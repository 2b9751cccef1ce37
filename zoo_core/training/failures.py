"""Errors of training that a user can act on: batch norm on one example, and memory that is too small."""

from __future__ import annotations

from zoo_core.config import TrainConfig
from zoo_core.errors import MachineError, UsageError
from zoo_core.machine.memory import shown

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


class TooLargeError(MachineError):
    """Training that will not fit into the memory that is free."""


def too_large(plugin: str, config: TrainConfig, needed: float, free: int, parts: int | None) -> TooLargeError:
    """Return the error for training that will not fit into memory.

    Args:
        plugin: named in it.
        config: of training.
        needed: bytes that training takes.
        free: bytes that there are.
        parts: micro-batches with which it fits; None where no number does.
    """
    size = config.batch_size
    smaller = max(1, size * config.accumulate // parts) if parts else None
    return TooLargeError(
        f"{plugin}: training needs about {shown(needed)} of memory, and {shown(free)} are free: "
        f"train.batch_size={size}, train.accumulate={config.accumulate}",
        f"next: train.accumulate={parts}, the same batch in smaller parts, or train.batch_size={smaller}"
        if parts
        else "next: a smaller network: not even one example at a time fits, whatever train.batch_size and "
        "train.accumulate are",
    )
