"""What the baselines share: a fit in one stage without steps, and a way to read all training data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from zoo_core.config import RunConfig, TrainConfig
from zoo_core.data.loading import TrainData
from zoo_core.training.recipe import Recipe, Stage
from zoo_core.types import DataInfo


class FittedConfig(RunConfig):
    """A baseline, without options and training steps."""

    train: TrainConfig = TrainConfig(steps=0)
    """Training: the fit takes no steps."""


class Fitted(Recipe):
    """A recipe whose buffers are fitted before the first step."""

    def __init__(self, config: FittedConfig, data: DataInfo) -> None:
        super().__init__()
        self.data = data

    def stages(self) -> Sequence[Stage]:
        return [Stage("fit", begin=self.fit)]

    def fit(self, train: TrainData) -> None:
        """Set the buffers from all training examples, each seen equally often."""
        raise NotImplementedError(f"{type(self).__name__}.fit")


def chunks(train: TrainData, size: int = 2048) -> Iterator[Tensor]:
    """Yield every training example once, in order, as the model sees it: (at most size, *shape)."""
    for rows in torch.arange(len(train)).split(size):
        yield train.batch(rows).x


def bounds(train: TrainData) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest training value of each coordinate, both (D,) float64."""
    lows, highs = zip(*((x.amin(0), x.amax(0)) for x in chunks(train)), strict=True)
    return torch.stack(lows).amin(0).double(), torch.stack(highs).amax(0).double()
