"""Training, sampling and likelihood of an invertible network z = f(y) with a normal base density.

    log p(y) = log N(f(y); 0, I) + log |det df / dy|        (Dinh et al. 2017, arXiv:1605.08803, Eq. 3)

Densities of points are exact. A density of images bounds the probability of their levels, by uniform
dequantization (`zoo_core.data.likelihood`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Config, EmaConfig, NetworkOptim, OptimizerConfig, RunConfig, TrainConfig
from zoo_core.data.likelihood import bits_per_dim, dequantized
from zoo_core.data.loading import dequantize
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples
from zoo_normalizing_flow.coordinates import Coordinates


class Bijection(nn.Module):
    """An invertible network over vectors of D coordinates.

    Attributes:
        calls: evaluations of each of its networks in an inverse.
    """

    calls: ClassVar[int] = 1

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents (n, D) of coordinates (n, *shape), and log |det dz / dy|, (n,)."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def inverse(self, z: Tensor) -> Tensor:
        """Return the coordinates (n, *shape) of latents (n, D)."""
        raise NotImplementedError(f"{type(self).__name__}.inverse")


class FlowModel(Config):
    """Coordinates of the data."""

    alpha: float = Field(0.05, gt=0, lt=0.5)
    """Images: margin a of the logit of a + (1 - 2a) v, for values v in [0, 1]."""


class FlowConfig(RunConfig):
    """Options that normalizing flows share."""

    model: FlowModel = FlowModel()
    """The model."""
    optim: NetworkOptim = NetworkOptim(net=OptimizerConfig(lr=1e-3, schedule="cosine", warmup=50))
    """Optimization."""
    train: TrainConfig = TrainConfig(steps=1500, batch_size=128, ema=EmaConfig(decay=0.99))
    """Training."""


TINY: Mapping[str, Any] = {"train.steps": 60, "train.batch_size": 32, "train.log_every": 20}
"""Options of the presets for tests."""
POINTS: Mapping[str, Any] = {"train.steps": 3000, "train.batch_size": 512}
"""Options of the presets for points."""


class Flow(Recipe):
    """Coordinates of the data and a bijection of them; a model adds the bijection.

    Args:
        config: options.
        data: of images or points.
        net: the bijection.

    Attributes:
        latent_shape: (D,) of the latent z that a sample is a function of.
    """

    def __init__(self, config: FlowConfig, data: DataInfo, net: Bijection) -> None:
        super().__init__()
        self.config, self.data = config, data
        self.coordinates = Coordinates(data, config.model.alpha)
        self.net = net
        self.latent_shape = (data.dims,)

    @property
    def units(self) -> Mapping[str, str]:
        """Unit of the logged loss."""
        return {"loss": "nats per example" if self.data.levels is None else "bits/dim"}

    def stages(self) -> Sequence[Stage]:
        optim = self.config.optim
        phase = Phase("nll", self.loss, [self.net], "net", grad_clip=optim.grad_clip)
        ema, begin = {"net": self.config.train.ema}, self.coordinates.fit
        return [Stage("train", [phase], {"net": optim.net}, ema=ema, begin=begin)]

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p(x), (n,) nats, of points or of images that are spread over their bins.

        Without autocast: a determinant needs all digits of its factors.

        Args:
            x: (n, *shape), float64 for images.
        """
        with torch.autocast(x.device.type, enabled=False):
            y, log_det = self.coordinates(x)
            z, more = self.net(y.to(next(self.net.parameters()).dtype))
            log_base = -0.5 * (z.square().sum(1) + self.data.dims * math.log(2 * math.pi))
            return log_base + more + log_det

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the mean of -log p(x): nats for points, bits/dim of dequantized images."""
        levels = self.data.levels
        if levels is None:
            loss = -self.log_density(batch.x).mean()
        else:
            u = torch.rand(batch.x.shape, generator=context.rng, device=batch.x.device)
            log_prob = self.log_density(dequantize(batch.x.double(), levels, u.double()))
            log_prob = log_prob + self.data.dims * math.log(2 / (levels - 1))
            loss = bits_per_dim(log_prob, self.data.dims).mean()
        loss = loss.float()
        return Loss(loss, log={"loss": loss.detach()})

    def sample(self, request: SampleRequest) -> Samples:
        """Return the images or points of standard normal latents."""
        net: Bijection = self.net
        x = self.from_latents(request.noise.randn(self.latent_shape), request)
        return Samples(x, calls=net.calls)

    def from_latents(self, z: Tensor, request: SampleRequest) -> Tensor:
        """Return the data (n, *shape) of latents (n, D)."""
        with torch.autocast(z.device.type, enabled=False):
            return self.coordinates.inverse(self.net.inverse(z.to(next(self.net.parameters()).dtype)))

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the exact log-density of points; of images the bound by uniform dequantization."""
        if self.data.levels is None:
            return [Likelihood(self.log_density(x).double(), "exact")]
        log_prob = dequantized(self.log_density, x, self.data.levels, noise=noise)
        return [Likelihood(log_prob, "exact", dequantization="uniform")]
