"""beta-VAE (Higgins et al. 2017, "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
Framework", ICLR; openreview.net/forum?id=Sy2fzU9gl).

The variational autoencoder with a weight on the KL:

    F(x) = E_{q(z|x)}[log p(x | z)] - beta KL(q(z | x) || p(z))      (Eq. 4 of the paper)

For beta > 1 it lies below the ELBO: fewer latents are used, each closer to the prior. For beta < 1 it is not
a bound. The reported value is the ELBO itself, with weight 1, and IWAE_K.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from zoo_core.config import DEFAULTS, Preset
from zoo_core.types import Batch, Context, Loss
from zoo_vae.autoencoder import (
    LARGER_IMAGES,
    POINTS,
    AutoencoderConfig,
    AutoencoderModel,
    GaussianAutoencoder,
)
from zoo_vae.bounds import kl_weight


class BetaVAEModel(AutoencoderModel):
    """The latent, the networks and the decoder's distribution."""

    beta: float = Field(2.0, ge=0)
    """Weight of the KL divergence; 1 is the ELBO."""


LATENT = Preset({"model.beta": 0.1}, "codes for another model to learn, as ldm does: nearly lossless")


class BetaVAEConfig(AutoencoderConfig):
    """Variational autoencoder with a weight on the KL; its defaults beside beta are `vae`'s."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"model.hidden": (32,), "model.latent_dim": 4, "train.steps": 60, "train.batch_size": 32}
            | {"train.log_every": 20},
            "a few seconds, for tests",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": LARGER_IMAGES,
        "default@points": Preset(
            {**POINTS, "model.std": 0.1},
            "for points; a fixed variance, because a learned one would explain them without the latent",
        ),
        "latent": LATENT,
        "latent@image<=16": LATENT,
        "latent@image<=48": Preset(
            {"model.hidden": (512, 512), "model.latent_dim": 32, "model.beta": 0.1},
            "the same, wider; not tuned",
        ),
        "latent@points": Preset(
            {**POINTS, "model.std": 0.1, "model.beta": 0.1}, "the same, for points of the plane"
        ),
    }

    model: BetaVAEModel = BetaVAEModel()
    """The model."""


class BetaVAE(GaussianAutoencoder):
    """An encoder and a decoder that maximize the weighted bound."""

    config: BetaVAEConfig

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return -F in nats, a mean over the batch, with one draw of z an example (Eq. 4)."""
        log_prob, kl = (term.mean() for term in self.terms(batch, context.rng))
        weight = self.config.model.beta * kl_weight(context.progress, self.config.model.kl_warmup)
        return Loss(weight * kl - log_prob, log={"kl": kl.detach(), "log_prob": log_prob.detach()})
