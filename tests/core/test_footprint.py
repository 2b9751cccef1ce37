"""The memory of training, predicted: against closed forms, against whole batches, and what is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.core.recipes import Duel, Single, harness
from zoo_core.config import OptimizerConfig
from zoo_core.machine import memory
from zoo_core.machine.live import LiveBytes
from zoo_core.training import footprint as module
from zoo_core.training.failures import TooLargeError
from zoo_core.training.footprint import _held, check_memory, footprint, optimizer_size
from zoo_core.training.optim import build_optimizer


def wide(width: int = 64) -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
    )


def square(net: nn.Module, batch: Any, context: Any) -> torch.Tensor:
    return net(batch.x).square().mean()


def test_the_bytes_of_live_tensors_are_those_of_a_graph_by_hand() -> None:
    """Catches a parameter or a view that counts, and one that is dropped and still counts."""
    w = nn.Parameter(torch.randn(30, 40))
    with LiveBytes() as live:
        x = torch.randn(5, 30)
        hidden = x @ w
        view = hidden[:, :3]
        assert live.now == 4 * (5 * 30 + 5 * 40)
        view += 1
        assert live.now == 4 * (5 * 30 + 5 * 40)
        loss = hidden.square().sum()
        loss.backward()
        del x, hidden, view, loss
        assert live.now == 4 * 30 * 40  # the gradient
    assert max(live.history) == 4 * (5 * 30 + 2 * 5 * 40 + 30 * 40 + 2)  # the loss, its gradient of 1


@pytest.mark.parametrize("rows", [3, 64, 700])
def test_a_few_examples_tell_what_a_whole_batch_takes(rows: int) -> None:
    """Catches one line through the highest of both sizes: on few examples gradients weigh most."""
    one = harness(Single(wide(), square), steps=1, batch_size=rows)
    (phase,) = one.stages[0].phases
    one.recipe.train()
    whole = float(_held(one, phase, one.data.next(rows)).max())
    one.data.drawn = 0
    found = footprint(one)
    own = sum(4 * p.numel() for p in one.recipe.parameters())
    loaded = rows * (2 * 4 + 8)
    working = found.total - found.optimizer - found.ema - found.gradients
    assert working == pytest.approx(max(whole + loaded, 2 * own + found.optimizer), rel=0.02)


@pytest.mark.parametrize("kind", ["adam", "adamw", "rmsprop", "sgd", "muon"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_states_of_optimizers_are_what_torch_keeps(kind: Any, momentum: float) -> None:
    net = wide()
    config = OptimizerConfig(kind=kind, momentum=momentum)
    optimizer = build_optimizer(config, list(net.named_parameters()))
    net(torch.randn(3, 2)).sum().backward()
    optimizer.step()
    states = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, torch.Tensor)]
    kept = sum(t.numel() * t.element_size() for t in states if t.ndim)
    assert optimizer_size(config, net.parameters()) == kept


def test_averages_other_optimizers_and_parts_of_a_batch_are_counted() -> None:
    both = footprint(harness(Duel(), steps=4, batch_size=512))
    generator, critic = (
        sum(4 * p.numel() for p in net.parameters()) for net in (Duel().generator, Duel().critic)
    )
    assert both.ema == generator  # of two stages, the first has it
    assert both.gradients in (generator, critic)
    assert both.optimizer == 2 * generator + critic
    parts = footprint(harness(Duel(), steps=4, batch_size=512, accumulate=4))
    assert parts.rows == 128
    assert parts.total < both.total


def test_nothing_of_a_run_is_moved() -> None:
    """Catches a batch that is missing later, a moved batch norm, a generator that was drawn from."""

    def trained(tried: bool) -> tuple[Any, ...]:
        torch.manual_seed(3)
        one = harness(Duel(), steps=6, batch_size=16)
        if tried:
            before = [p.requires_grad for p in one.recipe.parameters()]
            footprint(one)
            assert [p.requires_grad for p in one.recipe.parameters()] == before
            assert all(p.grad is None for p in one.recipe.parameters())
        one.run()
        return {k: v.clone() for k, v in one.recipe.state_dict().items()}, torch.rand(4), one.data.drawn

    (weights, drawn, at), (weights_, drawn_, at_) = trained(False), trained(True)
    assert all(torch.equal(weights[name], weights_[name]) for name in weights)
    assert torch.equal(drawn, drawn_)
    assert at == at_


def test_a_batch_that_cannot_fit_is_refused_with_the_accumulation_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The number that is named fits, and the one before it does not."""
    one = harness(Single(wide(), square), steps=1, batch_size=1024)
    found = footprint(one)
    free = int(found.at(1024 // 5))
    monkeypatch.setattr(module, "free_bytes", lambda device: free)
    with pytest.raises(TooLargeError) as refused:
        check_memory(one)
    text = str(refused.value)
    assert "train.batch_size=1024" in text
    assert "next: train.accumulate=6" in text  # 1024 / 5 rounded up is a row more than fits
    assert found.at(-(-1024 // 6)) <= free < found.at(-(-1024 // 5))
    assert refused.value.status == 5
    monkeypatch.setattr(module, "free_bytes", lambda device: int(found.total) + 1)
    assert check_memory(one).total == found.total
    monkeypatch.setattr(module, "free_bytes", lambda device: None)
    check_memory(one)
    monkeypatch.setattr(module, "free_bytes", lambda device: 1000)
    with pytest.raises(TooLargeError, match="a smaller network"):
        check_memory(one)


def test_a_loss_that_fails_so_early_is_left_to_training() -> None:
    def fails(net: nn.Module, batch: Any, context: Any) -> torch.Tensor:
        raise ValueError("not yet")

    one = harness(Single(wide(), fails), steps=1)
    assert footprint(one).total > 0


def test_memory_that_is_free_counts_swap_and_the_limit_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:  500 kB\nSwapFree:    20 kB\n")
    monkeypatch.setattr(memory, "_SYSTEM", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    cpu = torch.device("cpu")
    assert memory.free_bytes(cpu) == 520 * 1024
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 500\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes(cpu) == 520 * 1024
    (tmp_path / "memory.max").write_text("10000\n")
    assert memory.free_bytes(cpu) == 10000 - 3000 + 500
    monkeypatch.setattr(memory, "_SYSTEM", tmp_path / "none")
    assert memory.free_bytes(cpu) is None
    assert (memory.shown(2.14e9), memory.shown(4.4e7), memory.shown(3)) == ("2.1 GB", "44 MB", "1 MB")
