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
from zoo_core.errors import UsageError
from zoo_core.training.recipe import AfterStep, Phase, Recipe, Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss, SampleRequest, Samples
from zoo_gan.augmentation import Augmentation, augment
from zoo_gan.losses import AdversarialLoss
from zoo_gan.penalties import r1, refuse_batch_norm


class GameModel(Config):
    """The game."""

    latent_dim: int = Field(8, ge=1)
    """Dimensions of the latent z of the generator."""
    n_critic: int = Field(1, ge=1)
    """Critic updates per generator update, each on a fresh batch."""
    r1: float = Field(0.0, ge=0)
    """Weight gamma of the R1 penalty gamma/2 E[|grad f(x)|^2] at real examples; 0 disables it."""
    r1_every: int = Field(16, ge=1)
    """Steps between two updates by the R1 penalty; its weight is multiplied by this number."""
    augment: tuple[Augmentation, ...] = ()
    """Augmentations of every image that the critic sees, real or generated, e.g. [color, translation,
    cutout]."""


class GameOptim(Config):
    """One optimizer a network."""

    critic: OptimizerConfig = OptimizerConfig(lr=2e-4, betas=(0.5, 0.999))
    """Optimizer of the critic."""
    generator: OptimizerConfig = OptimizerConfig(lr=2e-4, betas=(0.5, 0.999))
    """Optimizer of the generator."""


class Game(Recipe):
    """A generator and a critic in alternation.

    Args:
        config: with `model`, `optim` and `train` of the classes above.
        data: description of the data.
        generator: called as generator(z, cond).
        critic: called as critic(x, cond); its scores are unbounded.
        loss: of both networks.

    Raises:
        UsageError: where augmentation is asked for and the data are points, or R1 with a batch norm in the
            critic.
    """

    def __init__(
        self, config: Any, data: DataInfo, generator: nn.Module, critic: nn.Module, loss: AdversarialLoss
    ) -> None:
        super().__init__()
        model = config.model
        if model.augment and not data.is_image:
            raise UsageError(f"model.augment changes images, and {data.name!r} has points", "expected: []")
        if model.r1:
            refuse_batch_norm(critic, f"model.r1={model.r1:g}")
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
        """Return the updates of one step: the critic's, its lazy penalty's, then the generator's."""
        model = self.config.model
        critic = Phase(
            "critic",
            self.critic_phase,
            updates=[self.critic],
            optimizer="critic",
            repeat=model.n_critic,
            after_step=self.after_critic(),
        )
        generator = Phase("generator", self.generator_phase, [self.generator], "generator")
        if not model.r1:
            return [critic, generator]
        lazy = Phase(
            "r1",
            self.r1_phase,
            updates=[self.critic],
            optimizer="critic",
            every=model.r1_every,
            after_step=self.after_critic(),
        )
        return [critic, lazy, generator]

    def after_critic(self) -> AfterStep | None:
        """Return the function called after each of the critic's steps; None for no function."""
        return None

    def condition(self, batch: Batch) -> Cond | None:
        """Return the condition of both networks for a batch; None where they have none."""
        return None

    def penalty(self, real: Tensor, fake: Tensor, cond: Cond | None, context: Context) -> Tensor | None:
        """Return a scalar that is added to the critic's loss; None for no penalty."""
        return None

    def generator_loss(self, fake: Tensor, batch: Batch, cond: Cond | None, context: Context) -> Tensor:
        """Return the generator's loss, a scalar, of the critic's scores of generated examples."""
        return self.adversarial.generator(fake)

    def latents(self, n: int, context: Context) -> Tensor:
        """Return n standard normal latents, (n, latent_dim)."""
        rng = context.rng
        return torch.randn(n, self.config.model.latent_dim, generator=rng, device=rng.device)

    def generated(self, n: int, cond: Cond | None, context: Context) -> Tensor:
        """Return n examples as training makes them, (n, *shape)."""
        return self.generator(self.latents(n, context), cond)

    def real(self, batch: Batch) -> Tensor:
        """Return the real examples that the critic compares with `generated`."""
        return batch.x

    def tally(self, real: Tensor, fake: Tensor) -> Mapping[str, Tensor]:
        """Return statistics of a batch's scores for `after_critic`: tensors that are summed."""
        return {}

    def shown(self, x: Tensor, context: Context) -> Tensor:
        """Return examples as the critic sees them, augmented with `model.augment`."""
        return augment(x, self.config.model.augment, context.rng)

    def critic_phase(self, batch: Batch, context: Context) -> Loss:
        """Return the critic's loss on a batch and as many generated examples."""
        cond = self.condition(batch)
        with torch.no_grad():
            fake = self.generated(len(batch), cond, context)
        real, fake = self.shown(self.real(batch), context), self.shown(fake, context)
        real_score, fake_score = self.critic(real, cond), self.critic(fake, cond)
        loss = self.adversarial.critic(real_score, fake_score)
        log = watch(real_score, fake_score, self.adversarial.boundary)
        sums = self.tally(real_score.detach(), fake_score.detach())
        extra = self.penalty(real, fake, cond, context)
        if extra is None:
            return Loss(loss, log=log, sums=sums)
        return Loss(loss + extra, log={**log, "penalty": extra.detach()}, sums=sums)

    def generator_phase(self, batch: Batch, context: Context) -> Loss:
        """Return the generator's loss on as many latents as there are examples in a batch."""
        cond = self.condition(batch)
        fake = self.generated(len(batch), cond, context)
        scores = self.critic(self.shown(fake, context), cond)
        return Loss(self.generator_loss(scores, batch, cond, context))

    def r1_phase(self, batch: Batch, context: Context) -> Loss:
        """Return R1 with the weight of all the steps that it stands for."""
        model, cond = self.config.model, self.condition(batch)
        slope = r1(lambda x: self.critic(x, cond), self.shown(self.real(batch), context))
        return Loss(model.r1 / 2 * model.r1_every * slope, log={"squared_slope": slope.detach()})

    # -- sampling

    def critic_scores(self, x: Tensor, cond: Cond | None) -> Tensor:
        """Return the critic's mean score of each example, (n,)."""
        return self.critic(x, cond).reshape(len(x), -1).mean(1)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.config.model.latent_dim,)

    def from_latents(self, z: Tensor, request: SampleRequest) -> Tensor:
        """Return what latents (n, latent_dim) give under a request's conditions, (n, *shape)."""
        return self.generator(z, request.cond)

    def sample(self, request: SampleRequest) -> Samples:
        """Draw from standard normal latents."""
        return Samples(self.from_latents(request.noise.randn(self.latent_shape), request))


def watch(real: Tensor, fake: Tensor, boundary: float | None) -> Mapping[str, Tensor]:
    """Return how well the critic tells real from fake: the gap of its mean scores, and its accuracy.

    Args:
        real, fake: scores, of any shape.
        boundary: the score above which it classifies as real; None where scores have no such boundary.
    """
    real, fake = real.detach(), fake.detach()
    log = {"score_gap": real.mean() - fake.mean()}
    if boundary is not None:
        log["accuracy"] = ((real > boundary).float().mean() + (fake <= boundary).float().mean()) / 2
    return log
