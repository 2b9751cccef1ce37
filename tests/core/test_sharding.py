"""Sharded weights: the numbers and checkpoints of one process, and refusals before training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.core.ranks import on_ranks, returned
from tests.core.recipes import harness
from zoo_core.config import EmaConfig, OptimizerConfig
from zoo_core.machine.distributed import joined
from zoo_core.training.checkpoint import Checkpoint
from zoo_core.training.harness import Harness, Listener
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.training.shard_trial import watched
from zoo_core.training.sharding import blocks_of, networks_of
from zoo_core.types import Batch, Context, Loss

STEPS = 12
SLOW = pytest.mark.slow(
    depends=("zoo_core/training", "zoo_core/machine", "zoo_core/config", "tests/core/recipes.py")
)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(x).tanh()


class Net(nn.Module):
    """Five columns, so that the shards of two and three processes are uneven, and a bias of one number."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, 5)
        self.blocks = nn.Sequential(Block(5), Block(5))
        self.last = nn.Linear(5, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.blocks(self.first(x)))


class Match(Recipe):
    """A regression, a critic with an undeclared gradient penalty and clipped weights, and a second stage."""

    data_sized = ("steps",)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.critic = Net(2, 2), Net(2, 1)
        self.outside = nn.Parameter(torch.ones(()))
        self.register_buffer("steps", torch.zeros(0))

    def stages(self) -> list[Stage]:
        made = {
            "fit": Phase("fit", self.fit, [self.net], "net", grad_clip=0.3),
            "critic": Phase("critic", self.contrast, [self.critic], "critic", repeat=2, after_step=self.clip),
        }
        optim = {
            "net": OptimizerConfig(kind="adamw", lr=1e-2, weight_decay=0.1),
            "critic": OptimizerConfig(kind="rmsprop", lr=1e-3),
        }
        ema = {"net": EmaConfig(kind="power"), "critic": EmaConfig(decay=0.9)}
        second = Phase("fit", self.fit, [self.net], "net")
        return [
            Stage("first", [made["critic"], made["fit"]], optim, 0.7, ema),
            Stage("second", [second], optim, 0.3, {"net": EmaConfig(kind="power")}),
        ]

    def fit(self, batch: Batch, context: Context) -> Loss:
        x = batch.x.to(torch.float64)
        made = self.net(x)
        return Loss((made - x.flip(1)).square().mean() - 0.1 * self.critic(made).mean())

    def contrast(self, batch: Batch, context: Context) -> Loss:
        real = batch.x.to(torch.float64).requires_grad_()
        with torch.no_grad():
            fake = self.net(real)
        score = self.critic(real)
        (slope,) = torch.autograd.grad(score.sum(), real, create_graph=True)
        gap = self.critic(fake).mean() - score.mean()
        return Loss(gap + slope.square().sum(1).mean(), sums={"n": torch.tensor(len(real))})

    def clip(self, sums: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
        self.steps = torch.cat([self.steps, sums["n"][None]])
        for parameter in self.critic.parameters():
            parameter.clamp_(-0.4, 0.4)


def made(recipe: Callable[[], Recipe] = Match, parallel: str = "fsdp", **train: Any) -> Harness:
    torch.manual_seed(0)
    return harness(
        recipe().to(torch.float64), STEPS, batch_size=7, parallel=parallel, **{"log_every": 1, **train}
    )


def trained(start: Checkpoint | None = None, stop: int = 0, parallel: str = "fsdp", **train: Any) -> Any:
    """Train, from a checkpoint or to a step; return what was told and what is there at the end."""
    run = made(parallel=parallel, **train)
    told: dict[str, Any] = {"log": [], "snapshots": [], "saved": [], "said": [], "images": []}

    def image(step: int) -> None:  # as a sample grid does: with EMA weights, in the first process alone
        if run.world.first:
            told["images"].append(run.recipe.net(torch.ones(3, 2, dtype=torch.float64)))

    run.listener = Listener(
        log=lambda step, values: told["log"].append(values),
        snapshot=lambda step, its: told["snapshots"].append(its),
        save=lambda step, kept: told["saved"].append(kept),
        image=image,
        say=told["said"].append,
        stop=lambda: run.counts.total == stop,
    )
    if start is not None:
        run.restore(copy.deepcopy(start))  # whose tensors are in one memory for all processes
        told["again"] = copy.deepcopy(run.checkpoint())
        if run.shards is not None:
            told["held"] = [[p.to_local().numel() for p in ps] for ps in run._members.values()]
    run.run()
    if run.shards is not None:  # stopped
        return told
    return told | {
        "weights": run.recipe.state_dict(),
        "averages": {name: ema.average for name, ema in run.averages.of.items()},
        "kinds": {type(module).__name__ for module in run.recipe.modules()},
        "hooks": [len(m._forward_hooks) + len(m._state_dict_pre_hooks) for m in run.recipe.modules()],
    }


def on_rank(*given: Any) -> Any:
    with joined("cpu", 60):
        start, stop, parallel, train = given
        return trained(start, stop, parallel, **train)


def several(
    size: int, folder: Path, start: Any = None, stop: int = 0, parallel: str = "fsdp", **train: Any
) -> Any:
    return returned(on_ranks(size, on_rank, start, stop, parallel, train, folder=folder, seconds=120))


def close(found: Any, expected: Any) -> None:
    """Hold nested numbers against each other to 1e-12, and names, kinds and shapes exactly."""
    assert type(found) is type(expected)
    if isinstance(expected, Tensor):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    elif isinstance(expected, Mapping):
        assert list(found) == list(expected)
        for name in expected:
            close(found[name], expected[name])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    else:
        assert found == expected


def compared(found: Any, alone: Any) -> None:
    for name in ("weights", "averages", "kinds", "hooks"):
        close(found[name], alone[name])
    for one, other in zip(found["log"], alone["log"], strict=True):
        close({n: v for n, v in one.items() if "/" in n}, {n: v for n, v in other.items() if "/" in n})


@SLOW
@pytest.mark.parametrize(("size", "accumulate"), [(2, 1), (3, 1), (2, 3)])
def test_sharded_training_has_the_numbers_of_one_process(size: int, accumulate: int, tmp_path: Path) -> None:
    """Losses, weights, EMA weights, snapshots, sample grids: catches shards that are stale or lost."""
    alone = trained()
    first, *others = several(size, tmp_path, accumulate=accumulate)
    for found in (first, *others):
        compared(found, alone)
    close(first["snapshots"], alone["snapshots"])
    close(first["images"], alone["images"])
    assert [len(alone[name]) for name in ("images", "snapshots")] == [3, 8]
    assert "sharded weights: 168 parameters in 6 blocks; whole weights in: critic" in first["said"]
    assert alone["said"][0].startswith("train.parallel=fsdp: one process has all weights")


@SLOW
def test_a_checkpoint_of_one_process_is_the_same_with_shards_and_goes_on(tmp_path: Path) -> None:
    alone, cut = trained(), trained(stop=5)
    (start,) = cut["saved"]
    for parallel in ("fsdp", "replicate"):
        first, *others = several(3, tmp_path, start, parallel=parallel)
        for name in ("weights", "ema"):
            assert torch.equal(
                *(
                    torch.cat([t.flatten() for t in _leaves(getattr(one, name))])
                    for one in (first["again"], start)
                )
            )
        close(first["again"].state["optimizers"], start.state["optimizers"])
        close(first["again"].state["lengths"], start.state["lengths"])
        for found in (first, *others):
            close(found["weights"], alone["weights"])
            close(found["averages"], alone["averages"])


def _leaves(tree: Any) -> list[Tensor]:
    return [tree.double()] if isinstance(tree, Tensor) else [t for one in tree.values() for t in _leaves(one)]


@SLOW
def test_a_checkpoint_with_shards_is_one_of_one_process(tmp_path: Path) -> None:
    """The same names, shapes, kinds and numbers, in the first process alone, and it goes on in any way."""
    alone, cut = trained(), trained(stop=5)
    first, other = several(2, tmp_path, stop=5)
    (kept,) = first["saved"]
    for name in ("weights", "ema"):
        close(getattr(kept, name), getattr(cut["saved"][0], name))
    for name in ("optimizers", "lengths", "counts", "ema"):
        found, expected = (dict(one.state[name]) for one in (kept, cut["saved"][0]))
        found.pop("seconds", None), expected.pop("seconds", None)
        close(found, expected)
    assert not any(t.numel() for t in _leaves(other["saved"][0].ema))
    close(trained(kept)["weights"], alone["weights"])
    again = several(2, tmp_path, kept)
    close(again[1]["weights"], alone["weights"])
    held = [
        [sum(rows) for rows in zip(*its, strict=True)]
        for its in zip(*(one["held"] for one in again), strict=True)
    ]
    assert held == [[p.numel() for p in net.parameters()] for net in (Net(2, 1), Net(2, 2))]
    assert 0 < sum(map(sum, again[0]["held"])) < 0.7 * sum(map(sum, held))


class Bypassed(Match):
    def fit(self, batch: Batch, context: Context) -> Loss:
        return Loss(self.net.last(self.net.blocks(self.net.first(batch.x.to(torch.float64)))).square().mean())


class Scalar(Match):
    def __init__(self) -> None:
        super().__init__()
        self.net.register_parameter("scale", nn.Parameter(torch.ones(())))


class Tied(Match):
    def __init__(self) -> None:
        super().__init__()
        self.net.blocks[1].linear.weight = self.net.blocks[0].linear.weight


class Mixed(Match):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shadow", torch.zeros(5, 2))

    def clip(self, sums: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
        self.shadow.lerp_(self.critic.first.weight, 0.1)


class Orthogonal(Match):
    def stages(self) -> list[Stage]:
        phase = Phase("fit", self.fit, [self.net], "net")
        return [Stage("only", [phase], {"net": OptimizerConfig(kind="muon")})]


REFUSED: dict[str, tuple[type[Match], dict[str, Any], str]] = {
    "bypassed": (Bypassed, {}, "phase 'fit' can't be computed with sharded weights: aten"),
    "scalar": (Scalar, {}, "the parameter net.scale is a single number, which has no rows to divide"),
    "tied": (Tied, {}, "net.blocks.1.linear.weight and net.blocks.0.linear.weight are one parameter"),
    "mixed": (Mixed, {}, "phase 'critic' can't be computed with sharded weights: aten.lerp_"),
    "muon": (Orthogonal, {}, "muon orthogonalizes whole matrices"),
    "compiled": (Match, {"compile": True}, "train.compile=true"),
}


def refusals() -> dict[str, str]:
    found = {}
    with joined("cpu", 60):
        for name, (recipe, train, _) in REFUSED.items():
            try:
                run = made(recipe, **train)
                run.run()
                found[name] = f"trained {run.counts.total} steps"
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"
    return found


@SLOW
def test_what_can_t_be_sharded_is_refused_before_training(tmp_path: Path) -> None:
    for told in returned(on_ranks(2, refusals, folder=tmp_path, seconds=120)):
        for name, (_, _, reason) in REFUSED.items():
            assert told[name].startswith(f"UsageError: train.parallel=fsdp: {reason}"), told[name]
            assert "next: train.parallel=replicate" in told[name]


def diverges() -> None:
    with joined("cpu", 60):
        run = made(checkpoint_every=4)
        run.listener = Listener(step=lambda step: _spoil(run))
        run.run()


def _spoil(run: Harness) -> None:
    """Make the last row of a weight infinite, where this process has it."""
    if run.world.rank == run.world.size - 1 and run.counts.total == 4:
        run.recipe.critic.first.bias.to_local()[-1:] = torch.inf


@SLOW
def test_all_processes_stop_where_a_weight_of_one_is_not_finite(tmp_path: Path) -> None:
    told = on_ranks(2, diverges, folder=tmp_path, seconds=120)
    for one in told:
        assert "DivergedError: toy: training diverged: weight 'critic.first.bias'" in str(one)


def test_whole_weights_of_a_list_of_modules_are_those_of_its_members() -> None:
    first, second = Net(2, 2), Net(2, 1)
    updates = [nn.ModuleList([first, nn.ModuleDict({"a": second})]), first.blocks, nn.Tanh()]
    phases = [Phase("one", Match().fit, updates, "net"), Phase("two", Match().fit, [second], "net")]
    assert networks_of(phases) == [first, second]
    assert blocks_of(first) == list(first.blocks)
    assert blocks_of(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))) == []


def test_gradients_that_are_differentiated_are_noticed() -> None:
    net, x = Net(2, 1), torch.ones(3, 2, requires_grad=True)
    with watched([net]) as notes:
        net(x).sum().backward()
        assert notes == [False]
        (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        slope.square().sum().backward()
        assert notes == [False, True]
    net(x).sum().backward()
    assert len(notes) == 2
