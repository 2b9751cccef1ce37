"""Small recipes that the harness is tested with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.config import EmaConfig, OptimizerConfig, TrainConfig
from zoo_core.data.loading import Resident, TrainData
from zoo_core.training.harness import Harness
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Loss, SampleRequest, Samples

INFO = DataInfo("toy", (2,), None)


class Duel(Recipe):
    """Two networks in alternation, with dropout, batch norm, averages, a buffer and a second stage."""

    def __init__(self, n_critic: int = 2, second: bool = True) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2)
        )
        self.critic = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.n_critic, self.second = n_critic, second
        self.trace: list[tuple[str, int, list[int]]] = []

    def stages(self) -> Sequence[Stage]:
        optim = {
            "critic": OptimizerConfig(kind="rmsprop", lr=1e-3),
            "generator": OptimizerConfig(kind="adam", lr=1e-3),
        }
        critic = Phase(
            "critic", self.critic_loss, [self.critic], "critic", repeat=self.n_critic, after_step=self.count
        )
        lazy = Phase("lazy", self.lazy_loss, [self.critic], "critic", every=3)
        generator = Phase("generator", self.generator_loss, [self.generator], "generator", grad_clip=1.0)
        first = Stage("first", [critic, lazy, generator], optim, 0.7, {"generator": EmaConfig(decay=0.9)})
        again = Stage(
            "again", [Phase("fine", self.generator_loss, [self.generator], "generator")], optim, 0.3
        )
        return [first, again] if self.second else [first]

    def critic_loss(self, batch: Batch, context: Context) -> Loss:
        self.trace.append(("critic", context.step, batch.index.tolist()))
        z = torch.randn(len(batch), 2, generator=context.rng)
        gap = self.critic(self.generator(z)).mean() - self.critic(batch.x).mean()
        return Loss(gap, sums={"n": torch.tensor(len(batch))}, keep={"index": batch.index})

    def lazy_loss(self, batch: Batch, context: Context) -> Loss:
        self.trace.append(("lazy", context.step, batch.index.tolist()))
        return Loss(self.critic(batch.x).square().mean())

    def generator_loss(self, batch: Batch, context: Context) -> Loss:
        self.trace.append(("generator", context.step, batch.index.tolist()))
        z = torch.randn(len(batch), 2, generator=context.rng)
        return Loss(-self.critic(self.generator(z)).mean(), log={"progress": torch.tensor(context.progress)})

    def count(self, sums: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
        assert len(keep["index"]) == int(sums["n"])
        self.seen += sums["n"]

    def sample(self, request: SampleRequest) -> Samples:
        return Samples(self.generator(request.noise.randn((2,))))


class Single(Recipe):
    """One network, one loss that the test gives."""

    def __init__(
        self, net: nn.Module, loss: Callable[[nn.Module, Batch, Context], Tensor], **phase: Any
    ) -> None:
        super().__init__()
        self.net, self._loss, self._phase = net, loss, phase

    def stages(self) -> Sequence[Stage]:
        phase = Phase("fit", lambda b, c: Loss(self._loss(self.net, b, c)), [self.net], "net", **self._phase)
        return [Stage("only", [phase], {"net": OptimizerConfig(kind="sgd", lr=0.1)})]


def points(n: int = 50) -> Resident:
    return Resident(torch.randn(n, 2, generator=torch.Generator().manual_seed(0)))


def harness(recipe: Recipe, steps: int = 20, batch_size: int = 8, **train: Any) -> Harness:
    config = TrainConfig(steps=steps, batch_size=batch_size, **{"log_every": 5, **train})
    return Harness(recipe, config, TrainData(points(), INFO, seed=0), seed=0, plugin="toy")
