"""Batch norm and rows over several processes: what one process computes of the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.core.ranks import on_ranks, returned
from zoo_core.errors import UsageError
from zoo_core.machine.distributed import joined, share, world
from zoo_core.training.whole_batch import is_shared, rows_of_all, shared_batch, summed, synchronized

ROWS = 7


def rows(*shape: int) -> Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def norms() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    return {
        "points": (nn.BatchNorm1d(4), (4,)),
        "images": (nn.BatchNorm2d(3), (3, 5, 2)),
        "cumulative": (nn.BatchNorm1d(4, momentum=None), (4,)),
        "plain": (nn.BatchNorm1d(4, affine=False, track_running_stats=False), (4,)),
    }


def normalized(kind: str) -> dict[str, Any]:
    """Two updates' outputs, gradients and statistics of this process's rows."""
    norm, shape = norms()[kind]
    norm = norm.double()
    for k, parameter in enumerate(norm.parameters()):
        nn.init.constant_(parameter, 0.7 + k)
    outputs, grads = [], []
    own = share(ROWS, world())
    with synchronized(norm), shared_batch():
        for k in range(2):
            x = rows(*shape)[list(own)].add(k).requires_grad_()
            y = norm(x)
            (y**3).sum().backward()
            outputs.append(y.detach())
            grads.append(x.grad)
    inner = [p.grad for p in norm.parameters()]
    return {"y": outputs, "dx": grads, "dw": inner, "state": norm.state_dict()}


def normalized_on_ranks(kind: str) -> dict[str, Any]:
    with joined("cpu", 30):
        return normalized(kind)


@pytest.mark.parametrize("kind", list(norms()))
def test_batch_norm_over_processes_is_that_of_the_whole_batch(kind: str, tmp_path: Path) -> None:
    """Outputs, gradients and running statistics are those of torch's own batch norm on all rows at once."""
    wanted = normalized(kind)
    told = returned(on_ranks(3, normalized_on_ranks, kind, folder=tmp_path))
    for k in range(2):
        for what in ("y", "dx"):
            found = torch.cat([one[what][k] for one in told])
            torch.testing.assert_close(found, wanted[what][k], rtol=1e-11, atol=1e-12)
    for one in told:
        for name, value in wanted["state"].items():
            torch.testing.assert_close(one["state"][name], value, rtol=1e-12, atol=1e-12)
            assert torch.equal(one["state"][name], told[0]["state"][name])
    for k, grad in enumerate(wanted["dw"]):
        torch.testing.assert_close(sum(one["dw"][k] for one in told), grad, rtol=1e-10, atol=1e-11)


class OwnWay(nn.BatchNorm1d):
    def forward(self, x: Tensor) -> Tensor:
        return x


def refused() -> int:
    with joined("cpu", 30):
        with synchronized(nn.Sequential(nn.BatchNorm1d(2), nn.SyncBatchNorm(2))) as n:
            kept = n
        with synchronized(OwnWay(2)):
            pass
        return kept


def test_a_batch_norm_with_a_way_of_its_own_is_refused_over_processes(tmp_path: Path) -> None:
    for told in on_ranks(2, refused, folder=tmp_path):
        assert told is not None
        assert told[1].startswith("UsageError: 2 processes and batch norm with a way of its own: OwnWay")
    with synchronized(OwnWay(2)) as n:
        assert n == 0


def outside() -> list[bool]:
    """Outside of a step, and in evaluation, a batch norm sees what it is given and waits for nobody."""
    with joined("cpu", 30) as here:
        norm = nn.BatchNorm1d(2)
        x = torch.arange(6.0).view(3, 2) * (1 + here.rank)
        with synchronized(norm):
            if here.first:  # the other process makes no such call
                norm(x)
                norm.eval()
                with shared_batch():
                    norm(x)
            found = [is_shared()]
            with shared_batch():
                found.append(is_shared())
        return [*found, "forward" in vars(norm)]


def test_only_a_training_step_s_batch_is_shared(tmp_path: Path) -> None:
    for found in returned(on_ranks(2, outside, folder=tmp_path)):
        assert found == [False, True, False]


def spread(x: Tensor) -> Tensor:
    """A function of all rows for each own row, nonlinear in both."""
    whole, own = rows_of_all(x)
    return (whole.square().sum(0) * x).sin() + whole.mean(0) * whole[own]


def twice(of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return a gradient by own rows and the gradient of its square, as a penalty takes it."""
    own = share(ROWS, world())
    x = rows(3)[list(own)].requires_grad_()
    with shared_batch():
        (grad,) = torch.autograd.grad(of(x).sum(), x, create_graph=True)
        (again,) = torch.autograd.grad(grad.square().sum(), x)
    return grad.detach(), again


def twice_on_ranks() -> tuple[Tensor, Tensor]:
    with joined("cpu", 30):
        return twice(spread)


def test_rows_of_all_processes_are_differentiable_twice(tmp_path: Path) -> None:
    wanted = twice(spread)
    told = returned(on_ranks(3, twice_on_ranks, folder=tmp_path))
    for k in range(2):
        torch.testing.assert_close(torch.cat([one[k] for one in told]), wanted[k], rtol=1e-11, atol=1e-12)


def test_alone_they_are_what_was_given() -> None:
    x = rows(2)
    with shared_batch():
        whole, own = rows_of_all(x)
        assert whole is x
        assert own == slice(0, ROWS)
        assert summed(x) is x
    with pytest.raises(UsageError), shared_batch():
        raise UsageError("x")
    assert not is_shared()
