"""Work that the first process leads: it alone does it, and asks the others for their shares of parts of it.

What comes of the shares goes to the first process and to no other: none of the others holds the rows of all.
Alone, every function here costs nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from zoo_core.errors import Interrupted, MachineError, ZooError
from zoo_core.machine.distributed import Signs, by_itself, collective, from_first, world

if TYPE_CHECKING:
    import torch
    from torch import Tensor

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")

PIECE = 1 << 26
"""Bytes that are sent at a time."""

_calls = 0
"""How often the first process has called the others so far."""
_NOTHING = object()
_subject: object = _NOTHING
"""What the work that this process leads is about; nothing where it leads none, or does a share meanwhile."""


class AbandonedError(MachineError):
    """Another process could not do its share; the first one has the reason."""


@dataclass(frozen=True)
class _Done:
    """Tells the other processes that nothing more is asked for, and what came of the work."""

    value: Any


@contextlib.contextmanager
def _leading(subject: object) -> Iterator[None]:
    global _subject
    before, _subject = _subject, subject
    try:
        yield
    finally:
        _subject = before


def led(subject: object, work: Callable[[], T]) -> T:
    """Return in every process what `work` returns in the first, which alone calls it.

    It is by itself there (`world()` is `ALONE`), so that nothing in it waits for the others. They do their
    shares of what it asks for by `together`, and wait in between.

    Args:
        subject: what the work is about, in this process; `together` hands it on.
        work: returns what pickles.

    Raises:
        MachineError: where another process is gone.
    """
    here = world()
    if here.size == 1:
        return work()
    if not here.first:
        return cast("T", _follow(subject))
    signs = Signs()
    try:
        with signs.given(), _leading(subject), by_itself():
            found = work()
    except BaseException:
        signs.call(_next(), failed=True)
        raise
    signs.call(_next())
    from_first(_Done(found))
    return found


def _next() -> int:
    """Return the number of the next call of the first process, which all processes count alike."""
    global _calls
    _calls += 1
    return _calls


def _follow(subject: object) -> Any:
    """Do this process's shares of what the first asks for, and return what it found in the end."""
    signs = Signs()
    while True:
        signs.wait(_next())
        asked: Any = from_first(None)
        if isinstance(asked, _Done):
            return asked.value
        function, args, options = asked
        with contextlib.suppress(AbandonedError):  # the first process decides whether the work goes on
            function(subject, *args, **options)


def together(
    function: Callable[Concatenate[S, P], T], subject: S, /, *args: P.args, **options: P.kwargs
) -> T:
    """Return what `function` does of a subject, of which every process does its share.

    In work that the first process leads it calls the function in every process, each with its own subject.
    Elsewhere, and for another subject than that of the work, it just calls it.

    Args:
        function: of a module, so that it pickles by its name; it gathers by `to_first` or `rows_to_first`.
        args, options: that pickle.
    """
    if subject is not _subject:
        return function(subject, *args, **options)
    with _leading(_NOTHING), by_itself(False):
        Signs().call(_next())
        from_first((function, args, options))
        return function(subject, *args, **options)


def to_first(part: Callable[[], T]) -> list[T]:
    """Return in the first process what `part` returns in each, in rank order; [] in the others.

    Args:
        part: returns what pickles, and is small; rows of tensors take `rows_to_first`.

    Raises:
        ZooError: in the first process, what `part` raised in one of them.
        AbandonedError: in the others, where one raised.
        MachineError: where another process is gone.
    """
    here = world()
    if here.size == 1:
        return [part()]
    from torch import distributed

    value, error = None, None
    try:
        value = part()
    except Interrupted:
        raise
    except ZooError as failed:  # told, so that none waits for a share that never comes
        error = failed
    every: list[Any] | None = [None] * here.size if here.first else None
    with collective("gather"):
        distributed.gather_object((value, error), every, dst=0)
    failure = next((failed for _, failed in every or () if failed is not None), None)
    if from_first(failure is not None):
        raise failure or AbandonedError(
            f"rank {here.rank} of {here.size}: another rank could not do its share",
            "next: see the message of rank 0",
        )
    return [found for found, _ in every or ()]


def rows_to_first(part: Callable[[], Sequence[Tensor | None]]) -> list[Tensor | None]:
    """Return in the first process all processes' rows of each tensor, in rank order; Nones in the others.

    Args:
        part: returns this process's, each (n, ...) on the CPU; None for one of which it has no rows.

    Returns:
        None for a tensor of which no process has rows. In a process by itself, what `part` returned.

    Raises:
        ZooError: as `to_first`.
    """
    here = world()
    if here.size == 1:
        return list(part())
    mine: list[Tensor | None] = []

    def kinds() -> list[tuple[torch.dtype, torch.Size] | None]:
        mine.extend(part())
        return [None if rows is None else (rows.dtype, rows.shape) for rows in mine]

    every = to_first(kinds)
    if here.first:
        return [_put_together(own, its) for own, its in zip(mine, zip(*every, strict=True), strict=True)]
    for rows in mine:
        if rows is not None:
            send(rows)
    return [None] * len(mine)


def _put_together(
    own: Tensor | None, kinds: Sequence[tuple[torch.dtype, torch.Size] | None]
) -> Tensor | None:
    """Return the first process's rows followed by those of the others, by the kinds that each told."""
    import torch

    known = [kind for kind in kinds if kind is not None]
    if not known:
        return None
    dtype, shape = known[0]
    whole = torch.empty(sum(shape[0] for _, shape in known), *shape[1:], dtype=dtype)
    done = 0
    for rank, kind in enumerate(kinds):
        if kind is None:
            continue
        rows = whole[done : done + kind[1][0]]
        done += len(rows)
        if rank:
            receive(rows, rank)
        elif own is not None:
            rows.copy_(own)
    return whole


def send(rows: Tensor) -> None:
    """Send rows, of any dtype, to the first process, which takes them by `receive`.

    Raises:
        MachineError: where that is gone.
    """
    from torch import distributed

    with collective("send"):
        for piece in _pieces(rows.detach().contiguous()):
            distributed.send(piece, dst=0)


def receive(rows: Tensor, rank: int) -> None:
    """Fill rows, contiguous and of the shape and dtype of those sent, with what a process sends.

    Raises:
        MachineError: where that process is gone.
    """
    from torch import distributed

    with collective("receive"):
        for piece in _pieces(rows):
            distributed.recv(piece, src=rank)


def _pieces(rows: Tensor) -> Sequence[Tensor]:
    """Return views of rows as bytes: gloo and nccl each know some dtypes only."""
    import torch

    return rows.view(-1).view(torch.uint8).split(PIECE) if rows.numel() else ()
