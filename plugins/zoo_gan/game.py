"""What every game of a generator from latents and a critic shares: its options, its phases, its sampling.

A model brings two networks and a loss; a penalty, a condition or a step after the critic's are methods it
overrides. The harness alternates the phases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Config, OptimizerConfig
from zoo_core.training.recipe import AfterStep, Phase, Recipe, Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss, SampleRequest, Samples
from zoo_gan.losses import AdversarialLoss


class GameModel(Config):
    """The game."""

    latent_dim: int = Field(8, ge=1)
    """Dimensions of the generator's latent z."""
    n_critic: int = Field(1, ge=1)
    """Critic updates, each on a fresh batch, for one of the generator."""


class GameOptim(Config):
    """One optimiser a network."""

    critic: OptimizerConfig = OptimizerConfig(lr=2e-4, betas=(0.5, 0.999))
    """Of the critic."""
    generator: OptimizerConfig = OptimizerConfig(lr=2e-4, betas=(0.5, 0.999))
    """Of the generator."""


class Game(Recipe):
    """A generator and a critic in alternation.

    Args:
        config: with `model`, `optim` and `train` of the classes above.
        data: what is learnt from.
        generator: called as generator(z, cond).
        critic: called as critic(x, cond); its scores are unbounded.
        loss: what the two minimise.
    """

    def __init__(
        self, config: Any, data: DataInfo, generator: nn.Module, critic: nn.Module, loss: AdversarialLoss
    ) -> None:
        super().__init__()
        self.config = config
        self.data = data
        self.generator = generator
        self.critic = critic
        self.adversarial = loss

    # -- training

    def stages(self) -> Sequence[Stage]:
        optim = self.config.optim
        return [
            Stage(
                "adversarial",
                self.phases(),
                {"critic": optim.critic, "generator": optim.generator},
                ema={"generator": self.config.train.ema},
            )
        ]

    def phases(self) -> list[Phase]:
        """Return the updates of one step: the critic's, then the generator's."""
        critic = Phase(
            "critic",
            self.critic_phase,
            updates=[self.critic],
            optimizer="critic",
            repeat=self.config.model.n_critic,
            after_step=self.after_critic(),
        )
        return [critic, Phase("generator", self.generator_phase, [self.generator], "generator")]

    def after_critic(self) -> AfterStep | None:
        """Return what is done to the critic after each of its steps; None for nothing."""
        return None

    def condition(self, batch: Batch) -> Cond | None:
        """Return what both networks are told of a batch; None where they are told nothing."""
        return None

    def penalty(self, real: Tensor, fake: Tensor, cond: Cond | None, context: Context) -> Tensor | None:
        """Return what is added to the critic's loss, a scalar; None for nothing."""
        return None

    def latents(self, n: int, context: Context) -> Tensor:
        """Return n standard normal latents, (n, latent_dim)."""
        rng = context.rng
        return torch.randn(n, self.config.model.latent_dim, generator=rng, device=rng.device)

    def critic_phase(self, batch: Batch, context: Context) -> Loss:
        """Return the critic's loss on a batch and as many generated examples."""
        cond = self.condition(batch)
        with torch.no_grad():
            fake = self.generator(self.latents(len(batch), context), cond)
        real_score, fake_score = self.critic(batch.x, cond), self.critic(fake, cond)
        loss = self.adversarial.critic(real_score, fake_score)
        log = watch(real_score, fake_score, self.adversarial.boundary)
        extra = self.penalty(batch.x, fake, cond, context)
        if extra is None:
            return Loss(loss, log=log)
        return Loss(loss + extra, log={**log, "penalty": extra.detach()})

    def generator_phase(self, batch: Batch, context: Context) -> Loss:
        """Return the generator's loss on as many latents as there are examples in a batch."""
        cond = self.condition(batch)
        fake = self.generator(self.latents(len(batch), context), cond)
        loss = self.adversarial.generator(self.critic(fake, cond))
        return Loss(loss, log={"loss": loss.detach()})

    # -- sampling

    def sample(self, request: SampleRequest) -> Samples:
        """Draw from standard normal latents."""
        z = request.noise.randn((self.config.model.latent_dim,))
        return Samples(self.generator(z, request.cond))


def watch(real: Tensor, fake: Tensor, boundary: float | None) -> Mapping[str, Tensor]:
    """Return how well the critic tells real from fake: the gap of its mean scores, and its accuracy.

    Args:
        real, fake: scores, of any shape.
        boundary: the score above which it says real; None where its scores have no such meaning.
    """
    real, fake = real.detach(), fake.detach()
    log = {"score_gap": real.mean() - fake.mean()}
    if boundary is not None:
        log["accuracy"] = ((real > boundary).float().mean() + (fake <= boundary).float().mean()) / 2
    return log
