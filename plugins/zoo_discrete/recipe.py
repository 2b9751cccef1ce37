"""What models of levels share: the network, its training, and work in chunks of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from zoo_core.config import EmaConfig, NetworkOptim, RunConfig, TrainConfig
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss
from zoo_discrete.network import LevelModel
from zoo_discrete.values import CHUNK, Cells, Pixels


class LevelConfig(RunConfig):
    """Options that models of levels share."""

    model: LevelModel = LevelModel()
    """The model."""
    optim: NetworkOptim = NetworkOptim()
    """Optimization."""
    train: TrainConfig = TrainConfig(steps=2500, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


TINY: Mapping[str, Any] = {
    "train.steps": 60,
    "train.batch_size": 32,
    "train.log_every": 20,
    "model.channels": 16,
    "model.width": 32,
}
"""Options of the presets for tests."""
LARGER: Mapping[str, Any] = {
    "model.channels": 16,
    "model.mult": (1, 2, 4),
    "model.fold": 2,
    "model.features": 8,
    "optim.net.lr": 1e-3,
    "train.steps": 1500,
    "train.batch_size": 16,
}
"""Options of the presets for 28x28 and 32x32."""


class LevelDiffusion(Recipe):
    """A network of levels; a model adds the noise, the loss and the sampler.

    Args:
        config: options.
        data: of images, points or captions.
        values: the map of the data to integers.
        net: logits of the levels of each value, called as net(k, t, cond).
    """

    units: ClassVar[Mapping[str, str]] = dict.fromkeys(("loss", "bound", "cross_entropy"), "bits/dim")

    def __init__(self, config: LevelConfig, data: DataInfo, values: Pixels | Cells, net: nn.Module) -> None:
        super().__init__()
        self.config, self.data = config, data
        self.values, self.net = values, net

    def stages(self) -> Sequence[Stage]:
        optim, ema = self.config.optim, {"net": self.config.train.ema}
        phase = Phase("net", self.loss, [self.net], "net", grad_clip=optim.grad_clip)
        begin = self.values.fit if isinstance(self.values, Cells) else None
        return [Stage("train", [phase], {"net": optim.net}, ema=ema, begin=begin)]

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the loss of a batch; the model's."""
        raise NotImplementedError(f"{type(self).__name__}.loss")

    def logits(self, k: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the network's logits, (n, D, K) of states (n, D) at times (n,), given conditions."""
        found: Tensor = self.net(k.unflatten(1, self.data.shape), t, cond)
        return found.flatten(1, -2)

    def encode_flat(self, x: Tensor) -> Tensor:
        """Return the levels of data (n, *shape), (n, D) int64."""
        return self.values.encode(x).flatten(1)

    def chunks(self, noise: Seeds) -> Iterator[tuple[slice, Seeds]]:
        """Yield the rows of some samples in parts of bounded memory, each with its random numbers."""
        size = max(1, CHUNK // (self.data.dims * self.values.count))
        for first in range(0, len(noise), size):
            rows = slice(first, min(first + size, len(noise)))
            yield rows, noise[rows]


def strata(u: Tensor, index: Tensor, parts: int, count: int) -> Tensor:
    """Return integers in 1..count, each drawn from one of equal parts of the range, like u.

    Over all parts, every integer is expected parts / count times.

    Args:
        u: uniform in [0, 1).
        index: number of the part, in [0, parts), like u.
        parts: number of parts.
        count: largest integer.
    """
    place = (index.double() + u.double()) * count / parts
    return 1 + place.floor().long().clamp_max(count - 1)


def mean_bits(nats: Tensor, dims: int) -> Tensor:
    """Return the mean over examples of nats per example, as bits per value, a scalar."""
    return nats.mean() / (dims * math.log(2))
