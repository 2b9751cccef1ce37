"""Importance-weighted autoencoder (Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519).

The model of a variational autoencoder, trained on the bound from K draws of the latent (Eq. 8 of the paper):

    L_K(x) = E_{z_1..z_K ~ q(z|x)}[log 1/K sum_k w_k],      w_k = p(x | z_k) p(z_k) / q(z_k | x)

L_1 is the ELBO, L_K does not fall as K grows, and its limit is log p(x); a larger K asks less of q. The
gradient passes through the draws (Eq. 13): each w_k weighs in by its share of the sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
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
from zoo_vae.bounds import kl_weight, log_prior_ratio, reparameterize, spread


class IWAEModel(AutoencoderModel):
    """The latent, the networks and the decoder's distribution."""

    k: int = Field(8, ge=1)
    """Samples of z per example in the training bound; `eval.iwae_k` sets those of the reported bound."""


class IWAEConfig(AutoencoderConfig):
    """Importance-weighted autoencoder; its defaults beside k are `vae`'s."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"model.hidden": (32,), "model.latent_dim": 4, "model.k": 3, "train.steps": 60}
            | {"train.batch_size": 32, "train.log_every": 20},
            "a few seconds, for tests",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {**LARGER_IMAGES.overrides, "model.hidden": (256, 256), "train.batch_size": 16},
            f"{LARGER_IMAGES.source}; a batch is decoded K times",
        ),
        "default@points": Preset(POINTS, "for points of the plane, with the network of `vae`"),
    }

    model: IWAEModel = IWAEModel()
    """The model."""


class IWAE(GaussianAutoencoder):
    """An encoder and a decoder that maximize the bound from K draws."""

    config: IWAEConfig
    objective = "iwae"

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return -L_K in nats, a mean over the batch (Eq. 8); `used` is the effective number of draws.

        While the prior's and the posterior's weight warms up, this is not a bound.
        """
        model, rng = self.config.model, context.rng
        x = spread(batch.x, self.data, self.output, rng)
        mean, log_var = self.posterior(x)
        eps = torch.randn((model.k, *mean.shape), generator=rng, device=x.device)
        z, many = reparameterize(mean, log_var, eps), x.expand(model.k, *x.shape).flatten(0, 1)
        log_prob = self.log_prob(many, z.flatten(0, 1)).unflatten(0, (model.k, len(x)))
        log_w = log_prob + kl_weight(context.progress, model.kl_warmup) * log_prior_ratio(z, log_var, eps)
        bound = (torch.logsumexp(log_w, 0) - math.log(model.k)).mean()
        used = 1 / log_w.detach().softmax(0).square().sum(0).mean()
        return Loss(-bound, log={"log_prob": log_prob.mean().detach(), "used": used})
