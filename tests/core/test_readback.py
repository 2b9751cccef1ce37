"""What arrives from a device that need not be there: the order of events, by marks that list their waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from zoo_core.machine.readback import Arriving, ahead, arriving, one_behind


class Device:
    """A device that does what it is asked to when the host waits for it, and lists what happens."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def begun(self, n: int, *, here: bool = False) -> Iterator[Arriving[int]]:
        for k in range(n):
            self.events.append(f"begin {k}")
            yield Arriving(lambda k=k: k, None if here else Mark(self, k))  # type: ignore[misc]


class Mark:
    def __init__(self, device: Device, k: int) -> None:
        self.device, self.k = device, k

    def synchronize(self) -> None:
        self.device.events.append(f"wait {self.k}")


def taken(device: Device, n: int, *, here: bool = False) -> list[str]:
    for k in one_behind(device.begun(n, here=here)):
        device.events.append(f"take {k}")
    return device.events


def test_the_next_batch_is_begun_before_the_host_waits_for_one() -> None:
    """Catches a device that idles while the host takes what came, and a last batch that is lost."""
    assert taken(Device(), 3) == [
        "begin 0", "begin 1", "wait 0", "take 0", "begin 2", "wait 1", "take 1", "wait 2", "take 2",
    ]  # fmt: skip
    assert taken(Device(), 1) == ["begin 0", "wait 0", "take 0"]
    assert taken(Device(), 0) == []


def test_what_is_there_already_is_taken_at_once() -> None:
    """On a CPU one batch comes after the other, and no memory holds two."""
    assert taken(Device(), 2, here=True) == ["begin 0", "take 0", "begin 1", "take 1"]


def test_tensors_of_the_host_are_there_and_are_not_copied() -> None:
    x = torch.arange(3)
    one = arriving(lambda a, b: (a, b), x, x + 1)
    assert one.mark is None
    assert one.wait()[0] is x
    assert ahead(x, torch.device("cpu")) is x


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_not_waited_for() -> None:
    device = torch.device("cuda")
    x = ahead(torch.arange(1000), device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        one = arriving(lambda a: a, x + 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found = one.wait()
    assert found.is_pinned()
    assert torch.equal(found, torch.arange(1, 1001))
