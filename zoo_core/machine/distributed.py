"""Several processes at one run: who they are, what each one's share is, and what they add up or put together.

One process is the default and costs nothing: every function here then returns what it was given. `torchrun`
starts several and tells each its place in its environment; `joined` connects them. Importing this costs no
torch.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from zoo_core.errors import MachineError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

TIMEOUT_S = 1800.0
"""How long a process waits for the others by default: the first may score baselines and draw meanwhile."""


@dataclass(frozen=True)
class World:
    """A process's place among those that work on one run.

    Attributes:
        rank: of this process, in [0, size); the first, 0, writes checkpoints, results and events.
        size: how many processes there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0


ALONE = World()

_by_itself = False
"""Whether this process works by itself at the moment, while the others wait for it; see `by_itself`."""

_timeout = TIMEOUT_S
"""How long this process waits for the others, as it `joined` them."""

_second: Any = None
"""A second group of the same processes, for sums that go on while a process computes: in no order with what
else the processes do together meanwhile."""


def launched() -> World:
    """Return the place that torchrun gave this process in RANK and WORLD_SIZE; alone where it gave none.

    Raises:
        UsageError: where they are not numbers, or the rank is not below the size.
    """
    rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise UsageError(
            f"invalid RANK={rank!r} for WORLD_SIZE={size!r}",
            "expected: both as torchrun sets them, or neither",
        )
    return World(int(rank), int(size))


def local_processes() -> int:
    """Return how many of the run's processes torchrun started on this machine; 1 without torchrun."""
    named = os.environ.get("LOCAL_WORLD_SIZE", "")
    return int(named) if launched().size > 1 and named.isdecimal() else 1


def world() -> World:
    """Return this process's place among those that `joined`; alone outside of it, and within `by_itself`."""
    if _by_itself or "torch" not in sys.modules:
        return World()
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return World()
    return World(distributed.get_rank(), distributed.get_world_size())


@contextlib.contextmanager
def by_itself(alone: bool = True) -> Iterator[None]:
    """Within the block this process is alone, as if there were no others; or again among them."""
    global _by_itself
    before, _by_itself = _by_itself, alone
    try:
        yield
    finally:
        _by_itself = before


def share(n: int, world: World) -> range:
    """Return which of n things are this process's: stretches in rank order that differ by one at most.

    A share is empty where there are fewer things than processes.
    """
    return range(n * world.rank // world.size, n * (world.rank + 1) // world.size)


def shares(parts: Iterable[range], world: World) -> list[range]:
    """Return this process's share of each part of a batch, as positions in the batch."""
    mine = ((part, share(len(part), world)) for part in parts)
    return [range(part.start + own.start, part.start + own.stop) for part, own in mine]


@contextlib.contextmanager
def collective(what: str) -> Iterator[None]:
    """Turn what torch raises when another process is gone or silent into a message.

    Args:
        what: the operation, e.g. "all-reduce".
    """
    try:
        yield
    except RuntimeError as error:  # torch.distributed.DistError among them; gloo raises the bare class
        raise gone(what, str(error).strip().partition("\n")[0]) from error


def gone(what: str, reason: str) -> MachineError:
    """Return the error of a process that waited for another one in vain.

    Args:
        what: the operation, e.g. "all-reduce".
        reason: why it failed.
    """
    here = world()
    return MachineError(
        f"rank {here.rank} of {here.size}: {what} failed; another rank exited or timed out",
        f"reason: {reason}",
        "next: see the messages of the other ranks; the same command continues from the last checkpoint",
    )


def lost(error: BaseException) -> MachineError | None:
    """Return the error to show where torch could not reach another process, or None for any other error.

    For errors out of code that communicates by itself, such as the forward pass of sharded weights.
    """
    if not isinstance(error, RuntimeError) or world().size == 1:
        return None
    from torch import distributed

    reason = str(error).strip().partition("\n")[0]
    if isinstance(error, distributed.DistError) or "gloo/transport" in str(error):
        return gone("communication", reason)
    return None


def gather_rows(t: Tensor) -> Tensor:
    """Return all processes' rows, in rank order.

    Args:
        t: (n, ...) of any dtype; n may differ between processes and be 0, the rest of the shape may not.

    Raises:
        MachineError: where another process is gone.
    """
    here = world()
    if here.size == 1:
        return t
    import torch
    from torch import distributed

    with collective("all-gather"):
        count = torch.tensor([len(t)], device=t.device)
        counts = [torch.empty_like(count) for _ in range(here.size)]
        distributed.all_gather(counts, count)
        lengths = [int(n) for n in counts]
        # As bytes, because gloo and nccl each know some dtypes only; padded, because they want equal sizes.
        width = math.prod(t.shape[1:]) * t.element_size()
        padded = torch.zeros(max(lengths), width, dtype=torch.uint8, device=t.device)
        if len(t) and width:
            padded[: len(t)] = t.detach().contiguous().view(len(t), -1).view(torch.uint8)
        parts = [torch.empty_like(padded) for _ in range(here.size)]
        distributed.all_gather(parts, padded)
    rows = torch.cat([part[:n] for part, n in zip(parts, lengths, strict=True)])
    return rows.flatten().view(t.dtype).view(len(rows), *t.shape[1:])


def sum_(tensors: Iterable[Tensor]) -> None:
    """Add the tensors up over all processes, in place, in one all-reduce a dtype and device.

    Every process ends with the same bits.

    Args:
        tensors: of the same shapes and dtypes, in the same order, in every process.

    Raises:
        MachineError: where another process is gone.
    """
    if world().size == 1:
        return
    import torch
    from torch import distributed

    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    with torch.no_grad(), collective("all-reduce"):
        for members in kinds.values():
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in members])
            distributed.all_reduce(flat)
            for tensor, total in zip(members, flat.split([t.numel() for t in members]), strict=True):
                tensor.copy_(total.view(tensor.shape))


def whole(tensor: Tensor) -> Tensor:
    """Return all rows of a sharded tensor, of whose rows each process has some; any other tensor as is.

    All processes call it together.
    """
    gather_all = getattr(tensor, "full_tensor", None)
    if gather_all is None:
        return tensor
    with collective("all-gather"):
        found: Tensor = gather_all()
    return found


def local(tensor: Tensor) -> Tensor:
    """Return this process's rows of a sharded tensor, in the same memory; any other as is."""
    rows = getattr(tensor, "to_local", None)
    return tensor if rows is None else rows()


def own_rows(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor sharded as another is, without communication; as is where the other is whole."""
    sharded: Any = like
    if not hasattr(sharded, "device_mesh"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    whole_, mesh = tensor.detach().to(sharded.device), sharded.device_mesh
    found: Tensor = distribute_tensor(whole_, mesh, sharded.placements, src_data_rank=None)
    return found


def start_sum(tensor: Tensor) -> Callable[[], None]:
    """Begin to add a tensor up over all processes, in place, and return what waits for the end of it.

    Sums that are begun in the same order in every process are told apart from whatever else the processes do
    together meanwhile.

    Raises:
        MachineError: where another process is gone, when they are begun or waited for.
    """
    if world().size == 1:
        return lambda: None
    from torch import distributed

    with collective("all-reduce"):
        work = distributed.all_reduce(tensor, group=_second, async_op=True)

    def wait() -> None:
        with collective("all-reduce"):
            work.wait()

    return wait


def numbers(n: int) -> list[int]:
    """Return every process's number, in rank order; asks no GPU to wait.

    Raises:
        MachineError: where another process is gone.
    """
    here = world()
    if here.size == 1:
        return [n]
    import torch
    from torch import distributed

    own = torch.tensor([n])
    found = [torch.empty_like(own) for _ in range(here.size)]
    with collective("all-gather"):
        distributed.all_gather(found, own)
    return [int(one) for one in found]


def from_first_(tensors: Iterable[Tensor]) -> None:
    """Give every process the first one's values, in place.

    Raises:
        MachineError: where another process is gone.
    """
    if world().size == 1:
        return
    import torch
    from torch import distributed

    with torch.no_grad(), collective("broadcast"):
        for tensor in tensors:
            sent = tensor.detach().contiguous()
            distributed.broadcast(sent, src=0)
            tensor.copy_(sent)


def from_first(value: T) -> T:
    """Return the first process's value in every process; any object that pickles.

    Raises:
        MachineError: where another process is gone.
    """
    if world().size == 1:
        return value
    from torch import distributed

    box = [value]
    with collective("broadcast"):
        distributed.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: T) -> list[T]:
    """Return every process's value, in rank order; any object that pickles.

    Raises:
        MachineError: where another process is gone.
    """
    here = world()
    if here.size == 1:
        return [value]
    from torch import distributed

    box: list[Any] = [None] * here.size
    with collective("all-gather"):
        distributed.all_gather_object(box, value)
    return box


def any_(flag: bool) -> bool:
    """Return whether the flag is set in any process; asks no GPU to wait.

    Raises:
        MachineError: where another process is gone.
    """
    if world().size == 1:
        return flag
    import torch

    total = torch.tensor([int(flag)])
    sum_([total])
    return bool(total)


class Signs:
    """Signs of life of the first process, which the others look for while it works without them.

    They are in the store by which the processes met, under keys of their own.
    """

    EVERY = 5.0
    """Seconds between two signs at most; fewer where processes wait less than a minute for each other."""

    def __init__(self) -> None:
        from torch.distributed import distributed_c10d

        self._store: Any = distributed_c10d._get_default_store()
        self._patience = _timeout

    @contextlib.contextmanager
    def given(self) -> Iterator[None]:
        """Within the block the first process gives signs of life, whatever it does."""
        over = threading.Event()

        def give() -> None:
            with contextlib.suppress(RuntimeError):  # the store is gone: nobody is left
                while not over.wait(min(self.EVERY, self._patience / 10)):
                    self._store.add("zoo/alive", 1)

        thread = threading.Thread(target=give, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def call(self, number: int, failed: bool = False) -> None:
        """Tell the others that the first process needs them for the n-th time, or that its work failed."""
        with contextlib.suppress(RuntimeError) if failed else contextlib.nullcontext():
            self._store.set(f"zoo/call/{number}", "failed" if failed else "")

    def wait(self, number: int) -> None:
        """Wait until the first process calls for the n-th time, as long as it gives signs of life.

        Raises:
            MachineError: where its work has failed, it is gone, or it gave no sign for the time in which
                processes wait for each other.
        """
        key, seen, since, pause = f"zoo/call/{number}", -1, time.monotonic(), 0.001
        with collective("waiting for rank 0"):
            while not self._store.check([key]):
                alive = self._store.add("zoo/alive", 0)
                if alive != seen:
                    seen, since = alive, time.monotonic()
                elif time.monotonic() - since > self._patience:
                    raise gone("waiting for rank 0", f"no sign of life for {self._patience:.0f} s")
                time.sleep(pause)
                pause = min(0.1, 1.5 * pause)
            if self._store.get(key) == b"failed":
                raise gone("waiting for rank 0", "its work failed")


@contextlib.contextmanager
def joined(device: str = "auto", timeout_s: float = TIMEOUT_S) -> Iterator[World]:
    """Connect the processes that torchrun started, for the length of the block; alone it does nothing.

    They meet over gloo, and over nccl too where they train on GPUs, one a process. The block ends when all
    have come to its end; a process whose block raises leaves at once, and the others are told at the next
    thing they do together. Write what must last inside the block: on a CPU, gloo at times aborts a process
    that is exiting.

    Args:
        device: where the run is to be: "auto", "cpu", "cuda".
        timeout_s: how long one process waits for the others before it gives them up.

    Raises:
        UsageError: for the name of one GPU, which the processes can't share.
        MachineError: where the others can't be met, or are lost.
    """
    place = launched()
    if place.size == 1 or _by_itself or world().size > 1:
        yield world()
        return
    from datetime import timedelta

    import torch
    from torch import distributed

    if device.startswith("cuda:"):
        raise UsageError(
            f"device={device} names one GPU for {place.size} processes", "next: device=cuda, one GPU each"
        )
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        local = int(os.environ.get("LOCAL_RANK", place.rank))
        if local >= torch.cuda.device_count():
            raise MachineError(
                f"process {local} of this machine has no GPU of its own; there are "
                f"{torch.cuda.device_count()}",
                f"next: torchrun --nproc-per-node {torch.cuda.device_count()}, or device=cpu",
            )
        torch.cuda.set_device(local)
    global _second, _timeout
    _timeout = timeout_s
    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            rank=place.rank,
            world_size=place.size,
            timeout=timedelta(seconds=timeout_s),
        )
        _second = distributed.new_group(timeout=timedelta(seconds=timeout_s))
    except (RuntimeError, ValueError) as error:
        raise MachineError(
            f"process {place.rank} of {place.size} can't meet the others: {str(error).partition(chr(10))[0]}",
            "expected: to be started by torchrun, which sets MASTER_ADDR and MASTER_PORT",
        ) from error
    try:
        yield world()
    except BaseException:
        _second = None
        if not on_gpu:  # nccl would wait for work that will never be done
            with contextlib.suppress(RuntimeError):
                distributed.destroy_process_group()
        raise
    with collective("barrier at the end"):
        distributed.barrier()
    _second = None
    distributed.destroy_process_group()
