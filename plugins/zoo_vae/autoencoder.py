"""The networks of a latent-variable model with one Gaussian latent, and all that does not depend on its loss.

p(z) = N(0, I), p(x | z) by a decoder, q(z | x) = N(mean, diag exp(log_var)) by an encoder: `vae`, `beta-vae`
and `iwae` are this model under three objectives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Config, EmaConfig, OptimizerConfig, Preset, RunConfig, SampleConfig, TrainConfig
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples
from zoo_vae.bounds import (
    bounds,
    gaussian_kl,
    latent_kl,
    log_mean_exp,
    log_prior_ratio,
    mean_and_log_var,
    reparameterize,
    spread,
)
from zoo_vae.decoders import DecoderModel, build_output
from zoo_vae.networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU}


class HiddenModel(DecoderModel):
    """Activation and dropout between layers."""

    activation: Literal["tanh", "relu", "silu"] = "silu"
    """Activation between layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout after each activation."""


class AutoencoderModel(HiddenModel):
    """The latent, the networks and the decoder's distribution."""

    latent_dim: int = Field(16, ge=1)
    """Dimensions of z."""
    net: Literal["mlp", "conv"] = "mlp"
    """Networks: fully connected, or convolutional (images only)."""
    hidden: tuple[int, ...] = (256, 256)
    """mlp: widths of the encoder's hidden layers, reversed in the decoder; empty for a linear model."""
    width: int = Field(32, ge=1)
    """conv: channels at the resolution of the image; each halving of the resolution doubles them."""
    kl_warmup: float = Field(0.0, ge=0, lt=1)
    """Fraction of training over which the KL's weight rises from 0 to its final value, so that the latent is
    not ignored (Sonderby et al. 2016, arXiv:1602.02282); reported bounds have weight 1."""


class AutoencoderOptim(Config):
    """The optimizer."""

    net: OptimizerConfig = OptimizerConfig(lr=2e-3, schedule="cosine")
    """Of encoder and decoder together."""


class AutoencoderSample(SampleConfig):
    """How samples are drawn."""

    output: Literal["auto", "mean", "sample"] = "auto"
    """Output from p(x | z): its mean, or a random sample; auto takes the mean of images (on the digits their
    Frechet distance is the lower one), but a sample of points and of images of two levels."""

    def takes_mean(self, data: DataInfo) -> bool:
        """Whether samples of such data are means."""
        natural = data.is_image and data.levels != 2  # a mean rounded to two levels is the mode
        return self.output == "mean" or (self.output == "auto" and natural)


POINTS: Mapping[str, Any] = {
    "model.hidden": (128, 128),
    "model.latent_dim": 2,
    "model.dropout": 0.0,
    "model.kl_warmup": 0.25,
    "train.steps": 3000,
    "train.batch_size": 512,
}
"""What suits points of the plane: without warm-up the learned variance explains the ring, and the latent is
not used."""


LARGER_IMAGES = Preset(
    {"model.hidden": (512, 512), "model.latent_dim": 32, "model.dropout": 0.0}
    | {"train.steps": 2400, "train.batch_size": 64},
    "for 28x28 and 32x32: wider and without dropout; four minutes of one core, after which the likelihood of "
    "held-out emoji falls",
)


def between_layers(model: HiddenModel) -> nn.Module:
    """Return the activation, and dropout behind it where there is some."""
    activation = ACTIVATIONS[model.activation]()
    return nn.Sequential(activation, nn.Dropout(model.dropout)) if model.dropout else activation


def build_networks(model: AutoencoderModel, data: DataInfo, outputs: int) -> tuple[nn.Module, nn.Module]:
    """Return the encoder, (n, *shape) to (n, 2 latent_dim), and the decoder, to (n, outputs, *shape).

    Raises:
        UsageError: for convolutions over points, or over images of an odd side.
    """
    activation = partial(between_layers, model)
    if model.net == "mlp":
        return (
            mlp_encoder(data.shape, model.hidden, 2 * model.latent_dim, activation),
            mlp_decoder(data.shape, model.hidden, model.latent_dim, outputs, activation),
        )
    if not data.is_image:
        raise UsageError(
            f"model.net=conv was asked for and an example of {data.name!r} has shape {data.shape}",
            "expected: images, (C, H, W)",
            "next: model.net=mlp",
        )
    return (
        conv_encoder(data.shape, model.width, 2 * model.latent_dim, activation),
        conv_decoder(data.shape, model.width, model.latent_dim, outputs, activation),
    )


class AutoencoderConfig(RunConfig):
    """Options that models with one Gaussian latent share."""

    model: AutoencoderModel = AutoencoderModel()
    """The model."""
    optim: AutoencoderOptim = AutoencoderOptim()
    """Optimization."""
    train: TrainConfig = TrainConfig(steps=2000, batch_size=128, ema=EmaConfig(decay=0.99))
    """Training."""
    sample: AutoencoderSample = AutoencoderSample()
    """Sampling."""


class GaussianAutoencoder(Recipe):
    """An encoder and a decoder, trained together; a model adds its loss.

    Attributes:
        objective: the loss's name in the log.
    """

    objective: ClassVar[str] = "elbo"
    length_options = ("model.kl_warmup",)

    units: ClassVar[Mapping[str, str]] = dict.fromkeys(("loss", "kl", "log_prob"), "nats per example")

    def __init__(self, config: AutoencoderConfig, data: DataInfo) -> None:
        super().__init__()
        self.config = config
        self.data = data
        self.output = build_output(config.model, data)
        self.encoder, self.decoder = build_networks(config.model, data, self.output.outputs)
        self.latent_shape = (config.model.latent_dim,)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the objective to minimize, in nats, a mean over the batch."""
        raise NotImplementedError(f"{type(self).__name__}.loss")

    def stages(self) -> Sequence[Stage]:
        phase = Phase(self.objective, self.loss, [self.encoder, self.decoder], "net")
        ema = self.config.train.ema
        return [Stage("train", [phase], {"net": self.config.optim.net}, ema={"encoder": ema, "decoder": ema})]

    def terms(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the ELBO's terms from one draw of z an example, log p(x | z) and the KL, (n,) nats each."""
        x = spread(batch.x, self.data, self.output, rng)
        mean, log_var = self.posterior(x)
        eps = torch.randn(mean.shape, generator=rng, device=x.device)
        return self.log_prob(x, reparameterize(mean, log_var, eps)), gaussian_kl(mean, log_var)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mean, log_var) of q(z | x), each (n, latent_dim), float32 at least."""
        weight = next(self.encoder.parameters())
        return mean_and_log_var(self.encoder(x.to(weight.dtype)).to(weight.dtype))

    def log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z), (n,) nats."""
        return self.output.log_prob(x, self.decoder(z).to(z.dtype)).flatten(1).sum(1)

    def sample(self, request: SampleRequest) -> Samples:
        """Draw z from the prior, then take the mean of p(x | z) or a draw of it (`sample.output`)."""
        out = self.decoder(request.noise.randn(self.latent_shape))
        mean = self.config.sample.takes_mean(self.data)
        return Samples(self.output.mean(out) if mean else self.output.sample(out, request.noise))

    def mean_and_draw(self, request: SampleRequest) -> tuple[Tensor, Tensor]:
        """Return E[x | z] and a draw of p(x | z) at one z from the prior, (n, *shape) each."""
        out = self.decoder(request.noise.randn(self.latent_shape))
        return self.output.mean(out), self.output.sample(out, request.noise)

    def encode(self, x: Tensor) -> Tensor:
        """Return the mean of q(z | x), (n, latent_dim)."""
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean of p(x | z), (n, *shape)."""
        return self.output.mean(self.decoder(z))

    def elbo(self, x: Tensor, *, noise: Seeds) -> Tensor:
        """Return the evidence lower bound from one draw of z and the KL in closed form, (n,) float64 nats."""
        mean, log_var = self.posterior(x)
        z = reparameterize(mean, log_var, noise.randn(self.latent_shape).to(mean))
        return self.log_prob(x, z).double() - gaussian_kl(mean, log_var).double()

    def iwae(self, x: Tensor, k: int, *, noise: Seeds) -> Tensor:
        """Return the importance-weighted bound from k draws of z, (n,) float64 nats."""
        mean, log_var = self.posterior(x)

        def draw() -> Tensor:
            eps = noise.randn(self.latent_shape).to(mean)
            z = reparameterize(mean, log_var, eps)
            return (self.log_prob(x, z) + log_prior_ratio(z, log_var, eps)).double()

        return log_mean_exp(draw, k)

    def kl(self, x: Tensor) -> dict[str, Tensor]:
        """Return the KL of each dimension of z, (n,) nats."""
        parts = latent_kl(*self.posterior(x)).unbind(1)
        return {f"z{k}": part for k, part in enumerate(parts, 1)}

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the ELBO and IWAE_k; of images under a density, by uniform dequantization.

        Raises:
            UsageError: where the decoder is a probability of levels and x lies between them.
        """
        elbo, iwae = partial(self.elbo, noise=noise), partial(self.iwae, k=k, noise=noise)
        return bounds(elbo, iwae, x, self.data, self.output, noise=noise, k=k, kl=self.kl)
