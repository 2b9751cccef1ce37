"""Captions to images (Reed et al. 2016, arXiv:1605.05396): GAN-INT-CLS.

The matching-aware discriminator (GAN-CLS, section 4.2, Algorithm 1) sees three cases: an image x with
its caption t, the image with a caption t' of another, and a generated image with t:

    L_D = log D(x, t) + 1/2 [log(1 - D(x, t')) + log(1 - D(g(z, t), t))]                    (it is maximized)

so that a good image of the wrong thing is a mistake, too. A batch gives its own t', drawn among captions
that differ from t as captions, never by the row alone. A batch with a single caption has no t', and
generated images have its weight.

Manifold interpolation (GAN-INT, section 4.3, Eq. 5) trains the generator between captions as well, on

    log(1 - D(g(z, beta t1 + (1 - beta) t2), beta t1 + (1 - beta) t2))                      (it is minimized)

of two embedded captions, for which there are no real images. Here as in Algorithm 1 the generator maximizes
log D instead of minimizing log(1 - D).

The paper embeds captions by a network that was trained beforehand to match images; here each of the two
networks learns its own encoder, a small transformer, during adversarial training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from zoo_core.config import EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.data.conditioning import mismatched
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss
from zoo_gan.conditional import CaptionEmbedding, ConditionedCritic, ConditionedGenerator, Joint
from zoo_gan.game import Game, watch
from zoo_gan.losses import NONSATURATING
from zoo_gan.networks import AS_DCGAN, TINY, on_images
from zoo_gan.sngan import RESIDUAL, SNGANModel, SNGANOptim


class TextGANModel(SNGANModel):
    """The two networks and their game."""

    interpolate: float = Field(0.5, gt=0, le=1)
    """Interpolation beta: the generator also learns captions beta t1 + (1 - beta) t2; 1 disables it."""
    critic: Joint = "concat"
    """How the critic reads a caption: concatenated to its features before a joint layer, or by a
    projection."""
    embedding: int = Field(16, ge=4, multiple_of=4)
    """Dimensions of the caption embedding in each network."""
    text_layers: int = Field(1, ge=1)
    """Layers of the caption transformer in each network."""
    joint: int = Field(128, ge=1)
    """critic=concat: width of the joint layer of features and caption."""


class TextGANConfig(RunConfig):
    """Captions to images."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        **on_images(steps=1300, overrides={**RESIDUAL, "model.critic": "projection"}),
        "paper": Preset(
            {**AS_DCGAN, "model.embedding": 128, "model.generator_width": 128, "model.critic_width": 64}
            | {"train.steps": 83_000},
            "Reed et al. 2016, section 5, CUB at 64 x 64: DCGAN, z of 100, text of 128, Adam 2e-4 (0.5), "
            "batches of 64, 600 epochs; the text encoder is trained in the game",
        ),
    }

    model: TextGANModel = TextGANModel()
    """Networks."""
    optim: SNGANOptim = SNGANOptim()
    """Optimizers."""
    train: TrainConfig = TrainConfig(steps=700, batch_size=64, ema=EmaConfig(decay=0.98))
    """Training."""


def matching_aware(right: Tensor, wrong: Tensor, fake: Tensor) -> Tensor:
    """Return -log s_r - 1/2 [log(1 - s_w) + log(1 - s_f)], a mean over logits (Reed et al. 2016, Alg. 1).

    Args:
        right: real images with their captions, (n,).
        wrong: real images with captions of others, (n,).
        fake: generated images with the captions they were made from, (n,).
    """
    return (F.softplus(-right) + (F.softplus(wrong) + F.softplus(fake)) / 2).mean()


class TextGAN(Game):
    """A generator and a critic that both read captions."""

    generator: ConditionedGenerator
    critic: ConditionedCritic

    def __init__(self, config: TextGANConfig, data: DataInfo) -> None:
        model = config.model
        width = model.embedding
        embeddings = [CaptionEmbedding(data.vocabulary, width, model.text_layers) for _ in range(2)]
        generator = ConditionedGenerator(model, data, embeddings[0], width)
        critic = ConditionedCritic(model, data, embeddings[1], width, model.critic, model.joint)
        super().__init__(config, data, generator, critic, NONSATURATING)

    def condition(self, batch: Batch) -> Cond:
        return Cond(tokens=batch.cond.tokens)

    def critic_phase(self, batch: Batch, context: Context) -> Loss:
        """Return the matching-aware loss on a batch, on captions of others, and on generated images."""
        cond = self.condition(batch)
        assert cond.tokens is not None
        with torch.no_grad():
            fake = self.shown(self.generated(len(batch), cond, context), context)
        real = self.shown(self.real(batch), context)
        rows, found = mismatched(cond.tokens, context.rng)
        vector = self.critic.embedding(cond)
        right, generated = self.critic.given(real, vector), self.critic.given(fake, vector)
        wrong = self.critic.given(real, vector[rows])
        loss = matching_aware(right, torch.where(found, wrong, generated), generated)
        log = watch(right, generated, self.adversarial.boundary)
        return Loss(loss, log={**log, "match_gap": (right - wrong).detach().mean()})

    def generator_phase(self, batch: Batch, context: Context) -> Loss:
        """Return the generator's loss on a batch's captions, and on points between two of them."""
        plain = super().generator_phase(batch, context)
        beta = self.config.model.interpolate
        if beta == 1:
            return plain
        cond = self.condition(batch)
        second = torch.randperm(len(batch), generator=context.rng, device=context.rng.device)
        here, there = (
            torch.lerp(vector[second], vector, beta)
            for vector in (self.generator.embedding(cond), self.critic.embedding(cond))
        )
        fake = self.generator.given(self.latents(len(batch), context), here)
        between = self.adversarial.generator(self.critic.given(self.shown(fake, context), there))
        return Loss(plain.loss + between, log={"between": between.detach()})
