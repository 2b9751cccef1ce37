"""Gradients added up during the backward pass: their buckets, their order, and what a process lacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.core.ranks import on_ranks, returned
from tests.core.recipes import Single, harness
from zoo_core.machine.distributed import joined, start_sum, world
from zoo_core.training import parallel
from zoo_core.training.harness import Harness
from zoo_core.training.parallel import Reducer, buckets
from zoo_core.types import Batch, Context


def layers(n: int = 4, width: int = 8) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(n)))


def bytes_of(p: Tensor) -> int:
    return p.numel() * p.element_size()


def test_buckets_hold_every_parameter_once_the_last_first_and_one_kind_each() -> None:
    net = layers()
    net[1].double()
    every = list(net.parameters())
    found = buckets([*every, every[0]], 300)
    assert [p for group in found for p in group if p.dtype == torch.float32] == [
        p for p in reversed(every) if p.dtype == torch.float32
    ]
    assert sum(map(len, found)) == len(every)
    assert all(len({p.dtype for p in group}) == 1 for group in found)
    # a bucket is closed by the parameter that fills it: 32 bytes of a bias, 256 of a matrix
    assert [sum(map(bytes_of, group)) for group in found] == [320, 544, 576]
    assert len(buckets(every, 1)) == len(every)
    assert len(buckets(layers().parameters(), 1 << 20)) == 1


class Branching(nn.Module):
    """A branch that one process alone takes, and one that nobody does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.branch, self.never, self.last = (nn.Linear(2, 2) for _ in range(4))

    def forward(self, x: Tensor, takes: bool) -> Tensor:
        h = self.first(x)
        return self.last(h + self.branch(x) if takes else h)


def branched(taken_by: int) -> dict[str, Any]:
    with joined("cpu", 30) as here:
        net = Branching()
        reducer = Reducer(net.parameters(), 1)
        x = torch.arange(4.0).view(2, 2) + here.rank
        found = []
        for _ in range(2):
            net.zero_grad()
            loss = net(x, here.rank == taken_by).square().mean() / here.size
            reducer.arm()
            loss.backward()
            reducer.finish()
            found.append({name: p.grad for name, p in net.named_parameters()})
        hooks = [p._post_accumulate_grad_hooks for p in net.parameters()]
        assert not any(hooks)
        return {"grads": found, "overlap": vars(reducer.overlap), "buckets": len(reducer)}


def alone(size: int, taken_by: int) -> dict[str, Tensor | None]:
    net = Branching()
    for rank in range(size):
        x = torch.arange(4.0).view(2, 2) + rank
        (net(x, rank == taken_by).square().mean() / size).backward()
    return {name: p.grad for name, p in net.named_parameters()}


@pytest.mark.parametrize("size", [2, 3])
def test_a_branch_that_only_rank_0_takes_is_added_up_everywhere(size: int, tmp_path: Path) -> None:
    """Catches a wait for a bucket that one process never fills, and sums of buckets that do not match."""
    wanted = alone(size, taken_by=0)
    for rank, found in enumerate(returned(on_ranks(size, branched, 0, folder=tmp_path))):
        for grads in found["grads"]:
            for name, grad in wanted.items():
                if grad is None:
                    assert grads[name] is None  # an optimizer leaves what nobody reached as it is
                else:
                    torch.testing.assert_close(grads[name], grad)
        assert found["buckets"] == 8
        assert found["overlap"]["sums"] == 16
        # in the order last, never, branch, first: the rest waits for `never`, which gets no gradient
        assert found["overlap"]["early"] == 2 * 2, rank


def accumulated(accumulate: int) -> dict[str, Any]:
    parallel.BUCKET_BYTES = 1
    with joined("cpu", 30):
        made = summed(accumulate)
        made.run()
        (reducer,) = kept_reducers
        return {"sums": reducer.overlap.sums, "early": reducer.overlap.early, "buckets": len(reducer)}


kept_reducers: list[Reducer] = []


def summed(accumulate: int) -> Harness:
    def loss(net: nn.Module, batch: Batch, context: Context) -> Tensor:
        return net(batch.x).square().mean()

    recipe = Single(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), loss)
    made = harness(recipe, steps=5, batch_size=12, accumulate=accumulate)
    begin = made._begin

    def begun(*args: Any, **more: Any) -> None:
        begin(*args, **more)
        phase = made.stages[0].phases[0]
        made.reducers = {phase.name: Reducer(made.updated(phase), 1)}
        kept_reducers[:] = made.reducers.values()

    made._begin = begun  # type: ignore[method-assign]
    return made


@pytest.mark.parametrize("accumulate", [1, 3])
def test_sums_are_begun_in_the_last_backward_pass_alone(accumulate: int, tmp_path: Path) -> None:
    """Catches a sum a micro-batch, which costs `accumulate` times as much, and sums begun too early."""
    for found in returned(on_ranks(2, accumulated, accumulate, folder=tmp_path)):
        assert found == {"sums": 5 * 4, "early": 5 * 4, "buckets": 4}


class Slow(torch.autograd.Function):
    """The identity, whose backward pass ends when something else has, or after 10 s."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, until: Callable[[], bool]) -> Tensor:
        ctx.until = until
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        deadline = time.monotonic() + 10
        while not ctx.until() and time.monotonic() < deadline:
            time.sleep(0.005)
        return grads[0], None


def timeline() -> list[str]:
    from torch import distributed

    events: list[str] = []
    works: list[Any] = []
    plain = distributed.all_reduce

    def watched(*args: Any, **more: Any) -> Any:
        events.append(f"begin {len(works)}")
        works.append(plain(*args, **more))
        return works[-1]

    with joined("cpu", 30):
        net = layers(2)
        reducer = Reducer(net.parameters(), 250)

        def first_is_summed() -> bool:
            return bool(works) and works[0].is_completed()

        distributed.all_reduce = watched
        h = Slow.apply(net[0](torch.ones(3, 8, requires_grad=True)), first_is_summed)
        loss = net[1](h).square().mean()
        reducer.arm()
        loss.backward()
        events.append("complete" if works[0].is_completed() else "pending")
        events.append("backward done")
        reducer.finish()
        distributed.all_reduce = plain
    return events


def test_the_first_bucket_is_added_up_while_the_backward_pass_goes_on(tmp_path: Path) -> None:
    """The first layer's backward pass waits until the last layer's sum is complete: it is, before the end."""
    for events in returned(on_ranks(2, timeline, folder=tmp_path)):
        assert events == ["begin 0", "begin 1", "complete", "backward done"]


def independent() -> list[float]:
    """Begin a sum and do others meanwhile, in another order in each process."""
    with joined("cpu", 30) as here:
        early, late = torch.full((2,), 1.0 + here.rank), torch.full((3,), 10.0 * (1 + here.rank))
        if here.first:
            wait = start_sum(early)
            from zoo_core.machine.distributed import sum_

            sum_([late])
        else:
            from zoo_core.machine.distributed import sum_

            sum_([late])
            wait = start_sum(early)
        wait()
        return [*early.tolist(), *late.tolist()]


def test_sums_that_are_begun_are_told_apart_from_others_meanwhile(tmp_path: Path) -> None:
    """Catches one group for both, where a sum would meet another one of another length."""
    for found in returned(on_ranks(2, independent, folder=tmp_path)):
        assert found == [3.0, 3.0, 30.0, 30.0, 30.0]


def test_alone_nothing_is_begun() -> None:
    rows = torch.ones(2)
    start_sum(rows)()
    assert (world().size, rows.tolist()) == (1, [1.0, 1.0])
    made = summed(1)
    made.run()
    assert not made.reducers
