"""What several processes put together, and what they say when one of them is gone; real gloo processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.core.ranks import on_ranks, returned
from zoo_core.errors import UsageError
from zoo_core.machine.distributed import (
    World,
    any_,
    from_first,
    from_first_,
    gather,
    gather_rows,
    joined,
    launched,
    lost,
    share,
    sum_,
    world,
)
from zoo_core.machine.faults import attributed

ROWS = 5
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


def whole(dtype: torch.dtype, n: int = ROWS) -> torch.Tensor:
    rng = torch.Generator().manual_seed(n)
    return (torch.randn(n, 2, 3, generator=rng) * 9).to(dtype)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 997])
def test_shares_cover_everything_once_and_evenly(n: int, size: int) -> None:
    """Catches padding, a row counted twice, and a last process that gets all the rest."""
    shares = [share(n, World(rank, size)) for rank in range(size)]
    assert [i for one in shares for i in one] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_everything_is_what_was_given() -> None:
    rows = whole(torch.float32)
    with joined() as here:
        assert here == world() == launched() == World(0, 1)
    assert gather_rows(rows) is rows
    before = rows.clone()
    sum_([rows])
    from_first_([rows])
    assert torch.equal(rows, before)
    assert (gather(3), from_first("x"), any_(True), any_(False)) == ([3], "x", True, False)


@pytest.mark.parametrize(("rank", "size"), [("x", "2"), ("2", "2"), ("0", "-1"), ("0", "0")])
def test_an_environment_that_is_no_place_is_told(
    rank: str, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UsageError, match="invalid RANK"):
        launched()


def test_one_gpu_for_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one GPU"), joined("cuda:0"):
        pass


def exchange() -> dict[str, Any]:
    with joined("cpu", 30) as here:
        found: dict[str, Any] = {
            "world": (here.rank, here.size),
            "any": any_(here.rank == 1),
            "none": any_(False),
        }
        found["rows"] = {
            (str(dtype), n): gather_rows(whole(dtype, n)[list(share(n, here))])
            for dtype in DTYPES
            for n in (0, 1, ROWS)
        }
        found["flat"] = gather_rows(torch.arange(here.rank))  # shares that are no even split: 0, 1, 2 rows
        found["strided"] = gather_rows(torch.arange(12.0).view(3, 4).t()[: here.rank + 1])
        mixed = [torch.full((2, 2), 0.1 * (here.rank + 1)), torch.tensor(here.rank), torch.ones(3).double()]
        sum_(mixed)
        sum_([])
        found["sums"] = mixed
        sent = [torch.full((2,), float(here.rank)), torch.arange(4).view(2, 2).t() + here.rank]
        from_first_(sent)
        found["sent"] = sent
        found["objects"] = (from_first({"rank": here.rank}), gather((here.rank, "x")))
    found["after"] = world()
    return found


def test_three_processes_gather_sum_and_send(tmp_path: Path) -> None:
    """Catches rows out of order or padded, a dtype gloo does not know, and bits that differ between ranks."""
    told = returned(on_ranks(3, exchange, folder=tmp_path))
    for rank, found in enumerate(told):
        assert found["world"] == (rank, 3)
        assert (found["any"], found["none"]) == (True, False)
        for dtype in DTYPES:
            for n in (0, 1, ROWS):
                rows = found["rows"][str(dtype), n]
                assert rows.dtype == dtype
                assert torch.equal(rows, whole(dtype, n))
        assert found["flat"].tolist() == [0, 0, 1]
        column = torch.arange(12.0).view(3, 4).t()
        assert torch.equal(found["strided"], torch.cat([column[:1], column[:2], column[:3]]))
        torch.testing.assert_close(found["sums"][0], torch.full((2, 2), 0.6))
        assert found["sums"][1].item() == 3
        assert torch.equal(found["sums"][2], torch.full((3,), 3.0).double())
        assert found["sent"][0].tolist() == [0, 0]
        assert found["sent"][1].tolist() == [[0, 2], [1, 3]]
        assert found["objects"] == ({"rank": 0}, [(0, "x"), (1, "x"), (2, "x")])
        assert found["after"] == World(0, 1)
    for other in told[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other["sums"], told[0]["sums"], strict=True))


def lose(how: str) -> None:
    with joined("cpu", 30) as here:
        gather_rows(torch.ones(2))
        if here.rank == 1:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise UsageError("its own mistake")
        sum_([torch.ones(2)])


@pytest.mark.parametrize("how", ["killed", "raised"])
def test_a_process_that_is_gone_ends_the_others_with_a_message(how: str, tmp_path: Path) -> None:
    """Catches a hang, and a traceback out of gloo where a message is due."""
    told = on_ranks(3, lose, how, folder=tmp_path, seconds=25)
    for rank in (0, 2):
        kind, message = told[rank] or ("died", "")
        assert kind == "raised"
        assert message.startswith(f"MachineError: rank {rank} of 3: all-")
        assert "failed; another rank exited or timed out" in message
        assert "next:" in message
    assert told[1] == (None if how == "killed" else ("raised", "UsageError: its own mistake"))


def lose_inside() -> None:
    """Raise what is told where code of a plugin communicates by itself, as sharded weights do."""
    with joined("cpu", 30) as here:
        gather_rows(torch.ones(2))
        if here.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            torch.distributed.all_reduce(torch.ones(2))
        except RuntimeError as error:
            raise attributed(error, "ddpm", "in a phase") from error


def test_a_lost_process_is_not_the_plugins_fault(tmp_path: Path) -> None:
    """Catches a plugin that is named where another rank is gone."""
    expected = "MachineError: rank 0 of 2: communication failed; another rank exited or timed out"
    told = on_ranks(2, lose_inside, folder=tmp_path, seconds=40)[0]
    assert told is not None
    assert told[0] == "raised"
    assert told[1].startswith(expected)
    assert lost(RuntimeError("gloo/transport")) is None


def silent() -> None:
    with joined("cpu", 2) as here:
        if here.rank == 1:
            time.sleep(8)
        sum_([torch.ones(2)])


def test_a_process_that_is_silent_is_given_up_in_time(tmp_path: Path) -> None:
    """Catches a wait of half an hour, the library's own, where another was asked for."""
    kind, message = on_ranks(2, silent, folder=tmp_path, seconds=25)[0] or ("died", "")
    assert (kind, "another rank exited or timed out" in message) == ("raised", True)


def test_importing_it_costs_no_torch() -> None:
    code = "import sys, zoo_core.machine.distributed as d; print(d.world(), 'torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "World(rank=0, size=1) False"
