"""One update over several processes: each works on its share of the batch, all end with the whole's.

A process's loss is the mean over its own rows, weighted by their part of the batch, so the sum of the
gradients is the gradient of the whole batch's loss where that loss is a mean over rows. Gradients are added
up in buckets while the backward pass goes on. Parameters and averages stay equal to the bit: every process
takes the same step with the same sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from zoo_core.config import TrainConfig
from zoo_core.errors import UsageError
from zoo_core.machine.distributed import World, gather_rows, shares, start_sum, sum_
from zoo_core.types import Loss

BUCKET_BYTES = 4 << 20
"""Of gradients that are added up at once: few enough that the first is under way early in a backward pass,
and enough that the number of sums costs nothing."""


def check_shares(config: TrainConfig, world: World) -> None:
    """Raise UsageError where a process would get no row of a batch."""
    if config.batch_size < world.size:
        raise UsageError(
            f"train.batch_size={config.batch_size} gives {world.size} processes less than a row each",
            f"expected: at least {world.size}, best a multiple of it",
        )


def buckets(parameters: Iterable[nn.Parameter], size: int = BUCKET_BYTES) -> list[list[nn.Parameter]]:
    """Return parameters in groups of one dtype and device and of about `size` bytes, the last of them first.

    A backward pass reaches the last layers first, so their group is complete first.
    """
    found: list[list[nn.Parameter]] = []
    filling: dict[tuple[torch.dtype, torch.device], tuple[list[nn.Parameter], int]] = {}
    for parameter in reversed(list(dict.fromkeys(parameters))):
        kind, bytes_ = (parameter.dtype, parameter.device), parameter.numel() * parameter.element_size()
        members, filled = filling.get(kind, ([], size))
        if filled >= size:
            members, filled = [], 0
            found.append(members)
        members.append(parameter)
        filling[kind] = members, filled + bytes_
    return found


@dataclass
class Overlap:
    """How much of a phase's sums was under way before its backward pass was done.

    Attributes:
        sums: buckets added up, over all updates.
        early: those of them that were begun during the backward pass.
    """

    sums: int = 0
    early: int = 0


@dataclass
class _Bucket:
    """Parameters that are added up together, after whose gradients stands which of them got one."""

    members: list[nn.Parameter]
    all_got: Tensor
    missing: int = 0
    flat: Tensor | None = None
    wait: Callable[[], None] = field(default=lambda: None)

    def start(self) -> None:
        """Begin the sum; what got no gradient here counts as zeros."""
        lacking = [p.grad is None for p in self.members]
        got = self.all_got
        if any(lacking):
            got = torch.tensor([float(not lacks) for lacks in lacking]).to(got)
        rows = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.members]
        self.flat = torch.cat([*(row.detach().reshape(-1) for row in rows), got])
        self.wait = start_sum(self.flat)

    def finish(self) -> None:
        """Wait for the sum and give it to the parameters; one that got a gradient nowhere keeps none."""
        self.wait()
        assert self.flat is not None
        *totals, got = self.flat.split([*(p.numel() for p in self.members), len(self.members)])
        for k, (parameter, total) in enumerate(zip(self.members, totals, strict=True)):
            if parameter.grad is not None:
                parameter.grad.copy_(total.view_as(parameter))
            elif bool(got[k]):  # asked only for what got no gradient here
                parameter.grad = total.view_as(parameter).clone()
        self.flat = None


class Reducer:
    """Adds up one phase's gradients over all processes, in buckets, as the backward pass completes them.

    The buckets and their order are the same in every process and every update: a bucket is begun when all of
    its gradients are there and all buckets before it are begun, and after the backward pass the rest are,
    with zeros for what got no gradient.

    Args:
        parameters: of the phase, in the same order in every process.
        size: bytes of a bucket.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], size: int = BUCKET_BYTES) -> None:
        self.overlap = Overlap()
        self._buckets = [
            _Bucket(group, group[0].new_ones(len(group)).detach()) for group in buckets(parameters, size)
        ]
        self._next = 0
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __len__(self) -> int:
        return len(self._buckets)

    def begin(self) -> None:
        """Do nothing before an update's first loss."""

    def arm(self) -> None:
        """Begin sums in the backward pass that follows: an update's last."""
        self._next = 0
        for bucket in self._buckets:
            bucket.missing = len(bucket.members)
            for parameter in bucket.members:
                hook = self._hook(bucket)
                self._handles.append(parameter.register_post_accumulate_grad_hook(hook))

    def _hook(self, bucket: _Bucket) -> Callable[[Tensor], None]:
        def complete(parameter: Tensor) -> None:
            bucket.missing -= 1
            while self._next < len(self._buckets) and self._buckets[self._next].missing == 0:
                self._start()
                self.overlap.early += 1

        return complete

    def _start(self) -> None:
        self._buckets[self._next].start()
        self._next += 1
        self.overlap.sums += 1

    def finish(self) -> None:
        """Begin the sums that are left after the backward pass, and give all of them to the parameters.

        One that got a gradient anywhere has one everywhere afterwards, one that got none keeps none.

        Raises:
            MachineError: where another process is gone.
        """
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        while self._next < len(self._buckets):
            self._start()
        for bucket in self._buckets:
            bucket.finish()


def loss_over_all(loss: Loss, parts: Sequence[range], size: int) -> Loss:
    """Return the whole batch's loss: sums added up, keeps in the order of the batch's rows.

    Args:
        loss: of this process's rows: its loss and log weighted by their part of the batch.
        parts: micro-batches of the batch.
        size: number of processes.

    Raises:
        MachineError: where another process is gone.
    """
    total = loss.loss.detach().clone()
    log = {name: loss.log[name].detach().clone() for name in sorted(loss.log)}
    sums = {name: loss.sums[name].detach().clone() for name in sorted(loss.sums)}
    sum_([total, *log.values(), *sums.values()])
    return Loss(total, log, sums, _kept(loss.keep, parts, size))


def _kept(keep: Mapping[str, Tensor], parts: Sequence[range], size: int) -> dict[str, Tensor]:
    """Return all processes' rows; in the order of the batch where there are as many for each of its rows."""
    found = {name: gather_rows(keep[name]) for name in sorted(keep)}
    if len(parts) == 1:
        return found
    held = [i for rank in range(size) for part in shares(parts, World(rank, size)) for i in part]
    order = torch.tensor(held).argsort()
    return {name: _ordered(rows, order) for name, rows in found.items()}


def _ordered(rows: Tensor, order: Tensor) -> Tensor:
    if len(rows) == 0 or len(rows) % len(order):
        return rows
    return rows.unflatten(0, (len(order), -1))[order.to(rows.device)].flatten(0, 1)
