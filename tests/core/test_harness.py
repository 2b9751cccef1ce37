"""The one loop: who is updated, how often, on which examples, and what stops it."""

from __future__ import annotations

import copy
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.core.recipes import Duel, Single, harness, points
from zoo_core.config import EmaConfig, OptimizerConfig
from zoo_core.errors import DivergedError, MachineError, PluginError
from zoo_core.training.ema import Averages, Ema
from zoo_core.training.harness import Listener
from zoo_core.training.optim import build_optimizer, build_schedule
from zoo_core.training.plan import split_steps
from zoo_core.training.randomness import random_states, set_random_states
from zoo_core.training.recipe import Phase, Stage


def test_phases_alternate_repeat_and_rest_as_declared() -> None:
    """Catches a critic updated once a step, the lecture's n_critic + 1, and a lazy phase run every step."""
    recipe = Duel(n_critic=2, second=False)
    run = harness(recipe, steps=6)
    run.run()
    order = [(name, step) for name, step, _ in recipe.trace]
    expected = []
    for step in range(6):
        expected += (
            [("critic", step)] * 2 + ([("lazy", step)] if step % 3 == 0 else []) + [("generator", step)]
        )
    assert order == expected
    assert run.counts.updates == {"first/critic": 12, "first/lazy": 2, "first/generator": 6}
    assert run.counts.images == 8 * 20
    assert int(recipe.seen) == 8 * 12


def test_every_repeat_gets_a_fresh_batch_and_an_epoch_covers_all() -> None:
    recipe = Duel(n_critic=5, second=False)
    harness(recipe, steps=5, batch_size=10).run()
    drawn = [row for _, _, rows in recipe.trace for row in rows]
    for start in range(0, len(drawn) - 50, 50):
        assert sorted(drawn[start : start + 50]) == list(range(50))


def test_only_what_a_phase_updates_gets_gradients() -> None:
    """Catches a generator that moves in the critic's phase, and gradients left in a frozen network."""
    recipe = Duel(n_critic=1, second=False)
    before = copy.deepcopy(recipe.state_dict())

    def spy(loss: Any) -> Any:
        def wrapped(batch: Any, context: Any) -> Any:
            asked = {name for name, p in recipe.named_parameters() if p.requires_grad}
            assert asked == {name for name, _ in recipe.named_parameters() if name.startswith("critic")}
            return loss(batch, context)

        return wrapped

    recipe.critic_loss = spy(recipe.critic_loss)  # type: ignore[method-assign]

    def stop(batch: Any, context: Any) -> Any:
        raise MachineError("stop")

    recipe.generator_loss = stop  # type: ignore[method-assign]
    run = harness(recipe, steps=1)
    with pytest.raises(MachineError, match="stop"):
        run.run()
    moved = {name for name, value in recipe.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name, _ in recipe.named_parameters() if name.startswith("critic")}


def test_what_a_recipe_froze_stays_frozen_inside_an_updated_module() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net[0].requires_grad_(False)
    fixed = net[0].weight.clone()
    harness(Single(net, lambda n, b, c: n(b.x).square().mean()), steps=3).run()
    assert torch.equal(net[0].weight, fixed)


def test_a_step_is_plain_sgd() -> None:
    """An independent loop in float32 gives the same weights: no hidden scaling of loss or gradient."""
    net = nn.Linear(2, 1)
    twin = copy.deepcopy(net)
    recipe = Single(net, lambda n, b, c: n(b.x).square().mean())
    run = harness(recipe, steps=7)
    stream = harness(Single(copy.deepcopy(twin), lambda n, b, c: n(b.x).mean())).data
    run.run()
    for _ in range(7):
        x = stream.next(8).x
        grads = torch.autograd.grad(twin(x).square().mean(), list(twin.parameters()))
        with torch.no_grad():
            for p, g in zip(twin.parameters(), grads, strict=True):
                p -= 0.1 * g
    for mine, other in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_accumulation_is_the_whole_batch(parts: int) -> None:
    """Unequal micro-batches (8 into 3) are weighted by their size; sums and keeps are joined."""
    net = nn.Linear(2, 1)
    whole, split = copy.deepcopy(net), copy.deepcopy(net)
    seen: list[Any] = []
    after = {"after_step": lambda sums, keep: seen.append(sums)}
    harness(Single(whole, lambda n, b, c: n(b.x).square().mean()), steps=5).run()
    harness(Single(split, lambda n, b, c: n(b.x).square().mean(), **after), steps=5, accumulate=parts).run()
    for mine, other in zip(whole.parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(mine, other)
    assert len(seen) == 5
    recipe = Duel(second=False)
    harness(recipe, steps=4, accumulate=min(parts, 3)).run()  # its batch norm needs two rows
    assert int(recipe.seen) == 8 * 2 * 4  # Duel.count asserts that keep has every row


def test_the_gradient_is_clipped_to_its_norm() -> None:
    net = nn.Linear(2, 1)
    before = torch.cat([p.detach().flatten().clone() for p in net.parameters()])
    harness(Single(net, lambda n, b, c: 1e3 * n(b.x).mean(), grad_clip=0.5), steps=1).run()
    after = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.1 * 0.5, rel=1e-4)


def test_phases_that_share_an_optimizer_share_its_state() -> None:
    recipe = Duel(n_critic=1, second=False)
    run = harness(recipe, steps=4)
    run.listener = Listener(stop=lambda: run.counts.step == 4)
    run.run()
    steps = {float(state["step"]) for state in run.optimizers["critic"].state.values()}
    assert steps == {4 + 2.0}  # four critic updates and two lazy ones
    assert len(run.optimizers) == 2


def test_stages_split_the_steps_and_the_later_one_sees_averaged_weights() -> None:
    assert split_steps(Duel().stages(), 20) == [14, 6]
    fitted = Stage("fit")
    assert split_steps([fitted, *Duel().stages()], 7) == [0, 5, 2]
    recipe = Duel()
    run = harness(recipe, steps=20)
    average: dict[str, torch.Tensor] = {}

    def watch() -> bool:
        if run.counts.stage == 0:
            average.update({k: v.clone() for k, v in run.averages.of["generator"].state().items()})
        return run.counts.stage == 0 and run.counts.step == 14

    run.listener = Listener(stop=watch)
    run.run()
    run.listener = Listener(stop=lambda: run.counts.stage == 1)
    raw = {k: v.clone() for k, v in recipe.generator.named_parameters()}
    run._end_stage()
    for name, parameter in recipe.generator.named_parameters():
        assert torch.equal(parameter, average[name])
    with run.averages.applied("raw"):
        for name, parameter in recipe.generator.named_parameters():
            assert torch.equal(parameter, raw[name])


def test_the_average_is_that_of_a_plain_loop_and_leaves_buffers_alone() -> None:
    """Catches a decay applied to the wrong side, and a schedule's buffers averaged away (black images)."""
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = Ema(net, EmaConfig(decay=0.9, warmup=False))
    expected = [p.detach().clone() for p in net.parameters()]
    for _ in range(5):
        with torch.no_grad():
            for p in net.parameters():
                p += 1.0
        net(torch.randn(4, 2))
        ema.update(4)
        expected = [0.9 * e + 0.1 * p.detach() for e, p in zip(expected, net.parameters(), strict=True)]
    live = [p.detach().clone() for p in net.parameters()]
    buffers = {k: v.clone() for k, v in net.named_buffers()}
    averages = Averages(net)
    averages.of["x"] = ema
    with averages.applied():
        for p, e in zip(net.parameters(), expected, strict=True):
            torch.testing.assert_close(p.detach(), e)
        for name, buffer in net.named_buffers():
            assert torch.equal(buffer, buffers[name])
    for p, kept in zip(net.parameters(), live, strict=True):
        assert torch.equal(p.detach(), kept)


def test_the_averages_warm_up_and_half_life() -> None:
    net = nn.Linear(1, 1)
    warm = Ema(net, EmaConfig(decay=0.999))
    assert warm.decay(64) == pytest.approx(0.1)
    warm.updates = 10**6
    assert warm.decay(64) == 0.999
    half = Ema(net, EmaConfig(half_life=640.0, warmup=False))
    assert half.decay(64) ** 10 == pytest.approx(0.5)


@pytest.mark.parametrize(("value", "accumulate"), [(math.nan, 1), (math.inf, 1), (math.nan, 2)])
def test_a_loss_that_is_not_finite_stops_at_its_step(value: float, accumulate: int) -> None:
    def loss(net: nn.Module, batch: Any, context: Any) -> torch.Tensor:
        return net(batch.x).mean() + (value if context.step == 7 else 0.0)

    saved: list[int] = []
    run = harness(Single(nn.Linear(2, 1), loss), steps=20, accumulate=accumulate, checkpoint_every=3)
    run.listener = Listener(save=lambda step, _: saved.append(step))
    with pytest.raises(DivergedError) as caught:
        run.run()
    assert caught.value.status == 3
    for part in ("'only'", "'fit'", "step 7", "last values"):
        assert part in str(caught.value)
    assert saved == [3, 6]


def test_weights_that_are_not_finite_are_never_saved() -> None:
    net = nn.Linear(2, 1)
    saved: list[int] = []

    def poison(sums: Any, keep: Any) -> None:
        if run.counts.step == 4:
            net.weight.fill_(math.nan)

    run = harness(
        Single(net, lambda n, b, c: n(b.x).mean().nan_to_num(), after_step=poison), checkpoint_every=5
    )
    run.listener = Listener(save=lambda step, _: saved.append(step))
    with pytest.raises(DivergedError, match=r"net\.weight"):
        run.run()
    assert saved == []


def test_a_recipe_that_raises_is_named_with_its_phase() -> None:
    def broken(net: nn.Module, batch: Any, context: Any) -> torch.Tensor:
        raise KeyError("nothing there")

    with pytest.raises(PluginError, match="'toy' failed in stage 'only', phase 'fit', step 0: KeyError"):
        harness(Single(nn.Linear(2, 1), broken)).run()


def test_out_of_memory_says_what_to_change() -> None:
    def greedy(net: nn.Module, batch: Any, context: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(MachineError, match=r"train.batch_size=4") as caught:
        harness(Single(nn.Linear(2, 1), greedy)).run()
    assert caught.value.status == 5


def test_the_random_states_of_a_gpu_are_those_of_the_runs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches the state of cuda:1 restored on the current device; of the calls alone, without a GPU."""
    states = {device: torch.tensor([k], dtype=torch.uint8) for k, device in enumerate(("cuda:0", "cuda:1"))}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device="cuda:0": states[str(device)].clone())
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device="cuda:0": states.__setitem__(str(device), state)
    )
    kept = random_states(torch.device("cuda:1"))
    assert int(kept["cuda"]) == 1
    states["cuda:1"] = torch.tensor([9], dtype=torch.uint8)
    set_random_states(kept, torch.device("cuda:1"))
    assert {device: int(state) for device, state in states.items()} == {"cuda:0": 0, "cuda:1": 1}


def test_random_states_come_back_as_they_were() -> None:
    device = torch.device("cpu")
    kept = random_states(device)

    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    first = drawn()
    assert drawn() != first
    set_random_states(kept, device)
    assert drawn() == first


def test_images_move_neither_weights_nor_random_states() -> None:
    """A run with listeners that draw equals one without, to the last bit."""

    def weights(draws: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        recipe = Duel()
        run = harness(recipe, steps=12, sample_every=2)

        def image(step: int) -> None:
            assert not recipe.training
            torch.randn(100)
            recipe.generator(torch.randn(4, 2))

        run.listener = Listener(image=image if draws else lambda step: None)
        run.run()
        return {k: v.clone() for k, v in recipe.state_dict().items()}

    torch.manual_seed(1)
    quiet, drawing = weights(False), weights(True)
    for name in quiet:
        assert torch.equal(quiet[name], drawing[name]), name


@pytest.mark.parametrize("kind", ["adam", "adamw", "rmsprop", "sgd"])
def test_optimizers_are_torchs_own(kind: str) -> None:
    """Fused or not, the update is that of the plain algorithm."""
    config = OptimizerConfig(kind=kind, lr=0.01, momentum=0.0, weight_decay=0.01)  # type: ignore[arg-type]
    mine, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.load_state_dict(mine.state_dict())
    plain = {
        "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01, foreach=False),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01, foreach=False),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, weight_decay=0.01, foreach=False),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=0.01, foreach=False),
    }[kind](other.parameters())
    optimizer = build_optimizer(config, list(mine.named_parameters()))
    for step in range(5):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        for net, o in ((mine, optimizer), (other, plain)):
            o.zero_grad()
            net(x).square().mean().backward()
            o.step()
    torch.testing.assert_close(mine.weight, other.weight)


def test_muon_orthogonalizes_the_momentum_of_matrices_and_gives_the_rest_to_nadamw() -> None:
    """Against singular vectors of the momentum (Jordan et al. 2024) and Adam with Nesterov's
    momentum, whose correction of the bias is Adam's, as timm has it."""
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Linear(5, 8), nn.Linear(8, 2))
    config = OptimizerConfig(kind="muon", lr=0.01, momentum=0.9, weight_decay=0.1)
    optimizer = build_optimizer(config, list(net.named_parameters()))
    matrices, others = [net[0].weight, net[1].weight], [net[0].bias, net[1].bias, net[2].weight, net[2].bias]
    first = {p: torch.zeros_like(p.flatten(1) if p.ndim > 1 else p) for p in net.parameters()}
    second = {p: torch.zeros_like(p) for p in others}
    rng = torch.Generator().manual_seed(0)
    for step in range(1, 5):
        before = {p: 0.999 * p.detach().clone() for p in net.parameters()}  # lr * weight_decay = 0.001
        for p in net.parameters():
            p.grad = torch.randn(p.shape, generator=rng)
        optimizer.step()
        for p in matrices:
            gradient = p.grad.flatten(1)
            first[p] = 0.9 * first[p] + 0.1 * gradient
            u, _, v = torch.linalg.svd(0.1 * gradient + 0.9 * first[p], full_matrices=False)
            moved = (before[p] - p.detach()).flatten(1) / (0.01 * 0.2 * max(first[p].shape) ** 0.5)
            torch.testing.assert_close(moved, u @ v, atol=0.02, rtol=0)
        for p in others:
            first[p] = 0.9 * first[p] + 0.1 * p.grad.reshape(first[p].shape)
            second[p] = 0.999 * second[p] + 0.001 * p.grad.square()
            ahead = (0.9 * first[p].reshape(p.shape) + 0.1 * p.grad) / (1 - 0.9**step)
            moved = 0.01 * ahead / (second[p] / (1 - 0.999**step)).sqrt()
            torch.testing.assert_close(p.detach(), before[p] - moved, atol=2e-5, rtol=0)


def test_the_term_in_the_denominator_reaches_what_muon_leaves_to_nadamw() -> None:
    moved = []
    for eps in (1e-8, 1.0):
        net = nn.Linear(8, 8)
        nn.init.zeros_(net.bias)
        optimizer = build_optimizer(OptimizerConfig(kind="muon", lr=0.1, eps=eps), [*net.named_parameters()])
        net.weight.grad, net.bias.grad = torch.eye(8), torch.ones(8)
        optimizer.step()
        moved.append(float(net.bias.detach().abs().mean()))
    assert moved[1] == pytest.approx(moved[0] / 2, rel=1e-3)  # |g| / (|g| + 1)


def test_muon_keeps_the_factors_on_rates_and_resumes() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    config = OptimizerConfig(kind="muon", lr=1.0, momentum=0.95, lr_mult={"1": 0.1})
    optimizer = build_optimizer(config, list(net.named_parameters()))
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rates[p] for p in net.parameters()] == [1.0, 1.0, 0.1, 0.1]

    def steps(count: int) -> None:
        for step in range(count):
            for place, p in enumerate(net.parameters()):
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * step + place))
            optimizer.step()

    steps(3)
    states, weights = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(net.state_dict())
    steps(2)
    whole = copy.deepcopy(net.state_dict())
    net.load_state_dict(weights)
    optimizer = build_optimizer(config, list(net.named_parameters()))
    optimizer.load_state_dict(states)
    steps(2)
    for name, value in net.state_dict().items():
        assert torch.equal(value, whole[name]), name


def test_rates_follow_their_schedule_and_multiplier() -> None:
    net = nn.ModuleDict({"mapping": nn.Linear(1, 1), "rest": nn.Linear(1, 1)})
    for kind, expected in (("cosine", 0.5 * (1 + math.cos(math.pi * 0.5))), ("linear", 0.5)):
        config = OptimizerConfig(kind="sgd", lr=1.0, schedule=kind, lr_mult={"mapping": 0.01})  # type: ignore[arg-type]
        optimizer = build_optimizer(config, list(net.named_parameters()))
        schedule = build_schedule(config, optimizer, 100)
        assert schedule is not None
        schedule(50)
        rates = sorted(group["lr"] for group in optimizer.param_groups)
        assert rates == pytest.approx([0.01 * expected, expected], rel=1e-6)
    config = OptimizerConfig(kind="sgd", lr=1.0, warmup=10)
    optimizer = build_optimizer(config, list(net.named_parameters()))
    schedule = build_schedule(config, optimizer, 100)
    assert schedule is not None
    schedule(5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5)
    schedule(60)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1.0)
    assert build_schedule(OptimizerConfig(), optimizer, 100) is None


def test_a_phase_defaults_to_one_update_a_step() -> None:
    phase = Phase("p", lambda b, c: None, [], "o")  # type: ignore[arg-type,return-value]
    assert (phase.repeat, phase.every, phase.grad_clip, phase.after_step) == (1, 1, None, None)
    assert len(points()) == 50
