"""Hierarchical VAE of Sonderby et al. 2016, "Ladder Variational Autoencoders", arXiv:1602.02282.

The latents form a Markov chain downwards, z_L ~ N(0, I), z_i | z_{i+1}, and x | z_1 (Eqs. 1 to 3). The
posterior shares that way down: a network goes up from x and proposes N(mean_up, exp(log_var_up)) for each
level, which is multiplied with the prior N(mean_p, exp(log_var_p)) found on the way down (Eqs. 11 and 12):

    1 / var = 1 / var_up + 1 / var_p,      mean = var (mean_up / var_up + mean_p / var_p)

Here every level is written in units of its prior, e_i = (z_i - mean_p) / std_p. A KL does not change under
such a map, so all levels have the prior N(0, I) and the closed form of the one-level model:

    ELBO(x) = E_q[log p(x | z_1)] - sum_i E_q[KL(q(e_i | z_{i+1}, x) || N(0, I))]

A diffusion model is such a chain with x-sized levels, a fixed posterior and one network for all priors
(Luo 2022, "Understanding Diffusion Models: A Unified Perspective", arXiv:2208.11970, sections 2 and 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import DEFAULTS, EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.data.likelihood import COLLAPSED
from zoo_core.nn.bounding import bounded
from zoo_core.nn.perceptron import perceptron
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples
from zoo_vae.autoencoder import AutoencoderOptim, AutoencoderSample, HiddenModel, between_layers
from zoo_vae.bounds import (
    bounds,
    gaussian_kl,
    kl_weight,
    log_mean_exp,
    log_prior_ratio,
    reparameterize,
    spread,
)
from zoo_vae.decoders import build_output
from zoo_vae.networks import mlp_decoder, mlp_encoder

LOG_VAR = 10.0
"""Log-variances of priors and proposals stay within +-10."""


class HVAEModel(HiddenModel):
    """The hierarchy of latents and the decoder's distribution."""

    latent_dims: tuple[int, ...] = Field((16, 12, 8), min_length=1)
    """Dimensions of the latents from z_1, next to the data, to z_L."""
    hidden: int = Field(256, ge=1)
    """Width of the hidden layers: two between the data and z_1, one between two levels."""
    kl_warmup: float = Field(0.25, ge=0, lt=1)
    """Fraction of training over which the KL's weight rises from 0 to 1, so that upper levels do not collapse
    (section 2.3)."""
    free_nats: float = Field(1.0, ge=0)
    """Free KL of each level in the training loss, a mean over the batch, so that no level collapses
    (Kingma et al. 2016, arXiv:1606.04934, Eq. 15); reported bounds count all of it."""


class HVAEConfig(RunConfig):
    """Hierarchical variational autoencoder.

    Layers, dropout, decoder and optimizer are `vae`'s defaults; dimensions, warm-up and free nats were chosen
    as `vae`'s were, by the ELBO of a held-out fifth of the training split of `digits` over nine runs. Without
    free nats the two upper levels collapse there.
    """

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"model.hidden": 32, "model.latent_dims": (4, 3, 2), "train.steps": 60, "train.batch_size": 32}
            | {"train.log_every": 20},
            "a few seconds, for tests",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {"model.latent_dims": (32, 24, 16), "model.hidden": 512, "model.dropout": 0.0}
            | {"train.steps": 2000, "train.batch_size": 64}
            | {"optim.net.lr": 1e-3, "optim.net.warmup": 100},
            "for 28x28 and 32x32: wider and without dropout, four minutes of one core; at the rate of the "
            "digits a run of this length diverged on emoji",
        ),
        "default@points": Preset(
            {"model.latent_dims": (2, 2, 2), "model.hidden": 128, "model.dropout": 0.0}
            | {"train.steps": 3000, "train.batch_size": 512},
            "for points of the plane",
        ),
    }

    model: HVAEModel = HVAEModel()
    """The model."""
    optim: AutoencoderOptim = AutoencoderOptim()
    """Optimization."""
    train: TrainConfig = TrainConfig(steps=2000, batch_size=128, ema=EmaConfig(decay=0.99))
    """Training."""
    sample: AutoencoderSample = AutoencoderSample()
    """Sampling."""


def merged(mean_up: Tensor, log_var_up: Tensor, mean_p: Tensor, log_var_p: Tensor) -> tuple[Tensor, Tensor]:
    """Return (mean, log_var) of q(e), e in units of the prior: the normalized product of two Gaussians.

    Args:
        mean_up, log_var_up: of z as the way up proposes it.
        mean_p, log_var_p: of z under its prior.
    """
    gain = log_var_p - log_var_up
    return (mean_up - mean_p) * torch.exp(-log_var_p / 2) * torch.sigmoid(gain), F.logsigmoid(-gain)


@dataclass(frozen=True)
class Descent:
    """One way down the hierarchy, from z_L to z_1.

    Attributes:
        z: z_1, (n, latent_dims[0]).
        e, mean, log_var, eps: of all levels, z_1's first, each (n, sum of latent_dims): the latent in units
            of its prior, its posterior's mean and log-variance, and the noise that it was drawn with.
    """

    z: Tensor
    e: Tensor
    mean: Tensor
    log_var: Tensor
    eps: Tensor


class HVAE(Recipe):
    """A hierarchy of Gaussian latent levels."""

    length_options = ("model.kl_warmup",)
    units: ClassVar[Mapping[str, str]] = dict.fromkeys(("loss", "kl", "log_prob"), "nats per example")

    def __init__(self, config: HVAEConfig, data: DataInfo) -> None:
        super().__init__()
        self.config = config
        self.data = data
        model = config.model
        self.dims = model.latent_dims
        self.latent_shape = (sum(self.dims),)
        self.output = build_output(model, data)
        activation = partial(between_layers, model)
        first = mlp_encoder(data.shape, [model.hidden], model.hidden, activation)
        above = [perceptron([model.hidden] * 3, activation) for _ in self.dims[1:]]
        self.up = nn.ModuleList([first, *above])
        self.proposal = nn.ModuleList(
            nn.Sequential(activation(), nn.Linear(model.hidden, 2 * dim)) for dim in self.dims
        )
        self.prior = nn.ModuleList(
            perceptron([upper, model.hidden, model.hidden, 2 * lower], activation)
            for lower, upper in zip(self.dims, self.dims[1:], strict=False)
        )
        self.decoder = mlp_decoder(
            data.shape, [model.hidden] * 2, self.dims[0], self.output.outputs, activation
        )

    def stages(self) -> Sequence[Stage]:
        parts = ["up", "proposal", "prior", "decoder"]
        phase = Phase("elbo", self.loss, [self.get_submodule(part) for part in parts], "net")
        ema = dict.fromkeys(parts, self.config.train.ema)
        return [Stage("train", [phase], {"net": self.config.optim.net}, ema=ema)]

    def proposals(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return (mean, log_var) that the way up proposes for z_1, ..., z_L."""
        found, h = [], x.to(next(self.decoder.parameters()).dtype)
        for up, proposal in zip(self.up, self.proposal, strict=True):
            h = up(h)
            found.append(_mean_and_log_var(proposal(h)))
        return found

    def prior_of(self, level: int, above: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mean, log_var) of p(z | the level above), standard normal at the top."""
        if above is None:
            return torch.zeros_like(like), torch.zeros_like(like)
        return _mean_and_log_var(self.prior[level](above))

    def descend(self, proposals: Sequence[tuple[Tensor, Tensor]], eps: Tensor) -> Descent:
        """Draw all levels of q(z | x), from the top, with the noise eps (n, sum of latent_dims)."""
        levels: list[tuple[Tensor, Tensor, Tensor]] = []
        z = None
        for level, noise in reversed(list(enumerate(eps.split(self.dims, 1)))):
            mean_p, log_var_p = self.prior_of(level, z, noise)
            mean_up, log_var_up = proposals[level]
            mean, log_var = merged(mean_up, log_var_up, mean_p, log_var_p)
            e = reparameterize(mean, log_var, noise)
            z = reparameterize(mean_p, log_var_p, e)
            levels.insert(0, (e, mean, log_var))
        assert z is not None
        e, mean, log_var = (torch.cat(part, 1) for part in zip(*levels, strict=True))
        return Descent(z, e, mean, log_var, eps)

    def lowest(self, e: Tensor) -> Tensor:
        """Return z_1 of latents in units of their priors, (n, sum of latent_dims)."""
        z = None
        for level, part in reversed(list(enumerate(e.split(self.dims, 1)))):
            z = reparameterize(*self.prior_of(level, z, part), part)
        assert z is not None
        return z

    def log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z_1), (n,) nats."""
        return self.output.log_prob(x, self.decoder(z).to(z.dtype)).flatten(1).sum(1)

    def level_kl(self, way: Descent) -> Tensor:
        """Return KL(q(z_i | z_{i+1}, x) || p(z_i | z_{i+1})) of each level on a way down, (n, L) nats."""
        parts = zip(way.mean.split(self.dims, 1), way.log_var.split(self.dims, 1), strict=True)
        return torch.stack([gaussian_kl(mean, log_var) for mean, log_var in parts], 1)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return -ELBO in nats, a mean over the batch, from one way down an example; logs each level's KL.

        While the KL warms up, or a level's is below `free_nats`, this is not a bound.
        """
        x = spread(batch.x, self.data, self.output, context.rng)
        eps = torch.randn((len(x), *self.latent_shape), generator=context.rng, device=x.device)
        way = self.descend(self.proposals(x), eps)
        log_prob, kl = self.log_prob(x, way.z).mean(), self.level_kl(way).mean(0)
        weight = kl_weight(context.progress, self.config.model.kl_warmup)
        log = {f"kl_{level}": part for level, part in enumerate(kl.detach(), 1)}
        collapsed = (kl.detach() < COLLAPSED).sum().float()
        paid = weight * kl.clamp_min(self.config.model.free_nats).sum()
        return Loss(paid - log_prob, log={**log, "collapsed": collapsed, "log_prob": log_prob.detach()})

    def sample(self, request: SampleRequest) -> Samples:
        """Draw the levels from the top, then take the mean of p(x | z_1) or a draw (`sample.output`)."""
        out = self.decoder(self.lowest(request.noise.randn(self.latent_shape)))
        mean = self.config.sample.takes_mean(self.data)
        return Samples(self.output.mean(out) if mean else self.output.sample(out, request.noise))

    def mean_and_draw(self, request: SampleRequest) -> tuple[Tensor, Tensor]:
        """Return E[x | z_1] and a draw of p(x | z_1) at one z_1 from the prior, (n, *shape) each."""
        out = self.decoder(self.lowest(request.noise.randn(self.latent_shape)))
        return self.output.mean(out), self.output.sample(out, request.noise)

    def encode(self, x: Tensor) -> Tensor:
        """Return the levels' posterior means in units of their priors, (n, D), z_1's first."""
        proposals = self.proposals(x)
        return self.descend(proposals, proposals[0][0].new_zeros(len(x), *self.latent_shape)).e

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean of p(x | z_1) at latents in units of their priors, (n, *shape)."""
        return self.output.mean(self.decoder(self.lowest(z)))

    def _drawn(self, x: Tensor, noise: Seeds) -> Callable[[], Descent]:
        proposals = self.proposals(x)
        return lambda: self.descend(proposals, noise.randn(self.latent_shape).to(proposals[0][0]))

    def elbo(self, x: Tensor, *, noise: Seeds) -> Tensor:
        """Return the evidence lower bound from one way down an example, (n,) float64 nats."""
        way = self._drawn(x, noise)()
        return self.log_prob(x, way.z).double() - self.level_kl(way).sum(1).double()

    def iwae(self, x: Tensor, k: int, *, noise: Seeds) -> Tensor:
        """Return the importance-weighted bound from k ways down, (n,) float64 nats."""
        descend = self._drawn(x, noise)

        def draw() -> Tensor:
            way = descend()
            return (self.log_prob(x, way.z) + log_prior_ratio(way.e, way.log_var, way.eps)).double()

        return log_mean_exp(draw, k)

    def kl(self, x: Tensor, *, noise: Seeds) -> dict[str, Tensor]:
        """Return the KL of each level, (n,) nats, on one way down an example."""
        parts = self.level_kl(self._drawn(x, noise)()).unbind(1)
        return {f"level {k}": part for k, part in enumerate(parts, 1)}

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the ELBO and IWAE_k; of images under a density, by uniform dequantization.

        Raises:
            UsageError: where the decoder is a probability of levels and x lies between them.
        """
        elbo, iwae = partial(self.elbo, noise=noise), partial(self.iwae, k=k, noise=noise)
        kl = partial(self.kl, noise=noise)
        return bounds(elbo, iwae, x, self.data, self.output, noise=noise, k=k, kl=kl)


def _mean_and_log_var(out: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_var = out.chunk(2, 1)
    return mean, bounded(log_var, -LOG_VAR, LOG_VAR)
