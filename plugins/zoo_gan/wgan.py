"""Wasserstein GAN with weight clipping (Arjovsky, Chintala and Bottou 2017, arXiv:1701.07875), Algorithm 1.

The critic f_w approximates the supremum of the Kantorovich dual,

    K W(p_data, p_g) = sup_{|f|_L <= K} E_{x ~ p_data}[f(x)] - E_{z}[f(g(z))],        (eq. 2 of the paper)

over functions that are K-Lipschitz because their weights are clipped to [-c, c]; K depends on c and the net
and is unknown, so the critic's value is an estimate of K W and is never called a distance. The generator
minimises -E[f(g(z))]. Each step makes n_critic critic updates, each on a fresh batch, then one of the
generator. The optimiser has no momentum, which the paper found to matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import EmaConfig, OptimizerConfig, Preset, RunConfig, TrainConfig
from zoo_core.nn.dcgan import DCGANCritic, DCGANGenerator, init_weights
from zoo_core.nn.perceptron import PerceptronCritic, PerceptronGenerator
from zoo_core.training.recipe import AfterStep
from zoo_core.types import DataInfo
from zoo_gan.game import Game, GameModel, GameOptim
from zoo_gan.losses import WASSERSTEIN


class WGANModel(GameModel):
    """The two networks and their game."""

    generator_width: int = Field(64, ge=1)
    """Channels beside the picture; each layer away from it has twice as many."""
    hidden: int = Field(256, ge=0)
    """Width of a fully connected layer between the latent and the generator's convolutions; 0 for none."""
    critic_width: int = Field(32, ge=1)
    """Channels of the critic beside the picture; each layer away from it has twice as many."""
    init: Literal["torch", "dcgan"] = "torch"
    """Initial weights: torch's own, or DCGAN's N(0, 0.02)."""
    generator_norm: Literal["batch", "none"] = "batch"
    """Normalisation in the generator."""
    critic_norm: Literal["batch", "none"] = "batch"
    """Normalisation in the critic."""
    n_critic: int = Field(5, ge=1)
    """Critic updates, each on a fresh batch, for one of the generator."""
    clip: float = Field(0.01, gt=0)
    """c: after each of its updates the critic's weights are clipped to [-c, c]."""


class WGANOptim(GameOptim):
    """One optimiser a network, without momentum."""

    critic: OptimizerConfig = OptimizerConfig(kind="rmsprop", lr=5e-5)
    """Of the critic."""
    generator: OptimizerConfig = OptimizerConfig(kind="rmsprop", lr=5e-5)
    """Of the generator."""


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
                "optim.critic.lr": 5e-5,
                "optim.generator.lr": 5e-5,
                "train.ema.decay": 0.0,
            },
            "Arjovsky et al. 2017, Algorithm 1 and section 4.1 (DCGAN nets)",
        ),
        "tiny": Preset(
            {
                "model.generator_width": 8,
                "model.critic_width": 8,
                "train.steps": 20,
                "train.batch_size": 16,
                "train.log_every": 5,
            },
            "a few seconds, for tests",
        ),
    }

    model: WGANModel = WGANModel()
    """Networks."""
    optim: WGANOptim = WGANOptim()
    """Optimisers."""
    train: TrainConfig = TrainConfig(steps=2000, batch_size=64, ema=EmaConfig(decay=0.98))
    """Training."""


class WGAN(Game):
    """A generator and a critic whose weights are clipped."""

    def __init__(self, config: WGANConfig, data: DataInfo) -> None:
        model = config.model
        generator: nn.Module
        critic: nn.Module
        if data.is_image:
            generator = DCGANGenerator(
                model.latent_dim, data.shape, model.generator_width, model.generator_norm, model.hidden
            )
            critic = DCGANCritic(data.shape, model.critic_width, model.critic_norm)
        else:
            generator = PerceptronGenerator(model.latent_dim, data.shape, model.generator_width)
            critic = PerceptronCritic(data.shape, model.critic_width)
        super().__init__(config, data, generator, critic, WASSERSTEIN)
        if model.init == "dcgan":
            self.apply(init_weights)

    def after_critic(self) -> AfterStep:
        return self.clip_critic

    def clip_critic(self, sums: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
        """Clip every weight of the critic to [-c, c]."""
        c = self.config.model.clip
        torch._foreach_clamp_min_(list(self.critic.parameters()), -c)
        torch._foreach_clamp_max_(list(self.critic.parameters()), c)
