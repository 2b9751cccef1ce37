"""Work that the first of several processes leads: who calls what, who gets the rows, and how it fails."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.core.ranks import on_ranks, returned
from zoo_core.errors import UsageError
from zoo_core.machine import leading
from zoo_core.machine.distributed import Signs, World, joined, world
from zoo_core.machine.leading import led, rows_to_first, to_first, together

DTYPES = (torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


def whole(dtype: torch.dtype, n: int) -> torch.Tensor:
    return (torch.randn(n, 2, 3, generator=torch.Generator().manual_seed(n)) * 9).to(dtype)


def shares(subject: list[Any], n: int, *, twice: bool = False) -> list[torch.Tensor | None]:
    """Return rows of every dtype, of which the second process has none; the subject is told who was here."""
    here = world()
    subject.append(here)
    own = range(n) if here.size == 1 else (range(n // 3), range(0), range(n // 3, n))[here.rank]
    found = rows_to_first(
        lambda: [whole(dtype, n)[list(own)] if len(own) else None for dtype in DTYPES] + [None]
    )
    return together(shares, subject, n) if twice else found


def alone() -> World:
    """Return the world in a run within a run, which must not connect again."""
    with joined("cpu") as inner:
        return inner


def lead() -> dict[str, Any]:
    leading.PIECE = 50  # bytes: more than one piece, and one that is not full
    with joined("cpu", 30) as here:
        mine: list[Any] = []
        calls: list[Any] = []

        def work() -> dict[str, Any]:
            calls.append((world(), alone()))
            return {
                "rows": together(shares, mine, 10),
                "again": together(shares, mine, 7, twice=True),
                "other": together(shares, [], 4),  # another subject: nothing that the others know of
                "nested": led([], world),
            }

        found = led(mine, work)
        told = to_first(lambda: here.rank)
    return {"found": found, "calls": calls, "mine": mine, "told": told}


def test_the_first_process_leads_and_the_others_do_their_shares(tmp_path: Path) -> None:
    """Catches work that every process does, rows in others than the first, out of order or padded."""
    told = returned(on_ranks(3, lead, folder=tmp_path))
    for rank, one in enumerate(told):
        here = World(rank, 3)
        assert one["calls"] == ([(World(), World())] if rank == 0 else [])
        assert one["mine"] == [here] * 3
        assert one["told"] == ([0, 1, 2] if rank == 0 else [])
        assert one["found"]["nested"] == World()
        for key, n in (("rows", 10), ("again", 7), ("other", 4)):
            *rows, none = one["found"][key]
            assert none is None
            for dtype, found in zip(DTYPES, rows, strict=True):
                assert found.dtype == dtype
                assert torch.equal(found, whole(dtype, n))


def test_alone_everything_is_what_was_given() -> None:
    rows = whole(torch.float32, 4)
    seen: list[Any] = []
    assert rows_to_first(lambda: [rows, None]) == [rows, None]
    assert to_first(lambda: 3) == [3]
    assert led(seen, lambda: together(shares, seen, 4)[-1]) is None
    assert seen == [World()]
    with pytest.raises(UsageError, match="mine"):
        to_first(refused)


def refused() -> None:
    raise UsageError("mine")


def refuses(subject: None, who: int) -> list[int]:
    def part() -> int:
        if world().rank == who:
            raise UsageError(f"rank {who} can't")
        return world().rank

    return to_first(part)


def catches() -> Any:
    with joined("cpu", 30):

        def work() -> tuple[str, list[int]]:
            caught = []
            for who in range(3):
                with pytest.raises(UsageError) as failed:
                    together(refuses, None, who)
                caught.append(failed.value.what)
            return ", ".join(caught), together(refuses, None, -1)

        return led(None, work)


@pytest.mark.slow(depends=("zoo_core/machine",))
def test_a_share_that_is_refused_is_told_to_the_first(tmp_path: Path) -> None:
    """Catches a wait for a share that never comes, and processes that part ways after an error."""
    expected = ("rank 0 can't, rank 1 can't, rank 2 can't", [0, 1, 2])
    assert returned(on_ranks(3, catches, folder=tmp_path, seconds=40)) == [expected] * 3


def fails(where: str) -> None:
    with joined("cpu", 30):

        def work() -> None:
            if where == "lead":
                raise UsageError("the lead's own")
            together(refuses, None, 1)

        led(None, work)


@pytest.mark.slow(depends=("zoo_core/machine",))
@pytest.mark.parametrize("where", ["lead", "share"])
def test_an_error_that_is_not_caught_ends_all(where: str, tmp_path: Path) -> None:
    """Catches others that go on waiting for what the first one asks."""
    first, other = on_ranks(2, fails, where, folder=tmp_path, seconds=40)
    what = "the lead's own" if where == "lead" else "rank 1 can't"
    assert first == ("raised", f"UsageError: {what}")
    assert other is not None
    assert other[0] == "raised"
    assert other[1].startswith("MachineError: rank 1 of 2: waiting for rank 0 failed; another rank exited")


def alone_for(seconds: float, how: str) -> Any:
    with joined("cpu", 6):

        def work() -> Any:
            time.sleep(seconds)
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            return together(refuses, None, -1)

        return led(None, work)


def silent_for(seconds: float) -> Any:
    Signs.EVERY = 100.0
    Signs.given = contextlib.nullcontext  # type: ignore[assignment,method-assign]
    return alone_for(seconds, "silent")


@pytest.mark.slow(depends=("zoo_core/machine",))
def test_the_others_wait_as_long_as_the_first_works(tmp_path: Path) -> None:
    """Catches a wait that ends with the patience of a collective operation, of 6 seconds here."""
    assert returned(on_ranks(2, alone_for, 15.0, "works", folder=tmp_path)) == [[0, 1]] * 2


@pytest.mark.slow(depends=("zoo_core/machine",))
def test_a_first_process_that_is_killed_ends_the_others(tmp_path: Path) -> None:
    told = on_ranks(2, alone_for, 1.0, "killed", folder=tmp_path)
    assert told[0] is None
    kind, message = told[1] or ("died", "")
    assert (kind, message.partition(";")[0]) == (
        "raised",
        "MachineError: rank 1 of 2: waiting for rank 0 failed",
    )


@pytest.mark.slow(depends=("zoo_core/machine",))
def test_a_first_process_without_signs_of_life_is_given_up(tmp_path: Path) -> None:
    kind, message = on_ranks(2, silent_for, 20.0, folder=tmp_path)[1] or ("died", "")
    assert (kind, "no sign of life for 6 s" in message) == ("raised", True)
