"""The memory that training takes, predicted before its first step.

Gradients, optimizer states and EMA weights are arithmetic. What a loss and its backward pass hold is measured
after each of their operations on 2 and on 4 examples. It is linear in the number of examples, with another
slope at each operation, so the highest for a micro-batch is the largest of these lines there: on few examples
the gradients of the weights weigh most, on many the activations. Memory that no tensor holds is not counted,
so the sum is a lower bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo_core.config import EmaConfig, OptimizerConfig, TrainConfig
from zoo_core.machine.distributed import gather, local_processes
from zoo_core.machine.live import LiveBytes
from zoo_core.machine.memory import free_bytes
from zoo_core.training import power
from zoo_core.training.failures import out_of_memory, too_large
from zoo_core.training.harness import Harness
from zoo_core.training.optim import is_matrix
from zoo_core.training.plan import micro_batches
from zoo_core.training.recipe import Phase
from zoo_core.types import Batch, Context

NOTHING = torch.zeros(1, dtype=torch.float64)
FEW, MORE = 2, 4
"""Examples on which a phase is measured; batch norm refuses a single one."""
STATES = {"adam": 2, "adamw": 2, "rmsprop": 1, "sgd": 0}
"""Tensors of a parameter's size that an optimizer keeps; momentum is one more (rmsprop, sgd)."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that training takes beyond the weights and data that are there before it.

    Attributes:
        optimizer: states of the optimizers.
        ema: EMA weights.
        gradients: of the phases that wait while another one computes.
        fixed: (operations,) of a phase's loss and backward pass, whatever the batch: its gradients.
        row: (operations,) the same for each example of a micro-batch: activations.
        rows: examples of the largest micro-batch.
        saving: copies that are made for a checkpoint, in the memory of the device.
    """

    optimizer: int = 0
    ema: int = 0
    gradients: int = 0
    fixed: Tensor = NOTHING
    row: Tensor = NOTHING
    rows: int = 0
    saving: int = 0

    def at(self, rows: int) -> float:
        """Return the bytes at the highest with micro-batches of so many examples."""
        working = float((self.fixed + self.row * rows).max())
        return self.optimizer + self.ema + self.gradients + max(working, self.saving)

    @property
    def total(self) -> float:
        return self.at(self.rows)


def size(parameters: Iterable[Tensor]) -> int:
    """Return the bytes of distinct tensors."""
    return sum(p.numel() * p.element_size() for p in {id(p): p for p in parameters}.values())


def optimizer_size(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> int:
    """Return the bytes of the states that an optimizer keeps of parameters."""
    if config.kind == "muon":  # a momentum of matrices, two moments of the rest
        parts = list(parameters)
        return size(parts) + size(p for p in parts if not is_matrix(p))
    momentum = config.kind in ("rmsprop", "sgd") and config.momentum > 0
    return (STATES[config.kind] + momentum) * size(parameters)


def copies(ema: EmaConfig) -> int:
    """Return how many averages are kept of each parameter."""
    return 1 + len(power.LENGTHS) * (ema.kind == "power")


def footprint(harness: Harness) -> Footprint:
    """Return what the training of a freshly built recipe will take, in the phase that takes most.

    Weights, buffers, random states, gradients and the order of the data are left as they were. A phase whose
    loss can't be computed so early is left out: training finds what is wrong with it.

    Raises:
        MachineError: where even a few examples do not fit.
    """
    try:
        with harness.untouched():
            harness.recipe.train()
            with LiveBytes() as reading:
                batch = harness.data.next(harness.config.batch_size, harness.world)
                loaded = reading.now
            found = list(_phases(harness, batch, loaded))
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise out_of_memory(harness.plugin, harness.config, error) from error
    return max(found, key=lambda one: one.total, default=Footprint())


def _phases(harness: Harness, batch: Batch, loaded: int) -> Iterator[Footprint]:
    recipe, world = harness.recipe, harness.world
    rows = max(-(-len(part) // world.size) for part in micro_batches(harness.config, world.size))
    averaged: dict[str, int] = {}
    for stage in harness.stages:
        averaged |= {
            name: size(recipe.get_submodule(name).parameters()) * copies(ema)
            for name, ema in stage.ema.items()
            if ema.on
        }
        names = dict.fromkeys(phase.optimizer for phase in stage.phases)
        members = {
            name: [p for phase in stage.phases if phase.optimizer == name for p in harness.updated(phase)]
            for name in names
        }
        states = sum(optimizer_size(stage.optimizers[name], ps) for name, ps in members.items())
        ema = sum(averaged.values())
        held = size(recipe.state_dict().values()) + ema
        saving = 2 * held + states if harness.data.device.type == "cpu" else 0  # copied, then serialized
        owners = world.size if harness.sharded else 1
        for phase in stage.phases:
            few, more = min(FEW, rows, len(batch)), min(MORE, rows, len(batch))
            try:
                low, high = (_held(harness, phase, batch[:n]) for n in (few, more))
            except (torch.OutOfMemoryError, MemoryError):
                raise
            except Exception:
                low = high = NOTHING
            if len(low) != len(high):  # what is computed depends on the batch: its highest is all there is
                low, high = low.max()[None], high.max()[None]
            row = (high - low) / max(1, more - few)
            waiting = size(p for name, ps in members.items() if name != phase.optimizer for p in ps)
            kept = (states // owners, ema // owners, waiting // owners)
            yield Footprint(*kept, loaded + high - row * more, row, rows, saving)


def _held(harness: Harness, phase: Phase, batch: Batch) -> Tensor:
    """Return the bytes of tensors that a phase's loss and backward pass hold, after each operation."""
    rng = torch.Generator(device=harness.data.device).manual_seed(0)
    harness.thaw(phase)
    try:
        with LiveBytes() as live:
            with harness.autocast():
                loss = phase.loss(batch, Context(0, 0.0, 0, rng)).loss
            loss.backward()
        return torch.tensor(live.history or [0], dtype=torch.float64)
    finally:
        for parameter in harness.recipe.parameters():
            parameter.grad = None


def largest_share(config: TrainConfig, processes: int) -> int:
    """Return the most rows of a batch that one of several processes gets."""
    return -(-config.batch_size // processes)


def check_memory(harness: Harness) -> Footprint:
    """Return the footprint of a training that fits into the memory that is free.

    Processes of one machine divide its memory; each GPU belongs to one process.

    Raises:
        MachineError: where it can't fit; it names the options that would make it.
    """
    found = footprint(harness)
    device = harness.data.device
    here = free_bytes(device)
    if here is not None and device.type == "cpu":
        here //= local_processes()
    free = min((one for one in gather(here) if one is not None), default=None)
    if free is not None and found.total > free:
        own = largest_share(harness.config, harness.world.size)
        raise too_large(harness.plugin, harness.config, found.total, free, _fitting(found, own, free))
    return found


def _fitting(found: Footprint, rows: int, free: int) -> int | None:
    """Return the least number of micro-batches of a process's rows that fit; None where not even one row."""
    return next((n for n in range(1, rows + 1) if found.at(-(-rows // n)) <= free), None)
