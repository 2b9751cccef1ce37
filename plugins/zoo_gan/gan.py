"""Generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661).

    min_g max_D  E_{x ~ p}[log D(x)] + E_z[log(1 - D(g(z)))]                     (Eq. 1 of the paper)

For a fixed generator the best discriminator is D*(x) = p(x) / (p(x) + p_g(x)) (Proposition 1), and the value
there is C(g) = -log 4 + 2 JSD(p | p_g) (Theorem 1). D is the sigmoid of the critic's score, and is never
computed: the losses are softplus forms of the score. `model.loss=minimax` is Eq. 1 as it stands;
`nonsaturating` lets the generator maximize log D(g(z)) instead, which has the same fixed point and gradients
where D is sure (section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from zoo_core.config import EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.training.stated import ema, sgd
from zoo_core.types import DataInfo
from zoo_gan.game import GameOptim
from zoo_gan.losses import MINIMAX, NONSATURATING
from zoo_gan.networks import TINY, WIDER, NetworkGame, NetworksModel, on_images, on_points

LOSSES = {"nonsaturating": NONSATURATING, "minimax": MINIMAX}


class GANModel(NetworksModel):
    """The two networks and their game."""

    loss: Literal["nonsaturating", "minimax"] = "nonsaturating"
    """Loss of the generator: -log D(g(z)), or log(1 - D(g(z)))."""


class GANConfig(RunConfig):
    """Generative adversarial network."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        "paper": Preset(
            {"model.net": "perceptron", "model.latent_dim": 100, "model.generator_width": 1200}
            | {"model.critic_width": 240, "train.batch_size": 100, "train.steps": 50_000}
            | sgd("optim.critic", lr=0.1, momentum=0.5)
            | sgd("optim.generator", lr=0.1, momentum=0.5)
            | ema(),
            "Goodfellow et al. 2014, section 5, MNIST: fully connected, k = 1, SGD with momentum; "
            "widths and rates, which the paper leaves to its code, are ours; ReLU for maxout, no dropout",
        ),
        **on_images(steps=3000, overrides=WIDER),
        **on_points(),
    }

    model: GANModel = GANModel()
    """Networks."""
    optim: GameOptim = GameOptim()
    """Optimizers."""
    train: TrainConfig = TrainConfig(steps=3000, batch_size=64, ema=EmaConfig(decay=0.98))
    """Training."""


class GAN(NetworkGame):
    """A generator and a discriminator."""

    def __init__(self, config: GANConfig, data: DataInfo) -> None:
        super().__init__(config, data, LOSSES[config.model.loss])
