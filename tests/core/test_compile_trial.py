"""train.compile=auto: what a trial of one block predicts, what follows from it, and its traces."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.core.recipes import INFO, Single
from tests.core.test_compilation import Backend, Block, Critic, backend, lazy, plain
from zoo_core.config import TrainConfig
from zoo_core.data.loading import Resident, TrainData
from zoo_core.errors import UsageError
from zoo_core.registry.resolution import config_hash, resolve
from zoo_core.training import compile_trial, harness
from zoo_core.training.compile_trial import Pace, Trial, Worth
from zoo_core.training.compiled_batches import CompiledBatches
from zoo_core.training.harness import Harness, Listener
from zoo_core.training.length import tied_to_length

__all__ = ["backend"]
PAYS = Worth(shapes=2, compiling=3.0, ratio=2.0, saved=0.5, left=100)


class Clock:
    """Time that passes when a block says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Slow(nn.Module):
    """A block that takes some seconds of the clock for each row."""

    def __init__(self, clock: Clock, seconds: float, width: int = 2) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        self.clock.now += self.seconds * len(x)
        y: Tensor = self.linear(x)
        return y


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(compile_trial, "time", found)
    return found


@pytest.mark.parametrize(("saved", "pays"), [(0.0601, True), (0.0599, False), (-1.0, False)])
def test_compiling_pays_where_it_saves_more_than_it_costs(saved: float, pays: bool) -> None:
    worth = Worth(shapes=2, compiling=3.0, ratio=1.5, saved=saved, left=100)
    assert worth.cost == 6
    assert worth.pays is pays
    assert worth.line.startswith("compiled: " if pays else "not compiled: ")


def test_a_trial_predicts_from_the_block_that_takes_the_most_time(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two blocks of one shape and one of another: 2 + 2 * 6 + 1 seconds in the blocks of a unit of work."""
    blocks = [Slow(clock, 1.0), Slow(clock, 3.0), Slow(clock, 0.25, 4)]
    trial = Trial(blocks, contextlib.nullcontext, backward=True)
    tried: list[Any] = []

    def compared(block: nn.Module, kept: Any) -> tuple[float, float, float]:
        tried.append((block, kept.args[0]))
        return 12.0, 8.0, 20.0  # both passes as they are, compiled, and the first time

    monkeypatch.setattr(trial, "_compared", compared)
    for value in (0.0, 1.0):
        with trial.watching():
            blocks[0](torch.zeros(2, 2))
            for _ in range(2):
                blocks[1](torch.full((2, 2), value, requires_grad=True))
            blocks[2](torch.zeros(4, 4))
        trial.end_unit()
    assert trial.done
    worth = trial.worth(10)
    assert isinstance(worth, Worth)
    assert tried[0][0] is blocks[1]
    assert torch.equal(tried[0][1], torch.ones(2, 2))
    assert not tried[0][1].requires_grad
    # 15 seconds forward; the block saves 4 seconds for each 6 of its forward passes
    assert worth == Worth(shapes=2, compiling=12.0, ratio=1.5, saved=10.0, left=10)
    before = clock.now
    blocks[0](torch.zeros(2, 2))
    assert (trial.seconds, trial.calls) == ([2.0, 12.0, 1.0], [1, 2, 1])
    assert clock.now == before + 2
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in blocks)


@pytest.mark.parametrize("backward", [True, False])
def test_a_trial_leaves_its_block_alone(backend: Backend, backward: bool) -> None:
    backend("aot_eager")
    block = nn.Sequential(Block(3), nn.BatchNorm1d(3))
    before = {name: value.clone() for name, value in block.state_dict().items()}
    trial = Trial([block], contextlib.nullcontext, backward=backward)
    x = torch.randn(4, 3, requires_grad=True)
    block.requires_grad_(False)
    for _ in range(2):
        with trial.watching():
            block.eval()(x)
        trial.end_unit()
    block.train()
    worth = trial.worth(1)
    assert isinstance(worth, Worth)
    assert worth.ratio > 0
    assert all(torch.equal(before[name], value) for name, value in block.state_dict().items())
    assert x.grad is None
    assert all(p.grad is None and not p.requires_grad for p in block.parameters())
    assert block._compiled_call_impl is None


def test_a_block_that_cant_be_tried_is_not_compiled() -> None:
    block = Block(2)
    trial = Trial([block], contextlib.nullcontext, backward=False)
    for _ in range(2):
        trial.end_unit()
    assert trial.worth(1) == "no block of the networks was called"
    trial = Trial([block], contextlib.nullcontext, backward=False)
    for _ in range(2):
        with trial.watching():
            block(torch.zeros(1, 2))
        trial.end_unit()
    trial._kept.args = (torch.zeros(1, 3),)  # type: ignore[union-attr]
    assert "a block can't be compiled alone" in str(trial.worth(1))


def test_the_pace_leaves_the_first_step_out(clock: Clock) -> None:
    pace = Pace()
    found = []
    for step, seconds in enumerate((50.0, 0.4, 0.4, 0.4), start=1):
        clock.now += seconds
        found.append(pace.after(step))
    assert found[:3] == [None, None, None]
    assert found[3] == pytest.approx(0.4)


# -- in training


def auto(loss: Any = plain, steps: int = 6, **phase: Any) -> tuple[Harness, list[str]]:
    torch.manual_seed(0)
    recipe = Single(Critic().double(), loss, **phase)
    rows = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).double()
    config = TrainConfig(steps=steps, batch_size=8, compile="auto", log_every=1)
    said: list[str] = []
    run = Harness(recipe, config, TrainData(Resident(rows), INFO, 0), listener=Listener(say=said.append))
    return run, said


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> Callable[[Worth], None]:
    """Return a setter of what trials predict; a stage is never too short for one."""
    monkeypatch.setattr(harness, "LEAST", 0.0)
    monkeypatch.setattr(compile_trial, "TIMED", 0.0)
    return lambda worth: monkeypatch.setattr(Trial, "worth", lambda self, left: worth)


def weights(run: Harness) -> dict[str, Tensor]:
    run.run()
    return dict(run.recipe.state_dict())


def blocks_of(run: Harness) -> list[nn.Module]:
    return list(run.recipe.net.blocks)


def test_a_trial_that_pays_is_followed_by_compiled_blocks(
    backend: Backend, decided: Callable[[Worth], None]
) -> None:
    """The trial, the compilation and the steps after it change no weight."""
    backend("aot_eager")
    reference, _ = auto()
    assert reference.compiled is None
    expected = weights(reference)
    assert reference.compiled is None
    decided(PAYS)
    run, said = auto()
    found = weights(run)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10)
    assert said[0] == f"train.compile=auto: {PAYS.line}"
    assert "first step" in said[1]
    assert run.compilation == [PAYS.line, said[1]]
    assert all(block._compiled_call_impl is not None for block in blocks_of(run))


def test_a_trial_of_the_real_block_changes_no_weight(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend("aot_eager")
    expected = weights(auto()[0])
    monkeypatch.setattr(harness, "LEAST", 0.0)
    monkeypatch.setattr(compile_trial, "TIMED", 0.0)
    run, said = auto()
    found = weights(run)
    assert "a block is" in said[0]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10)


def test_a_trial_that_does_not_pay_leaves_blocks_as_they_are(decided: Callable[[Worth], None]) -> None:
    decided(Worth(2, 3.0, 1.0, 0.0, 100))
    run, said = auto()
    weights(run)
    assert len(said) == 1
    assert "not compiled" in said[0]
    assert all(block._compiled_call_impl is None for block in blocks_of(run))


def test_where_little_is_left_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_trial, "TIMED", 0.0)
    monkeypatch.setattr(harness, "Trial", lambda *_, **__: pytest.fail("was tried"))
    run, said = auto()
    weights(run)
    assert len(said) == 1
    assert "s of training are left" in said[0]


def test_phases_that_differentiate_twice_are_not_watched(
    backend: Backend, decided: Callable[[Worth], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend("aot_eager")
    decided(PAYS)
    monkeypatch.setattr(Trial, "watching", lambda self: pytest.fail("was watched"))
    monkeypatch.setattr(Harness, "_differentiates_twice", lambda self, phase: pytest.fail("was tried"))
    run, said = auto(lazy)
    weights(run)
    assert "not compiled, for a loss that holds a gradient: fit" in said


@pytest.mark.parametrize("compiled", [True, False])
def test_a_resumed_run_keeps_the_decision(
    backend: Backend, decided: Callable[[Worth], None], monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    """Catches a decision that is made again, which other work on the machine may turn."""
    backend("aot_eager")
    decided(PAYS if compiled else Worth(2, 3.0, 1.0, 0.0, 100))
    first, _ = auto()
    first.listener = Listener(stop=lambda: first.counts.total == 5)
    first.run()
    saved = first.checkpoint()
    assert saved.state["compiled"] is compiled
    monkeypatch.setattr(harness, "Trial", lambda *_, **__: pytest.fail("was tried"))
    again, said = auto()
    again.restore(saved)
    assert all((block._compiled_call_impl is not None) is compiled for block in blocks_of(again))
    again.run()
    assert ["first step" in line for line in said] == [True] * compiled
    first.listener = Listener()
    first.run()
    for name, value in first.recipe.state_dict().items():
        assert torch.equal(again.recipe.state_dict()[name], value)


def test_a_run_that_has_not_decided_says_nothing_of_it() -> None:
    run, _ = auto()
    run.listener = Listener(stop=lambda: True)
    run.run()
    assert "compiled" not in run.checkpoint().state


def test_auto_is_refused_where_a_training_must_repeat_to_the_bit() -> None:
    with pytest.raises(UsageError, match=r"train\.compile"):
        resolve({"plugin": "vae", "train.compile": "auto", "train.audit": 5})
    config = resolve({"plugin": "vae", "train.compile": "auto"})
    run, _ = auto()
    assert any("train.compile=auto" in why for why in tied_to_length(run, config, 100))


def test_the_option_is_read_from_text() -> None:
    values = {text: resolve({"plugin": "vae", "train.compile": text}) for text in ("auto", "true", "false")}
    assert [one.train.compile for one in values.values()] == ["auto", True, False]
    hashes = {config_hash(one) for one in values.values()}
    assert len(hashes) == 3  # results differ by rounding
    assert config_hash(values["false"]) == config_hash(resolve({"plugin": "vae"}))


# -- in batches


def frames() -> int:
    found: int = torch._dynamo.utils.counters["frames"]["total"]
    return found


def test_whole_batches_are_compiled_and_the_last_one_is_not(backend: Backend) -> None:
    """Catches code that is made for the last batch, and a network that a small request compiles."""
    backend("eager")
    torch._dynamo.utils.counters.clear()
    net = Critic()
    expected = net(torch.ones(3, 2))
    work = CompiledBatches([net], True, whole=4)
    with torch.no_grad(), work.batch(3, 0):
        net(torch.ones(3, 2))
    assert frames() == 0
    counts = []
    for rows, left in ((4, 7), (4, 3), (3, 0)):
        with torch.no_grad(), work.batch(rows, left):
            torch.testing.assert_close(net(torch.ones(rows, 2))[:3], expected)
        counts.append(frames())
    assert counts[0] > 0
    assert counts == counts[:1] * 3


@pytest.mark.parametrize("pays", [True, False])
def test_batches_are_compiled_where_a_trial_of_two_says_so(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, pays: bool
) -> None:
    backend("eager")
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr("zoo_core.training.compiled_batches.LEAST", 0.0)
    seen: list[float] = []

    def worth(self: Trial, left: float) -> Worth:
        seen.append(left)
        return PAYS if pays else Worth(2, 3.0, 1.0, 0.0, 100)

    monkeypatch.setattr(Trial, "worth", worth)
    net, said = Critic(), []
    work = CompiledBatches([net], "auto", whole=4, say=said.append)
    counts = []
    for left in (13, 9, 5, 1):
        with torch.no_grad(), work.batch(4, left):
            net(torch.ones(4, 2))
        counts.append(frames())
    assert seen == [2]
    assert len(said) == 1
    assert counts[:2] == [0, 0]
    assert (counts[2] > 0) is pays
    assert counts[3] == counts[2]


def test_few_batches_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trial, "worth", lambda self, left: pytest.fail("was tried"))
    net = Critic()
    work = CompiledBatches([net], "auto", whole=4)
    for left in (8, 4, 0):
        with torch.no_grad(), work.batch(4, left):
            net(torch.ones(4, 2))
    assert work.compiled is None
    off = CompiledBatches([net], False, whole=4)
    with off.batch(4, 100):
        net(torch.ones(4, 2))
    assert net.blocks[0]._compiled_call_impl is None
