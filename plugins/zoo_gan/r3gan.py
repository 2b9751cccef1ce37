"""R3GAN (Huang et al. 2024, arXiv:2501.05441): a relativistic game with penalties at both distributions.

    min_g max_f  E_{x ~ p, z}[h(f(g(z)) - f(x))] - gamma/2 E_p[|grad f(x)|^2] - gamma/2 E_{p_g}[|grad f(x)|^2]

h(t) = -log(1 + exp(t)) compares a generated example with a real one, so that a generator gains nothing
by moving all its samples to one real mode (RpGAN; Sun et al. 2020, arXiv:2011.04926). The game alone does not
always converge; with the squared slope at real examples (R1) and at generated ones (R2) gradient descent
converges locally (section 2 of the paper). The critic's optimum is log p/p_g up to a constant. Its
schedules of gamma, of Adam's second decay rate and of augmentation are not here: all are constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import EmaConfig, OptimizerConfig, Preset, RunConfig, TrainConfig, later
from zoo_core.nn.dcgan import DCGANCritic, DCGANGenerator
from zoo_core.nn.perceptron import PerceptronCritic, PerceptronGenerator
from zoo_core.types import Batch, Cond, Context, DataInfo
from zoo_gan.game import Game, GameOptim
from zoo_gan.losses import AdversarialLoss, nonsaturating_generator, relativistic
from zoo_gan.penalties import r1
from zoo_gan.r3gan_networks import ResidualCritic, ResidualGenerator, ResidualModel

LOSS = AdversarialLoss(relativistic, nonsaturating_generator, boundary=None)
"""Of the critic. The generator's is `R3GAN.generator_loss`, because it needs the real scores too."""

HIDDEN = 256
"""Width of the fully connected layer between the latent and the convolutions of DCGAN's generator."""


class R3GANModel(ResidualModel):
    """Both networks and their game."""

    net: Literal["residual", "dcgan"] = later("residual", since="0.2.0")
    """Networks for images: the paper's, or DCGAN's, with batch norm in the generator and no normalization in
    the critic. Options of blocks and groups, and max_width, are of the paper's."""
    gamma: float = Field(0.2, ge=0)
    """Weight gamma of both penalties, gamma/2 E[|grad f|^2] each, at every step."""


class R3GANOptim(GameOptim):
    """One optimizer a network, without momentum of the first moment."""

    critic: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.0, 0.99))
    """Optimizer of the critic."""
    generator: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.0, 0.99))
    """Optimizer of the generator."""


class R3GANConfig(RunConfig):
    """Relativistic GAN with R1 and R2."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"model.generator_width": 8, "model.critic_width": 8, "model.max_width": 16}
            | {"train.steps": 20, "train.batch_size": 16, "train.log_every": 5},
            "a few seconds, for tests",
        ),
        "default@image<=16": Preset(
            {"model.net": "dcgan", "model.generator_width": 64, "model.critic_width": 32}
            | {"train.steps": 2500},
            "for digits: in a run of this length the paper's networks, without normalization, lag behind",
        ),
        "default@image<=48": Preset(
            {"model.latent_dim": 64, "model.generator_width": 16, "model.critic_width": 16}
            | {"train.steps": 1500, "train.batch_size": 32}
            | {"optim.critic.lr": 2e-4, "optim.generator.lr": 2e-4},
            "for 28x28 and 32x32; not tuned",
        ),
        "default@points": Preset(
            {"model.generator_width": 128, "model.critic_width": 128, "model.gamma": 0.02}
            | {"train.batch_size": 256, "train.steps": 3000, "train.ema.decay": 0.99}
            | {"optim.critic.lr": 1e-3, "optim.critic.schedule": "linear"}
            | {"optim.generator.lr": 1e-3, "optim.generator.schedule": "linear"},
            "for points of the plane; not tuned",
        ),
    }

    model: R3GANModel = R3GANModel()
    """Networks and penalties."""
    optim: R3GANOptim = R3GANOptim()
    """Optimizers."""
    train: TrainConfig = TrainConfig(steps=1500, batch_size=64, ema=EmaConfig(decay=0.98))
    """Training."""


class R3GAN(Game):
    """A generator and a critic that compares pairs; residual networks for images, perceptrons for points.

    Raises:
        UsageError: for images of an odd side.
    """

    def __init__(self, config: R3GANConfig, data: DataInfo) -> None:
        model = config.model
        generator: nn.Module
        critic: nn.Module
        if data.is_image and model.net == "dcgan":
            generator = DCGANGenerator(model.latent_dim, data.shape, model.generator_width, hidden=HIDDEN)
            critic = DCGANCritic(data.shape, model.critic_width, norm="none")
        elif data.is_image:
            generator = ResidualGenerator(model, data.shape)
            critic = ResidualCritic(model, data.shape)
        else:
            generator = PerceptronGenerator(model.latent_dim, data.shape, model.generator_width)
            critic = PerceptronCritic(data.shape, model.critic_width)
        super().__init__(config, data, generator, critic, LOSS)

    def penalty(self, real: Tensor, fake: Tensor, cond: Cond | None, context: Context) -> Tensor:
        slopes = r1(lambda x: self.critic(x, cond), real) + r1(lambda x: self.critic(x, cond), fake)
        return self.config.model.gamma / 2 * slopes

    def generator_loss(self, fake: Tensor, batch: Batch, cond: Cond | None, context: Context) -> Tensor:
        real = self.critic(self.shown(self.real(batch), context), cond)
        return relativistic(fake, real)
