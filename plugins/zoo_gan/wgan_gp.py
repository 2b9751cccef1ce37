"""Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, arXiv:1704.00028), Algorithm 1.

    L = E_z[f(g(z))] - E_{x ~ p}[f(x)] + lambda E[(|grad f(x_hat)| - 1)^2]       (Eq. 3 of the paper)

x_hat is uniform on the line from a generated to a real example, drawn for each pair: the critic that attains
the Kantorovich dual has slope 1 almost everywhere on such lines between paired points (Proposition 1). The
penalty is of the slope at one example, so the critic has no batch norm (section 4); it is refused by name.
`model.one_sided` penalizes slopes above 1 only. The critic's value is not a distance: the two-sided penalty
can get stuck below it, and the one-sided one settles above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from zoo_core.config import EmaConfig, OptimizerConfig, Preset, RunConfig, TrainConfig
from zoo_core.training.stated import adam, ema
from zoo_core.types import Cond, Context, DataInfo
from zoo_gan.game import GameOptim
from zoo_gan.losses import WASSERSTEIN
from zoo_gan.networks import PLAIN, TINY, NetworkGame, NetworksModel, on_images, on_points
from zoo_gan.penalties import gradient_penalty, refuse_batch_norm


class WGANGPModel(NetworksModel):
    """The two networks and their game."""

    n_critic: int = Field(3, ge=1)
    """Critic updates per generator update, each on a fresh batch."""
    critic_norm: Literal["batch", "layer", "none"] = "none"
    """Normalization layers of a convolutional critic: over each image, or none; over the batch is refused."""
    penalty: float = Field(10.0, ge=0)
    """Weight lambda of the gradient penalty."""
    one_sided: bool = False
    """Penalize only gradient norms above 1."""


class WGANGPOptim(GameOptim):
    """One optimizer a network, without momentum of the first moment."""

    critic: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.0, 0.9))
    """Optimizer of the critic."""
    generator: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.0, 0.9))
    """Optimizer of the generator."""


class WGANGPConfig(RunConfig):
    """Wasserstein GAN with gradient penalty."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        "paper": Preset(
            {"model.net": "resnet", "model.latent_dim": 128, "model.generator_width": 128}
            | {"model.critic_width": 128, "model.n_critic": 5, "train.steps": 100_000}
            | adam("optim.critic", lr=2e-4, betas=(0.0, 0.9), schedule="linear")
            | adam("optim.generator", lr=2e-4, betas=(0.0, 0.9), schedule="linear")
            | ema(),
            "Gulrajani et al. 2017, appendix F, CIFAR-10 without labels: ResNet, lr 2e-4 decayed to 0",
        ),
        **on_images(steps=2300, overrides={**PLAIN, "optim.critic.lr": 2e-4, "optim.generator.lr": 2e-4}),
        **on_points({"model.n_critic": 5, "model.penalty": 0.1, "train.steps": 3000}),
    }

    model: WGANGPModel = WGANGPModel()
    """Networks and penalty."""
    optim: WGANGPOptim = WGANGPOptim()
    """Optimizers."""
    train: TrainConfig = TrainConfig(steps=1500, batch_size=64, ema=EmaConfig(decay=0.98))
    """Training."""


class WGANGP(NetworkGame):
    """A generator and a critic whose slope is penalized.

    Raises:
        UsageError: where the critic has batch norm.
    """

    def __init__(self, config: WGANGPConfig, data: DataInfo) -> None:
        super().__init__(config, data, WASSERSTEIN)
        refuse_batch_norm(self.critic, "wgan-gp")

    def penalty(self, real: Tensor, fake: Tensor, cond: Cond | None, context: Context) -> Tensor:
        model = self.config.model
        slope = gradient_penalty(
            lambda x: self.critic(x, cond), real, fake, context.rng, one_sided=model.one_sided
        )
        return model.penalty * slope
