"""Deep convolutional GAN (Radford, Metz and Chintala 2015, arXiv:1511.06434).

The game of Goodfellow et al. 2014, and the networks that made it train (section 3): strided convolutions up
and down instead of pooling, batch norm in both networks but for the generator's output and the critic's
input, no fully connected layers between, ReLU in the generator with tanh at its end, LeakyReLU of slope 0.2
in the critic, weights from N(0, 0.02), Adam at 2e-4 with beta_1 = 0.5 (section 4). At 64 x 64 the generator
is the one of figure 1; smaller images take fewer doublings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from zoo_core.config import EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.training.stated import adam, ema
from zoo_core.types import DataInfo
from zoo_gan.game import GameOptim
from zoo_gan.losses import NONSATURATING
from zoo_gan.networks import TINY, WIDER, NetworkGame, NetworksModel, on_images, on_points


class DCGANModel(NetworksModel):
    """The two networks and their game."""

    hidden: int = Field(0, ge=0)
    """dcgan: width of a fully connected layer between the latent and the convolutions; 0 disables it."""
    init: Literal["torch", "dcgan"] = "dcgan"
    """Initial weights of convolutional networks: the defaults of torch, or N(0, 0.02) as in DCGAN."""


class DCGANConfig(RunConfig):
    """Deep convolutional GAN."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        "paper": Preset(
            {"model.latent_dim": 100, "model.generator_width": 128, "model.critic_width": 128}
            | adam("optim.critic", lr=2e-4, betas=(0.5, 0.999))
            | adam("optim.generator", lr=2e-4, betas=(0.5, 0.999))
            | {"train.batch_size": 128, **ema()},
            "Radford et al. 2015, section 4 and figure 1, at 64 x 64; the critic mirrors it",
        ),
        **on_images(steps=3300, overrides=WIDER),
        **on_points(),
    }

    model: DCGANModel = DCGANModel()
    """Networks."""
    optim: GameOptim = GameOptim()
    """Optimizers."""
    train: TrainConfig = TrainConfig(steps=3000, batch_size=64, ema=EmaConfig(decay=0.98))
    """Training."""


class DCGAN(NetworkGame):
    """A convolutional generator and discriminator."""

    def __init__(self, config: DCGANConfig, data: DataInfo) -> None:
        super().__init__(config, data, NONSATURATING)
