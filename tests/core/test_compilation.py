"""Compiled networks compute what plain ones do, and losses that hold a gradient are left plain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.core.recipes import INFO, Single
from zoo_core.config import TrainConfig
from zoo_core.data.loading import Resident, TrainData
from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.training.compilation import compile_networks, eager, no_new_code, regions
from zoo_core.training.harness import Harness, Listener
from zoo_core.types import Batch, Context, DataInfo
from zoo_gan.penalties import gradient_penalty, input_gradient, r1

Backend = Callable[..., None]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.linear(x))


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 8), nn.Linear(8, 1)
        self.blocks = nn.ModuleList(Block(8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = block(h)
        return self.last(h)


def penalized(net: nn.Module, batch: Batch, context: Context) -> Tensor:
    fake = torch.randn(batch.x.shape, generator=context.rng, dtype=batch.x.dtype)
    return net(fake).mean() - net(batch.x).mean() + gradient_penalty(net, batch.x, fake, context.rng)


def lazy(net: nn.Module, batch: Batch, context: Context) -> Tensor:
    return net(batch.x).square().mean() + r1(net, batch.x)


def score(net: nn.Module, batch: Batch, context: Context) -> Tensor:
    noise = torch.randn(batch.x.shape, generator=context.rng, dtype=batch.x.dtype)
    return (input_gradient(net, batch.x + noise) + noise).square().mean()


def plain(net: nn.Module, batch: Batch, context: Context) -> Tensor:
    return (net(batch.x) - batch.x.sum(1, keepdim=True)).square().mean()


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Return a setter of torch.compile's backend: aot_eager differentiates as inductor does, and is quick."""
    compile_ = nn.Module.compile

    def use(name: str) -> None:
        monkeypatch.setattr(nn.Module, "compile", lambda self, **how: compile_(self, backend=name, **how))

    torch._dynamo.reset()
    return use


def trained(
    loss: Any, compiled: bool, dtype: torch.dtype, **phase: Any
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights after five steps and what was said."""
    torch.manual_seed(0)
    recipe = Single(Critic().to(dtype), loss, **phase)
    said: list[str] = []
    rows = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
    config = TrainConfig(steps=5, batch_size=8, compile=compiled, log_every=1)
    run = Harness(recipe, config, TrainData(Resident(rows), INFO, 0), listener=Listener(say=said.append))
    run.run()
    return recipe.state_dict(), said


@pytest.mark.parametrize("loss", [penalized, lazy, score, plain])
def test_a_compiled_network_trains_as_a_plain_one(loss: Any, backend: Backend) -> None:
    backend("aot_eager")
    reference, silent = trained(loss, False, torch.float64)
    weights, said = trained(loss, True, torch.float64)
    for name, value in reference.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-10, atol=1e-10)
    assert silent == []
    assert said == ([] if loss is plain else ["not compiled, for a loss that holds a gradient: fit"])


def test_a_phase_that_says_so_is_not_tried(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend("aot_eager")
    monkeypatch.setattr(Harness, "_differentiates_twice", lambda self, phase: pytest.fail("was tried"))
    assert trained(lazy, True, torch.float64, second_order=True)[1] != []


def test_the_trial_of_a_loss_leaves_no_trace(backend: Backend) -> None:
    """Catches random numbers, batches or gradients that the trial has used up."""
    backend("aot_eager")
    once, _ = trained(lazy, True, torch.float64)
    told, _ = trained(lazy, True, torch.float64, second_order=True)
    assert all(torch.equal(once[name], told[name]) for name in told)


@pytest.mark.slow(depends=("zoo_core/training",))
def test_inductor_computes_the_same(backend: Backend) -> None:
    backend("inductor")
    reference, _ = trained(plain, False, torch.float32)
    weights, _ = trained(plain, True, torch.float32)
    for name, value in reference.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5)


def test_the_regions_of_a_unet_are_its_blocks() -> None:
    """Nearly all of its parameters are in them, and no two share any."""
    net = UNet(UNetConfig(channels=16, mult=(1, 2, 2), blocks=2), DataInfo("toy", (3, 16, 16), 256))
    blocks = regions(net)
    inside = [id(p) for block in blocks for p in block.parameters()]
    assert len(inside) == len(set(inside))
    assert len(blocks) == 3 * 2 + 2 + 2 + 3 * 3 + 2  # down, its two shrinkings, middle, up, its two growings
    share = sum(p.numel() for block in blocks for p in block.parameters()) / sum(
        p.numel() for p in net.parameters()
    )
    assert share > 0.95


def test_a_network_without_repeated_blocks_is_one_region() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    assert regions(net) == [net]


def test_no_block_falls_back_to_running_as_it_is(backend: Backend) -> None:
    """Catches torch.compile's limit on shapes, beyond which blocks are left plain with a line in a log."""
    backend("eager")
    seen = torch._dynamo.utils.counters
    seen.clear()
    net = UNet(UNetConfig(channels=16, mult=(1, 2, 3, 4), blocks=3), DataInfo("toy", (3, 16, 16), 256))
    compile_networks([net])
    x, t = torch.randn(2, 3, 16, 16), torch.rand(2)
    with eager():
        expected = net(x, t)
        assert not seen["frames"]
    torch.testing.assert_close(net(x, t), expected)
    assert seen["frames"]["ok"] == seen["frames"]["total"] >= 8
    assert not seen["graph_break"]
    assert not seen["unimplemented"]
    compiled = seen["frames"]["total"]
    with no_new_code():
        net(x[:1], t[:1])
    assert seen["frames"]["total"] == compiled
    net(x[:1], t[:1])
    assert seen["frames"]["total"] > compiled
