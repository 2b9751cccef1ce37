"""Spectrally normalized GAN (Miyato et al. 2018, arXiv:1802.05957).

Every weight of the critic is divided by its largest singular value (Eq. 8), estimated by one step of power
iteration at each forward pass (Algorithm 1; torch's own), so that the critic is Lipschitz layer by layer. The
losses are hinges (Eq. 16 and 17):

    min_f  E_{x ~ p}[max(0, 1 - f(x))] + E_z[max(0, 1 + f(g(z)))],    min_g  -E_z[f(g(z))]

A convolution's weight counts as the matrix of (outputs, inputs x height x width), as in the paper: its norm
bounds the layer's up to a constant that depends on kernel and stride.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from zoo_core.config import EmaConfig, OptimizerConfig, Preset, RunConfig, TrainConfig
from zoo_core.training.stated import adam, ema
from zoo_core.types import DataInfo
from zoo_gan.game import GameOptim
from zoo_gan.losses import HINGE
from zoo_gan.networks import TINY, NetworkGame, NetworksModel, on_images, on_points

RESIDUAL: Mapping[str, Any] = {
    "model.net": "resnet",
    "model.generator_width": 24,
    "model.critic_width": 24,
    "model.n_critic": 2,
}
"""Sides of 28 are halved twice: DCGAN's critic is then two convolutions, next to linear where no batch norm
stands between them, and the generator answers with one shape for all latents."""


class SNGANModel(NetworksModel):
    """The two networks and their game."""

    n_critic: int = Field(4, ge=1)
    """Critic updates per generator update, each on a fresh batch."""
    critic_norm: Literal["batch", "layer", "none"] = "none"
    """Normalization layers of a convolutional critic, in addition to spectral normalization."""
    spectral_norm: bool = True
    """Spectral normalization of every weight of the critic."""


class SNGANOptim(GameOptim):
    """One optimizer a network, without momentum of the first moment; the critic's goes faster."""

    critic: OptimizerConfig = OptimizerConfig(lr=1e-3, betas=(0.0, 0.9))
    """Optimizer of the critic."""
    generator: OptimizerConfig = OptimizerConfig(lr=5e-4, betas=(0.0, 0.9))
    """Optimizer of the generator."""


class SNGANConfig(RunConfig):
    """Spectrally normalized GAN."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        "paper": Preset(
            {"model.net": "resnet", "model.latent_dim": 128, "model.generator_width": 256}
            | {"model.critic_width": 128, "model.n_critic": 5, "train.steps": 100_000}
            | adam("optim.critic", lr=2e-4, betas=(0.0, 0.9), schedule="linear")
            | adam("optim.generator", lr=2e-4, betas=(0.0, 0.9), schedule="linear")
            | ema(),
            "Miyato et al. 2018, section 4 and appendix B.4, CIFAR-10: ResNet, hinge loss, Adam (0, 0.9)",
        ),
        **on_images(steps=1300, overrides=RESIDUAL),
        **on_points(),
    }

    model: SNGANModel = SNGANModel()
    """Networks."""
    optim: SNGANOptim = SNGANOptim()
    """Optimizers."""
    train: TrainConfig = TrainConfig(steps=1500, batch_size=64, ema=EmaConfig(decay=0.98))
    """Training."""


class SNGAN(NetworkGame):
    """A generator and a critic of normalized weights."""

    def __init__(self, config: SNGANConfig, data: DataInfo) -> None:
        super().__init__(config, data, HINGE)
