"""Copies between the host and a device that neither waits for: the host works on one batch while a device
computes the next.

A GPU does what it is asked to in order, and later than it is asked. On a CPU all is there at once, and
nothing here changes the order of things.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Mark(Protocol):
    """A place in the work of a device, e.g. a `torch.cuda.Event`."""

    def synchronize(self) -> None:
        """Return when the device has come to it."""
        ...


@dataclass(frozen=True)
class Arriving(Generic[T]):
    """What is made on the host of tensors that are on their way to it.

    Attributes:
        make: makes it, once they are there.
        mark: of their arrival; None where they are there already.
    """

    make: Callable[[], T]
    mark: Mark | None = None

    def wait(self) -> T:
        """Return what is made, as soon as it can be."""
        if self.mark is not None:
            self.mark.synchronize()
        return self.make()


def arriving(make: Callable[..., T], *tensors: Tensor) -> Arriving[T]:
    """Begin to copy tensors, of one device, to the host.

    Args:
        make: called with the copies, once they are there.
    """
    device = tensors[0].device
    if device.type != "cuda":
        copies = [tensor.cpu() for tensor in tensors]
        return Arriving(lambda: make(*copies))
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # into pinned memory
    return Arriving(lambda: make(*copies), torch.cuda.current_stream(device).record_event())


def one_behind(work: Iterable[Arriving[T]]) -> Iterator[T]:
    """Yield what arrives, in order, each after the next batch was begun; at once what is there already.

    Args:
        work: begins a batch whenever it is asked for the next.
    """
    begun: list[Arriving[T]] = []
    for one in work:
        begun.append(one)
        while begun and (len(begun) > 1 or begun[0].mark is None):
            yield begun.pop(0).wait()
    for one in begun:
        yield one.wait()


def ahead(t: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on its way to a GPU; where the device is none, the tensor itself."""
    if device.type != "cuda" or t.device.type != "cpu":
        return t
    return t.pin_memory().to(device, non_blocking=True)
