"""Variational autoencoder (Kingma and Welling 2014, "Auto-Encoding Variational Bayes", arXiv:1312.6114).

The latent has a standard normal prior p(z); a decoder gives p(x | z); an encoder approximates the posterior
by q(z | x) = N(mean, diag exp(log_var)). Both are trained to maximise the evidence lower bound,

    ELBO(x) = E_{q(z|x)}[log p(x | z)] - KL(q(z | x) || p(z)) <= log p(x),      (Eq. 3 of the paper)

with one draw z = mean + exp(log_var / 2) eps a step (Eq. 10, L = 1) and the KL in closed form (appendix B).
The tighter bound on K draws (Burda et al. 2016, arXiv:1509.00519, Eq. 8) is only ever evaluated:

    IWAE_K(x) = E[log 1/K sum_k p(x | z_k) p(z_k) / q(z_k | x)].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Config, EmaConfig, OptimizerConfig, Preset, RunConfig, SampleConfig, TrainConfig
from zoo_core.data.loading import dequantise
from zoo_core.errors import UsageError
from zoo_core.likelihood import dequantised
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples
from zoo_vae.decoders import Bernoulli, DiscretisedLogistic, Gaussian, OutputDistribution, check_levels
from zoo_vae.networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU}


class VAEModel(Config):
    """The latent, the networks and the decoder's distribution."""

    latent_dim: int = Field(16, ge=1)
    """Dimensions of z."""
    net: Literal["mlp", "conv"] = "mlp"
    """Fully connected, or convolutional (pictures only)."""
    hidden: tuple[int, ...] = (256, 256)
    """mlp: sizes of the encoder's hidden layers, backwards those of the decoder; empty is a linear model."""
    width: int = Field(32, ge=1)
    """conv: channels beside the picture; each halving of the side doubles them."""
    activation: Literal["tanh", "relu", "silu"] = "silu"
    """Between layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """After each activation, while training."""
    decoder: Literal["auto", "logistic", "gaussian", "bernoulli"] = "auto"
    """p(x | z): discretised logistic (any number of levels), Gaussian density, or Bernoulli (2 levels);
    auto takes bernoulli for 2 levels, logistic for more, gaussian for points."""
    components: int = Field(2, ge=1)
    """logistic: of the mixture for each value."""
    kl_warmup: float = Field(0.0, ge=0, lt=1)
    """Share of training over which the KL's weight rises from 0 to 1, so that the latent is used before it
    is paid for (Sonderby et al. 2016, arXiv:1602.02282); reported bounds have weight 1."""
    std: float | None = Field(None, gt=0)
    """gaussian: standard deviation of every value; none to learn one for each."""


class VAEOptim(Config):
    """The optimiser."""

    net: OptimizerConfig = OptimizerConfig(lr=2e-3, schedule="cosine")
    """Of encoder and decoder together."""


class VAESample(SampleConfig):
    """How samples are drawn."""

    output: Literal["auto", "mean", "sample"] = "auto"
    """What is taken of p(x | z): its mean, or a draw; auto takes the mean of pictures (on the digits their
    Frechet distance is the lower one) and a draw of points."""


POINTS = Preset(
    {"model.hidden": (128, 128), "model.latent_dim": 2, "model.dropout": 0.0, "model.kl_warmup": 0.25}
    | {"train.steps": 3000, "train.batch_size": 512},
    "points of the plane: without warm-up the learned variance explains the ring and the latent is not used",
)


class VAEConfig(RunConfig):
    """Variational autoencoder.

    The defaults were chosen on `digits` by the ELBO of a fifth of the training split, held out (287 pictures,
    stratified; the rest trained on), over sizes, dropout, components, learning rate and steps, then with
    three seeds; the test split was not looked at. Without dropout, or with a rate that stays, the held-out
    ELBO gets worse again before the last step.
    """

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"model.hidden": (32,), "model.latent_dim": 4, "train.steps": 60, "train.batch_size": 32}
            | {"train.log_every": 20},
            "a few seconds, for tests",
        ),
        "paper": Preset(
            {"model.hidden": (500,), "model.activation": "tanh", "model.latent_dim": 20, "model.dropout": 0.0}
            | {"model.components": 1, "train.batch_size": 100, "train.steps": 100_000, "train.ema.decay": 0.0}
            | {"optim.net.lr": 1e-3, "optim.net.schedule": "constant", "optim.net.weight_decay": 1 / 60_000},
            "Kingma and Welling 2014, section 5, MNIST: one hidden layer of 500 tanh units, M = 100, L = 1, "
            "weight decay of the prior N(0, I) over 60,000 examples; they used Adagrad, weights started at "
            "N(0, 0.01) and a Bernoulli decoder; here Adam, torch's start and the data's own decoder",
        ),
        "default@mnist": Preset(
            {"model.hidden": (512, 512), "model.latent_dim": 32, "model.dropout": 0.0, "train.steps": 5000},
            "the default network, wider and without dropout",
        ),
        **dict.fromkeys(
            ("default@moons", "default@ring", "default@two-gaussians", "default@swiss-roll"), POINTS
        ),
    }

    model: VAEModel = VAEModel()
    """The model."""
    optim: VAEOptim = VAEOptim()
    """Optimisation."""
    train: TrainConfig = TrainConfig(steps=2000, batch_size=128, ema=EmaConfig(decay=0.99))
    """Training."""
    sample: VAESample = VAESample()
    """Sampling."""


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """Return KL(N(mean, diag exp(log_var)) || N(0, I)), (n,) nats, for (n, latent_dim) each (appendix B)."""
    return 0.5 * (mean**2 + log_var.exp() - log_var - 1).sum(1)


def reparameterise(mean: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    """Return z = mean + exp(log_var / 2) eps: a draw of N(mean, exp(log_var)) that gradients pass through."""
    return mean + torch.exp(log_var / 2) * eps


def kl_weight(progress: float, warmup: float) -> float:
    """Return the KL's weight in the loss: from 0 to 1 along a line while progress is below warmup, then 1."""
    return min(1.0, progress / warmup) if warmup else 1.0


def log_importance_weight(log_prob: Tensor, z: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    """Return log p(x | z) + log p(z) - log q(z | x), (n,) nats, at z = mean + exp(log_var / 2) eps.

    Args:
        log_prob: log p(x | z), (n,).
        z, log_var, eps: (n, latent_dim).
    """
    return log_prob + 0.5 * (eps**2 + log_var - z**2).sum(1)


def log_mean_exp(draw: Callable[[], Tensor], k: int) -> Tensor:
    """Return log 1/k sum exp(w) over k calls of draw, (n,); memory does not grow with k."""
    total = draw()
    for _ in range(k - 1):
        total = torch.logaddexp(total, draw())
    return total - math.log(k)


def build_output(model: VAEModel, data: DataInfo) -> OutputDistribution:
    """Return the decoder's distribution.

    Raises:
        UsageError: where it is no likelihood of such data.
    """
    natural = "gaussian" if data.levels is None else "bernoulli" if data.levels == 2 else "logistic"
    kind = natural if model.decoder == "auto" else model.decoder
    if (kind == "bernoulli" and data.levels != 2) or (kind == "logistic" and data.levels is None):
        has = "continuous values" if data.levels is None else f"{data.levels} levels"
        raise UsageError(
            f"model.decoder={kind} is no likelihood of {data.name!r}, which has {has}",
            "expected: data of 2 levels" if kind == "bernoulli" else "expected: pictures",
            f"next: model.decoder={natural}",
        )
    if kind == "bernoulli":
        return Bernoulli()
    if kind == "gaussian":
        return Gaussian(model.std)
    assert data.levels is not None
    return DiscretisedLogistic(data.levels, model.components)


def build_networks(model: VAEModel, data: DataInfo, outputs: int) -> tuple[nn.Module, nn.Module]:
    """Return the encoder, (n, *shape) to (n, 2 latent_dim), and the decoder, to (n, outputs, *shape).

    Raises:
        UsageError: for convolutions over points, or over pictures of an odd side.
    """

    def activation() -> nn.Module:
        act = ACTIVATIONS[model.activation]()
        return nn.Sequential(act, nn.Dropout(model.dropout)) if model.dropout else act

    if model.net == "mlp":
        return (
            mlp_encoder(data.shape, model.hidden, 2 * model.latent_dim, activation),
            mlp_decoder(data.shape, model.hidden, model.latent_dim, outputs, activation),
        )
    if not data.is_image:
        raise UsageError(
            f"model.net=conv was asked for and an example of {data.name!r} has shape {data.shape}",
            "expected: pictures, (C, H, W)",
            "next: model.net=mlp",
        )
    return (
        conv_encoder(data.shape, model.width, 2 * model.latent_dim, activation),
        conv_decoder(data.shape, model.width, model.latent_dim, outputs, activation),
    )


class VAE(Recipe):
    """An encoder and a decoder."""

    def __init__(self, config: VAEConfig, data: DataInfo) -> None:
        super().__init__()
        self.config = config
        self.data = data
        self.output = build_output(config.model, data)
        self.encoder, self.decoder = build_networks(config.model, data, self.output.outputs)
        self.latent_shape = (config.model.latent_dim,)

    def stages(self) -> Sequence[Stage]:
        phase = Phase("elbo", self.loss, [self.encoder, self.decoder], "net")
        ema = self.config.train.ema
        return [Stage("train", [phase], {"net": self.config.optim.net}, ema={"encoder": ema, "decoder": ema})]

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mean, log_var) of q(z | x), each (n, latent_dim), float32 at least."""
        weight = next(self.encoder.parameters())
        mean, log_var = self.encoder(x.to(weight.dtype)).to(weight.dtype).chunk(2, dim=1)
        return mean, log_var

    def log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z), (n,) nats."""
        return self.output.log_prob(x, self.decoder(z).to(z.dtype)).flatten(1).sum(1)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return -ELBO in nats, a mean over the batch, with one draw of z an example (Eq. 10).

        While the KL warms up its weight is below 1, and this is no bound.
        """
        x, rng, levels = batch.x, context.rng, self.data.levels
        if levels is not None and not self.output.discrete:
            x = dequantise(x, levels, torch.rand(x.shape, generator=rng, device=x.device))
        mean, log_var = self.posterior(x)
        eps = torch.randn(mean.shape, generator=rng, device=x.device)
        log_prob = self.log_prob(x, reparameterise(mean, log_var, eps)).mean()
        kl = gaussian_kl(mean, log_var).mean()
        weight = kl_weight(context.progress, self.config.model.kl_warmup)
        return Loss(weight * kl - log_prob, log={"kl": kl.detach(), "log_prob": log_prob.detach()})

    def sample(self, request: SampleRequest) -> Samples:
        """Draw z from the prior, then take the mean of p(x | z) or a draw of it (`sample.output`)."""
        out = self.decoder(request.noise.randn(self.latent_shape))
        output = self.config.sample.output
        if output == "mean" or (output == "auto" and self.data.is_image):
            return Samples(self.output.mean(out))
        return Samples(self.output.sample(out, request.noise))

    def encode(self, x: Tensor) -> Tensor:
        """Return the mean of q(z | x), (n, latent_dim)."""
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean of p(x | z), (n, *shape)."""
        return self.output.mean(self.decoder(z))

    def elbo(self, x: Tensor, *, noise: Seeds) -> Tensor:
        """Return the evidence lower bound from one draw of z and the KL in closed form, (n,) float64 nats."""
        mean, log_var = self.posterior(x)
        z = reparameterise(mean, log_var, noise.randn(self.latent_shape).to(mean))
        return self.log_prob(x, z).double() - gaussian_kl(mean, log_var).double()

    def iwae(self, x: Tensor, k: int, *, noise: Seeds) -> Tensor:
        """Return the importance-weighted bound from k draws of z, (n,) float64 nats."""
        mean, log_var = self.posterior(x)

        def draw() -> Tensor:
            eps = noise.randn(self.latent_shape).to(mean)
            z = reparameterise(mean, log_var, eps)
            return log_importance_weight(self.log_prob(x, z), z, log_var, eps).double()

        return log_mean_exp(draw, k)

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the ELBO and IWAE_k; of pictures under a density, by uniform dequantisation.

        Raises:
            UsageError: where the decoder is a probability of levels and x lies between them.
        """
        levels = self.data.levels
        bounds = [partial(self.elbo, noise=noise), partial(self.iwae, k=k, noise=noise)]
        spread: Literal["none", "uniform"] = "none"
        if levels is None:
            elbo, iwae = (bound(x) for bound in bounds)
        elif self.output.discrete:
            check_levels(x, levels)
            elbo, iwae = (bound(x) for bound in bounds)
        else:
            spread = "uniform"
            elbo, iwae = (dequantised(bound, x, levels, noise=noise) for bound in bounds)
        return [
            Likelihood(elbo, "elbo", dequantisation=spread, calls=2),
            Likelihood(iwae, "iwae", k=k, dequantisation=spread, calls=1 + k),
        ]
