"""Wasserstein GAN with weight clipping (Arjovsky, Chintala and Bottou 2017, arXiv:1701.07875), Algorithm 1.

The critic f_w approximates the supremum of the Kantorovich dual,

    K W(p_data, p_g) = sup_{|f|_L <= K} E_{x ~ p_data}[f(x)] - E_{z}[f(g(z))],        (eq. 2 of the paper)

over functions that are K-Lipschitz because their weights are clipped to [-c, c]; K depends on c and the net
and is unknown, so the critic's value is an estimate of K W and is never called a distance. The generator
minimizes -E[f(g(z))]. Each step makes n_critic critic updates, each on a fresh batch, then one of the
generator. The optimizer has no momentum, which the paper found to matter.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from zoo_core.config import EmaConfig, OptimizerConfig, Preset, RunConfig, TrainConfig
from zoo_core.training.recipe import AfterStep
from zoo_core.training.stated import ema, rmsprop
from zoo_core.types import DataInfo
from zoo_gan.game import GameOptim
from zoo_gan.losses import WASSERSTEIN
from zoo_gan.networks import PLAIN, TINY, NetworkGame, NetworksModel, on_images


class WGANModel(NetworksModel):
    """The two networks and their game."""

    n_critic: int = Field(5, ge=1)
    """Critic updates per generator update, each on a fresh batch."""
    clip: float = Field(0.01, gt=0)
    """Clipping bound c: the critic's weights are clipped to [-c, c] after each of its updates."""


class WGANOptim(GameOptim):
    """One optimizer a network, without momentum."""

    critic: OptimizerConfig = OptimizerConfig(kind="rmsprop", lr=5e-5)
    """Optimizer of the critic."""
    generator: OptimizerConfig = OptimizerConfig(kind="rmsprop", lr=5e-5)
    """Optimizer of the generator."""


class WGANConfig(RunConfig):
    """Wasserstein GAN with weight clipping."""

    PRESETS = {
        "paper": Preset(
            {
                "model.latent_dim": 100,
                "model.hidden": 0,
                "model.init": "dcgan",
                "model.generator_width": 64,
                "model.critic_width": 64,
                "model.n_critic": 5,
                "model.clip": 0.01,
                "train.batch_size": 64,
                **rmsprop("optim.critic", lr=5e-5),
                **rmsprop("optim.generator", lr=5e-5),
                **ema(),
            },
            "Arjovsky et al. 2017, Algorithm 1 and section 4.1 (DCGAN nets)",
        ),
        "tiny": TINY,
        **on_images(steps=2700, overrides={**PLAIN, "optim.critic.lr": 2e-4, "optim.generator.lr": 2e-4}),
    }

    model: WGANModel = WGANModel()
    """Networks."""
    optim: WGANOptim = WGANOptim()
    """Optimizers."""
    train: TrainConfig = TrainConfig(steps=2000, batch_size=64, ema=EmaConfig(decay=0.98))
    """Training."""


class WGAN(NetworkGame):
    """A generator and a critic whose weights are clipped."""

    def __init__(self, config: WGANConfig, data: DataInfo) -> None:
        super().__init__(config, data, WASSERSTEIN)

    def after_critic(self) -> AfterStep:
        return self.clip_critic

    def clip_critic(self, sums: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
        """Clip every weight of the critic to [-c, c]."""
        c = self.config.model.clip
        torch._foreach_clamp_min_(list(self.critic.parameters()), -c)
        torch._foreach_clamp_max_(list(self.critic.parameters()), c)
