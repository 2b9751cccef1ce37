"""A third party's model with an option that memorizes: its samples are then training examples."""

from __future__ import annotations

import pluggy
import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Config, OptimizerConfig, RunConfig
from zoo_core.data.loading import TrainData
from zoo_core.registry.spec import PluginSpec
from zoo_core.seeds import generator
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Loss, SampleRequest, Samples

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    here = "tests.tune.planted"
    return [PluginSpec("planted", "test", f"{here}:Planted", f"{here}:PlantedConfig", "a test's model")]


class Options(Config):
    memorize: bool = False
    """Return training examples."""
    scale: float = Field(1.0, ge=0.5, le=4.0)
    """Factor on the standard deviation of the samples; 1 is best, above 3 training fails."""


class Optimizers(Config):
    net: OptimizerConfig = OptimizerConfig()
    """Of a parameter that does nothing."""


class PlantedConfig(RunConfig):
    model: Options = Options()
    """Model."""
    optim: Optimizers = Optimizers()
    """Optimizers."""


class Planted(Recipe):
    """A Gaussian of the data's mean and spread, or a copy of the data."""

    data_sized = ("rows",)
    rows: Tensor

    def __init__(self, config: PlantedConfig, data: DataInfo) -> None:
        super().__init__()
        self.options, self.optimizer = config.model, config.optim.net
        self.idle = nn.Linear(1, 1)
        self.register_buffer("rows", torch.zeros(0, *data.shape))

    def fit(self, train: TrainData) -> None:
        if self.options.scale > 3:
            raise RuntimeError("planted failure")
        self.rows = train.batch(torch.arange(len(train))).x

    def loss(self, batch: Batch, context: Context) -> Loss:
        return Loss(self.idle.weight.square().sum())

    def stages(self) -> list[Stage]:
        phase = Phase("idle", self.loss, [self.idle], "net")
        return [Stage("train", [phase], {"net": self.optimizer}, begin=self.fit)]

    def sample(self, request: SampleRequest) -> Samples:
        noise = request.noise
        if not len(self.rows):  # rehearsed before it is fitted
            return Samples(torch.zeros(len(request), *self.rows.shape[1:]))
        index = torch.tensor(noise.indices) % len(self.rows)
        if self.options.memorize:
            return Samples(self.rows[index])
        drawn = torch.randn(
            int(index.max()) + 1 + 5000, *self.rows.shape[1:], generator=generator(noise.seed, "planted")
        )
        spread = self.options.scale * self.rows.std(0)
        return Samples(self.rows.mean(0) + spread * drawn[torch.tensor(noise.indices)])
