"""Compiled networks compute what plain ones do, and losses that hold a gradient are left plain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from tests.core.recipes import INFO, Single
from zoo_core.config import TrainConfig
from zoo_core.data.loading import Resident, TrainData
from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.training import compilation
from zoo_core.training.compilation import (
    CACHE,
    GRAPHED,
    GRAPHS,
    compile_blocks,
    compile_networks,
    eager,
    mode_for,
    new_code,
    no_new_code,
    regions,
    use_cache,
)
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
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """Return a setter of torch.compile's backend: aot_eager differentiates as inductor does, and is quick."""
    compile_ = nn.Module.compile

    def use(name: str) -> None:
        monkeypatch.setattr(nn.Module, "compile", lambda self, **how: compile_(self, backend=name, **how))

    torch._dynamo.reset()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield use


def trained(
    loss: Any, compiled: bool | Literal["auto"], dtype: torch.dtype, **phase: Any
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
    assert said[:-1] == ([] if loss is plain else ["not compiled, for a loss that holds a gradient: fit"])
    assert "first step" in said[-1]


def test_a_phase_that_says_so_is_not_tried(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend("aot_eager")
    monkeypatch.setattr(Harness, "_differentiates_twice", lambda self, phase: pytest.fail("was tried"))
    assert "not compiled" in trained(lazy, True, torch.float64, second_order=True)[1][0]


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
    compiled = seen["frames"]["total"]
    with no_new_code(), new_code(), no_new_code():
        net(x[:2, :, :8, :8], t)
    assert seen["frames"]["total"] > compiled


@pytest.mark.parametrize(
    ("parameters", "device", "repeated", "fixed", "mode"),
    [
        (GRAPHED, "cuda", True, True, GRAPHS),
        (GRAPHED + 1, "cuda", True, True, None),
        (GRAPHED, "cpu", True, True, None),
        (GRAPHED, "cuda", False, True, None),
        (GRAPHED, "cuda", True, False, None),
    ],
)
def test_cuda_graphs_are_for_blocks_of_small_networks_on_a_gpu(
    parameters: int, device: str, repeated: bool, fixed: bool, mode: str | None
) -> None:
    assert mode_for(parameters, device, repeated=repeated, fixed=fixed) == mode


def test_the_mode_reaches_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a network that is compiled without the mode that its size asks for, or marks no calls."""
    modes: list[Any] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **how: modes.append(how["mode"]))
    monkeypatch.setattr(compilation, "mode_for", lambda n, device, **how: GRAPHS if how["fixed"] else None)
    marks: list[bool] = []
    monkeypatch.setattr(compilation, "mark_step", lambda: marks.append(True))
    net = Critic()
    compile_networks([net])
    compile_networks([net], fixed=True)
    compile_networks([net], fixed=True)
    assert modes == [None] * 3 + [GRAPHS] * 6
    net(torch.randn(2, 2))
    assert marks == []
    with torch.no_grad():
        net(torch.randn(2, 2))
    assert marks == [True]
    compilation._graphed.discard(net)


def test_compiled_code_is_kept_in_zoo_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_cache_of_home", "")
    monkeypatch.setenv(CACHE, "/named/by/the/user")
    assert str(use_cache()) == "/named/by/the/user"
    monkeypatch.delenv(CACHE)
    assert use_cache() == home / "inductor"
    assert (home / "inductor").is_dir()
    monkeypatch.setenv("ZOO_HOME", str(home / "other"))
    assert use_cache() == home / "other" / "inductor"
    (home / "file").write_text("")
    monkeypatch.setenv("ZOO_HOME", str(home / "file"))
    monkeypatch.delenv(CACHE)
    assert use_cache() is None


@pytest.mark.slow(depends=("zoo_core/training/compilation.py",))
def test_a_second_start_finds_the_code_of_the_first(
    home: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches code that is kept elsewhere, and a start that is called warm and is not."""
    monkeypatch.setattr(compilation, "_cache_of_home", "")
    monkeypatch.delenv(CACHE, raising=False)
    backend("inductor")
    lines = []
    for _ in range(2):
        torch._dynamo.reset()
        start = compilation.Start()
        block = Block(4)
        compile_blocks([block])
        block(torch.randn(3, 4)).sum().backward()
        lines.append(start.line)
    assert "(cold start: 0 of" in lines[0]
    assert "(warm start:" in lines[1]
    assert any((home / "inductor").rglob("*.py"))
    assert str(home) not in lines[1]
