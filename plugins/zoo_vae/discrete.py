"""Autoencoders with discrete latents, in two stages: codes are learned, then a prior over them.

An example becomes M codes out of K; p(x | c) is the decoder's. The first stage pays for codes at a uniform
prior, log K nats each; the second freezes it and fits p(c), by which samples are drawn. For either prior

    log p(x) >= E_q[log p(x | c) + log p(c)] + H(q(c | x))

holds with q the encoder's choice of codes, so both are bounds of x itself, and the fitted one is the tighter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_core.config import DEFAULTS, Config, EmaConfig, OptimizerConfig, Preset, RunConfig, TrainConfig
from zoo_core.data.likelihood import dequantized
from zoo_core.data.loading import TrainData
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples
from zoo_vae.autoencoder import AutoencoderSample
from zoo_vae.decoders import build_output, check_levels
from zoo_vae.grids import GridModel, grid_networks, grid_of
from zoo_vae.priors import (
    PriorConfig,
    TextFrequencies,
    build_prior,
    draw,
    log_prob,
    text_of,
    text_size,
)


class DiscreteOptim(Config):
    """The optimizers."""

    net: OptimizerConfig = OptimizerConfig(lr=2e-3, schedule="cosine")
    """Optimizer of the first stage: encoder, decoder and codebook together."""
    prior: OptimizerConfig = OptimizerConfig(kind="adamw", lr=1e-3, weight_decay=0.05, schedule="cosine")
    """Optimizer of the second stage: the prior."""


class DiscreteConfig(RunConfig):
    """Options that models with discrete latents share."""

    model: GridModel = GridModel()
    """The model."""
    prior: PriorConfig = PriorConfig()
    """The prior."""
    optim: DiscreteOptim = DiscreteOptim()
    """Optimization."""
    train: TrainConfig = TrainConfig(steps=3500, batch_size=64, ema=EmaConfig(decay=0.99))
    """Training; the average is the prior's."""
    sample: AutoencoderSample = AutoencoderSample()
    """Sampling."""


TINY: Mapping[str, Any] = {
    "model.codes": 16,
    "model.dim": 8,
    "model.hidden": (32,),
    "model.places": 4,
    "prior.width": 32,
    "prior.depth": 1,
    "train.steps": 60,
    "train.batch_size": 32,
    "train.log_every": 20,
}
"""A few seconds, for tests."""

POINTS: Mapping[str, Any] = {
    "model.hidden": (128, 128),
    "model.places": 2,
    "model.codes": 16,
    "model.dropout": 0.0,
    "train.batch_size": 256,
}
"""Options for points of the plane."""

IMAGES: Mapping[str, Any] = {
    "model.net": "conv",
    "model.halvings": 3,
    "model.codes": 128,
    "model.width": 48,
    "model.blocks": 1,
    "prior.width": 96,
    "prior.depth": 3,
    "prior.share": 0.45,
    "train.steps": 2200,
    "train.batch_size": 64,
}
"""A convolutional model for images of 28 or 32 pixels on a CPU: 16 codes an image, so 17 NFE a sample. Of 68
epochs of the prior on emoji some samples were copies of training images."""

ON_A_GPU: Mapping[str, Any] = {
    "model.net": "conv",
    "model.halvings": 2,
    "model.codes": 256,
    "model.width": 128,
    "prior.width": 256,
    "prior.depth": 6,
    "prior.heads": 8,
    "train.steps": 40_000,
    "train.batch_size": 128,
}
"""A larger one for a GPU: 64 codes an image."""

ON_IMAGES: Mapping[str, Preset] = {
    "default@image<=16": DEFAULTS,
    "default@image<=48": Preset(IMAGES, "for 28x28 and 32x32: sized for eight minutes of one core"),
    "gpu@image<=48": Preset(ON_A_GPU, "for 28x28 and 32x32: a convolutional network for a GPU; not tuned"),
}
"""By size of the images."""


class DiscreteAutoencoder(Recipe):
    """An encoder, a codebook (K, dim), a decoder and a prior; a model adds the first stage.

    Attributes:
        features: numbers that the encoder gives for each place.
    """

    config: DiscreteConfig
    features: ClassVar[Literal["dim", "codes"]]

    def __init__(self, config: DiscreteConfig, data: DataInfo) -> None:
        super().__init__()
        self.config = config
        self.data = data
        model = config.model
        self.output = build_output(model, data)
        self.grid = grid_of(model, data)
        self.places = math.prod(self.grid)
        features = getattr(model, self.features)
        self.encoder, self.decoder = grid_networks(model, data, features, self.output.outputs)
        text = text_size(data)
        self.prior = build_prior(config.prior, model.codes, self.grid, text)
        self.texts = TextFrequencies(text[1]) if text[1] else None

    @property
    def codebook(self) -> Tensor:
        """The codes' vectors, (K, dim)."""
        raise NotImplementedError(f"{type(self).__name__}.codebook")

    def posterior_codes(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return (a draw of q(c | x) (n, M) int64, the entropy of q (n,) float64 nats).

        Args:
            x: (n, *shape).
            u: (n, M), uniform random numbers in [0, 1) for sampling the codes.
        """
        raise NotImplementedError(f"{type(self).__name__}.posterior_codes")

    def first_stage(self) -> Stage:
        """Return the stage that learns the codes."""
        raise NotImplementedError(f"{type(self).__name__}.first_stage")

    def stages(self) -> Sequence[Stage]:
        prior = Stage(
            "prior",
            [Phase("prior", self.prior_loss, [self.prior], "prior", grad_clip=1.0)],
            {"prior": self.config.optim.prior},
            fraction=self.config.prior.share,
            ema={"prior": self.config.train.ema},
            begin=self._count_texts,
        )
        return [self.first_stage(), prior]

    def _count_texts(self, data: TrainData) -> None:
        if self.texts is not None:
            text = text_of(data.conditions(), self.data)
            assert text is not None
            self.texts.fit(text)

    def prior_loss(self, batch: Batch, context: Context) -> Loss:
        """Return the prior's cross-entropy on the codes of the frozen first stage, nats a token."""
        text = text_of(batch.cond, self.data)
        u = torch.rand(len(batch), self.places, generator=context.rng, device=batch.x.device)
        with torch.no_grad():
            codes, _ = self.posterior_codes(batch.x, u)
        logits, word_logits = self.prior(codes, text)
        own = F.cross_entropy(logits.float().flatten(0, 1), codes.flatten())
        if word_logits is None or text is None:
            return Loss(own)
        words = F.cross_entropy(word_logits.float().flatten(0, 1), text.flatten())
        weight = self.config.prior.text_weight
        log = {"nats_per_code": own.detach(), "nats_per_word": words.detach()}
        return Loss(weight * words + (1 - weight) * own, log)

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the codes' vectors, (n, M, dim) for (n, M)."""
        return self.codebook[codes]

    def log_likelihood(self, x: Tensor, vectors: Tensor) -> Tensor:
        """Return log p(x | c), (n,) nats, for the codes' vectors (n, M, dim)."""
        return self.output.log_prob(x, self.decoder(vectors).to(x.dtype)).flatten(1).sum(1)

    def encode(self, x: Tensor) -> Tensor:
        """Return the vectors of the likeliest codes, (n, M, dim)."""
        return self.vectors(self.likeliest_codes(x))

    def likeliest_codes(self, x: Tensor) -> Tensor:
        """Return the likeliest codes, (n, M) int64."""
        raise NotImplementedError(f"{type(self).__name__}.likeliest_codes")

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean of p(x | c), (n, *shape), for the codes' vectors (n, M, dim)."""
        return self.output.mean(self.decoder(z))

    def draw_codes(self, noise: Seeds, cond: Cond | None) -> Tensor:
        """Return codes drawn from the prior given texts, (n, M) int64."""
        return draw(self.prior, noise.rand((self.places,)), text_of(cond, self.data))

    def sample(self, request: SampleRequest) -> Samples:
        """Draw codes from the prior, then take the mean of p(x | c) or a draw of it (`sample.output`)."""
        out = self.decoder(self.vectors(self.draw_codes(request.noise, request.cond)))
        mean = self.config.sample.takes_mean(self.data)
        x = self.output.mean(out) if mean else self.output.sample(out, request.noise)
        return Samples(x, calls=self.places + 1)

    def mean_and_draw(self, request: SampleRequest) -> tuple[Tensor, Tensor]:
        """Return E[x | c] and a draw of p(x | c) at codes from the prior, (n, *shape) each."""
        out = self.decoder(self.vectors(self.draw_codes(request.noise, request.cond)))
        return self.output.mean(out), self.output.sample(out, request.noise)

    def log_prior(self, codes: Tensor) -> Tensor:
        """Return log p(c) of the fitted prior, (n,) float64 nats; texts are as frequent as in training."""
        if self.texts is None:
            return log_prob(self.prior, codes)
        return self.texts.log_marginal(lambda text: log_prob(self.prior, codes, text), len(codes))

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the bound under the fitted prior and under the uniform one, from one draw of the codes.

        Raises:
            UsageError: where the decoder is a probability of levels and x lies between them.
        """
        uniform = self.places * math.log(self.config.model.codes)
        u = noise.rand((self.places,))

        def bound(cost: Callable[[Tensor], Tensor | float]) -> Callable[[Tensor], Tensor]:
            def elbo(x: Tensor) -> Tensor:
                x = x.to(next(self.decoder.parameters()).dtype)
                codes, entropy = self.posterior_codes(x, u)
                return self.log_likelihood(x, self.vectors(codes)).double() + entropy + cost(codes)

            return elbo

        kinds = {"": bound(self.log_prior), "uniform prior": bound(lambda codes: -uniform)}
        levels = self.data.levels
        spread: Literal["none", "uniform"] = "none"
        if levels is not None and not self.output.discrete:
            spread = "uniform"
            found = {variant: dequantized(elbo, x, levels, noise=noise) for variant, elbo in kinds.items()}
        else:
            if levels is not None:
                check_levels(x, levels)
            found = {variant: elbo(x) for variant, elbo in kinds.items()}
        note = {"": self._prior_note(), "uniform prior": ""}
        return [
            Likelihood(value, "elbo", dequantization=spread, calls=3, variant=variant, note=note[variant])
            for variant, value in found.items()
        ]

    def _prior_note(self) -> str:
        """Return what the bound under the fitted prior covers."""
        kept = 1.0 if self.texts is None else self.texts.kept()
        return "fitted prior" + (f"; {kept:.1%} of the training texts" if kept < 1 - 1e-9 else "")
