"""The relativistic average GAN.

Jolicoeur-Martineau 2018, "The relativistic discriminator: a key element missing from standard GAN",
arXiv:1807.00734. With a critic C(x) of unbounded scores, the relativistic average discriminator is

    D(x_r) = sigmoid(C(x_r) - E C(x_f)),    D(x_f) = sigmoid(C(x_f) - E C(x_r)),

for real x_r and generated x_f. The critic maximizes E log D(x_r) + E log(1 - D(x_f)), and the generator the
same with the sides exchanged; so real data enter the generator's loss too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo_core.config import Config, EmaConfig, OptimizerConfig, Preset, RunConfig, TrainConfig
from zoo_core.nn.dcgan import DCGANCritic, DCGANGenerator
from zoo_core.nn.perceptron import PerceptronCritic, PerceptronGenerator
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Loss, SampleRequest, Samples


class RelativisticGANModel(Config):
    """The two networks: convolutional for images, fully connected for points."""

    latent_dim: int = Field(16, ge=1)
    """Dimensions of the generator's latent z."""
    generator_width: int = Field(64, ge=1)
    """Images: channels beside the image, doubled by each layer away from it; points: of a layer."""
    critic_width: int = Field(32, ge=1)
    """The same, of the critic."""


class RelativisticGANOptim(Config):
    """One optimizer a network."""

    critic: OptimizerConfig = OptimizerConfig(lr=4e-4, betas=(0.5, 0.999))
    """Of the critic."""
    generator: OptimizerConfig = OptimizerConfig(lr=2e-4, betas=(0.5, 0.999))
    """Of the generator."""


class RelativisticGANConfig(RunConfig):
    """One run of the relativistic average GAN."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"train.steps": 30, "train.batch_size": 16, "model.generator_width": 8, "model.critic_width": 8},
            "for tests: seconds on one core",
        ),
    }

    model: RelativisticGANModel = RelativisticGANModel()
    """The networks."""
    optim: RelativisticGANOptim = RelativisticGANOptim()
    """Optimization."""
    train: TrainConfig = TrainConfig(steps=3000, batch_size=64, ema=EmaConfig(decay=0.99))
    """Training."""


def relativistic_loss(winner: Tensor, loser: Tensor) -> Tensor:
    """Return -(E log sigmoid(winner - E loser) + E log(1 - sigmoid(loser - E winner))) / 2, a scalar.

    The critic's loss is that of (real, fake), the generator's that of (fake, real); equal scores cost log 2.

    Args:
        winner, loser: scores, (n,).
    """
    ahead = softplus(-(winner - loser.mean())).mean()
    behind = softplus(loser - winner.mean()).mean()
    return (ahead + behind) / 2


class RelativisticGAN(Recipe):
    """A generator and a critic in alternation."""

    def __init__(self, config: RelativisticGANConfig, data: DataInfo) -> None:
        super().__init__()
        self.config = config
        model = config.model
        self.generator: nn.Module
        self.critic: nn.Module
        if data.is_image:
            self.generator = DCGANGenerator(model.latent_dim, data.shape, model.generator_width)
            self.critic = DCGANCritic(data.shape, model.critic_width, "none")
        else:
            self.generator = PerceptronGenerator(model.latent_dim, data.shape, model.generator_width)
            self.critic = PerceptronCritic(data.shape, model.critic_width)

    def stages(self) -> Sequence[Stage]:
        critic = Phase("critic", self.critic_phase, updates=[self.critic], optimizer="critic")
        generator = Phase("generator", self.generator_phase, updates=[self.generator], optimizer="generator")
        return [
            Stage(
                "adversarial",
                [critic, generator],
                {"critic": self.config.optim.critic, "generator": self.config.optim.generator},
                ema={"generator": self.config.train.ema},
            )
        ]

    def fake(self, n: int, context: Context) -> Tensor:
        shape = (n, self.config.model.latent_dim)
        return self.generator(torch.randn(shape, generator=context.rng, device=context.rng.device))

    def critic_phase(self, batch: Batch, context: Context) -> Loss:
        with torch.no_grad():
            fake = self.fake(len(batch), context)
        real_score, fake_score = self.critic(batch.x), self.critic(fake)
        gap = (real_score.mean() - fake_score.mean()).detach()
        return Loss(relativistic_loss(real_score, fake_score), log={"gap": gap})

    def generator_phase(self, batch: Batch, context: Context) -> Loss:
        fake = self.fake(len(batch), context)
        return Loss(relativistic_loss(self.critic(fake), self.critic(batch.x)))

    def sample(self, request: SampleRequest) -> Samples:
        return Samples(self.generator(request.noise.randn((self.config.model.latent_dim,))))
