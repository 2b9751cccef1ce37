"""Least-squares GAN (Mao et al. 2017, arXiv:1611.04076).

    min_D  1/2 E_{x ~ p}[(D(x) - b)^2] + 1/2 E_z[(D(g(z)) - a)^2]
    min_g  1/2 E_z[(D(g(z)) - c)^2]                                              (Eq. 2 of the paper)

D is linear in its last layer: its targets a, b and c are not probabilities. The best D is
(b p + a p_g) / (p + p_g) (Eq. 5); where b - c = 1 and b - a = 2 the generator, with the term of the real data
kept, then minimizes a Pearson chi-squared divergence: 2 C(g) = chi^2(p + p_g | 2 p_g) (Eq. 8). The default
a = 0, b = c = 1 (Eq. 9) has no such reading, and trains as well (section 3.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from zoo_core.config import EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.types import DataInfo
from zoo_gan.game import GameOptim
from zoo_gan.losses import least_squares
from zoo_gan.networks import TINY, WIDER, NetworkGame, NetworksModel, on_images, on_points


class LSGANModel(NetworksModel):
    """The two networks and the critic's targets."""

    a: float = 0.0
    """Target of the critic for generated examples."""
    b: float = 1.0
    """Target of the critic for real examples."""
    c: float = 1.0
    """Target of the critic's score of generated examples in the generator's loss."""


class LSGANConfig(RunConfig):
    """Least-squares GAN."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        "pearson": Preset(
            {"model.a": -1.0, "model.b": 1.0, "model.c": 0.0},
            "Mao et al. 2017, Eq. 8: targets for which the game is a Pearson chi-squared divergence",
        ),
        **on_images(steps=3000, overrides=WIDER),
        **on_points(),
    }

    model: LSGANModel = LSGANModel()
    """Networks and targets."""
    optim: GameOptim = GameOptim()
    """Optimizers."""
    train: TrainConfig = TrainConfig(steps=3000, batch_size=64, ema=EmaConfig(decay=0.98))
    """Training."""


class LSGAN(NetworkGame):
    """A generator and a critic that regress on targets."""

    def __init__(self, config: LSGANConfig, data: DataInfo) -> None:
        model = config.model
        super().__init__(config, data, least_squares(model.a, model.b, model.c))
