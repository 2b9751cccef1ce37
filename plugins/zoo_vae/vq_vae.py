"""VQ-VAE (van den Oord et al. 2017, "Neural Discrete Representation Learning", arXiv:1711.00937).

The encoder's outputs z_e are replaced by the nearest vectors e of a codebook, z_q; to minimize, in nats,

    L = -log p(x | z_q) + ||sg(z_e) - e||^2 + beta ||z_e - sg(e)||^2          (Eq. 3 of the paper)

where sg stops the gradient: the first term reaches the decoder and, straight through z_q, the encoder; the
second the codebook alone; the third, the commitment, the encoder alone. With `model.codebook=ema` moving
averages take the second term's place (appendix A.1). The prior over codes is fitted in a second stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from zoo_core.config import Preset
from zoo_core.data.loading import TrainData
from zoo_core.training.recipe import Phase, Stage
from zoo_core.types import Batch, Context, DataInfo, Loss
from zoo_vae.bounds import spread
from zoo_vae.discrete import IMAGES, ON_IMAGES, POINTS, TINY, DiscreteAutoencoder, DiscreteConfig
from zoo_vae.quantizer import Quantizer, QuantizerModel, nearest_code, straight_through


class VQModel(QuantizerModel):
    """The codebook, the networks and the decoder's distribution."""

    beta: float = Field(0.25, ge=0)
    """Weight of the commitment loss."""


LATENT = Preset({"model.dim": 4}, "for latent diffusion (ldm): few values per code")


class VQVAEConfig(DiscreteConfig):
    """Vector-quantized variational autoencoder.

    The defaults were chosen on `digits` by the fitted bound of a fifth of the training split, held out (287
    images), and by the Frechet distance to the training split. The test scores of one full run were seen
    before the last choice was made.
    """

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(TINY, "a few seconds, for tests"),
        "default@points": Preset(POINTS, "for points of the plane"),
        **ON_IMAGES,
        "latent": LATENT,
        "latent@points": Preset({**POINTS, **LATENT.overrides}, "the same; not tuned"),
        "latent@image<=16": LATENT,
        "latent@image<=48": Preset({**IMAGES, **LATENT.overrides}, "the same; not tuned"),
    }

    model: VQModel = VQModel()
    """The model."""


class VQVAE(DiscreteAutoencoder):
    """An encoder, a quantizer and a decoder."""

    config: VQVAEConfig
    features = "dim"

    def __init__(self, config: VQVAEConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.quantizer = Quantizer(config.model)

    @property
    def codebook(self) -> Tensor:
        return self.quantizer.codebook

    def first_stage(self) -> Stage:
        phase = Phase(
            "vq",
            self.loss,
            [self.encoder, self.decoder, self.quantizer],
            "net",
            after_step=lambda sums, keep: self.quantizer.update(sums, keep["candidates"]),
        )
        share = 1 - self.config.prior.share
        return Stage("codes", [phase], {"net": self.config.optim.net}, share, begin=self._measure_epoch)

    def _measure_epoch(self, data: TrainData) -> None:
        self.quantizer.epoch_length.fill_(len(data))

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return (-log p(x | z_q), codebook term, commitment, each a mean over the batch, z_e, codes)."""
        z = self.encoder(x).float()
        code, quantized = self.quantizer(z)
        nats = -self.log_likelihood(x, straight_through(z, quantized)).mean()
        codebook = (z.detach() - quantized).square().sum((1, 2)).mean()
        commitment = (z - quantized.detach()).square().sum((1, 2)).mean()
        return nats, codebook, commitment, z, code

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return Eq. 3 in nats, a mean over the batch; the codebook's term only where it learns by it."""
        x = spread(batch.x, self.data, self.output, context.rng)
        nats, codebook, commitment, z, code = self.terms(x)
        loss = nats + self.config.model.beta * commitment
        if not self.quantizer.averaged:
            loss = loss + codebook
        sums, candidates = self.quantizer.statistics(z, code, context.rng)
        log = {
            "nats": nats.detach(),
            "commitment": commitment.detach(),
            "perplexity": self.quantizer.epoch_perplexity(sums["count"]),
        }
        return Loss(loss, log, sums, {"candidates": candidates})

    def likeliest_codes(self, x: Tensor) -> Tensor:
        return nearest_code(self.encoder(x), self.codebook)

    def posterior_codes(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest codes (n, M): q is certain, and its entropy is 0."""
        return self.likeliest_codes(x), torch.zeros(len(x), dtype=torch.float64, device=x.device)
