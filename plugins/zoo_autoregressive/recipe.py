"""Training, sampling and the exact likelihood of a model that predicts pixels in reading order.

    log p(x) = sum_{i, c} log p(x_ic | x_<i, x_i1, ..., x_i,c-1),

over pixels i in reading order and the colors c of a pixel (van den Oord, Kalchbrenner and Kavukcuoglu 2016,
arXiv:1601.06759, Eqs. 1 and 2). A network gives the parameters of a pixel's distribution from the pixels
before it; the probabilities of levels need no dequantization.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Protocol

import torch
from pydantic import Field
from torch import Tensor

from zoo_autoregressive.mixture import ColorMixture
from zoo_core.config import Config, EmaConfig, NetworkOptim, OptimizerConfig, Preset, RunConfig, TrainConfig
from zoo_core.data.likelihood import bits_per_dim
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples

MAX_PIXELS = 4096
"""Most pixels of an image: samples are drawn one pixel after another."""

Pick = Callable[[int, Tensor], Tensor]
"""(number of a pixel in reading order, its parameters (n, outputs)) -> its values, (n, C)."""


class PixelNetwork(Protocol):
    """A network of the parameters of every pixel, each a function of the pixels before it."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return parameters (n, outputs, H, W) of the pixels of images (n, C, H, W)."""
        ...

    def fill(self, x: Tensor, pick: Pick) -> None:
        """Set the pixels of images (n, C, H, W) in reading order to what `pick` returns."""
        ...


class MixtureModel(Config):
    """The distribution of a pixel."""

    components: int = Field(5, ge=1)
    """Number of mixture components for each pixel."""


class AutoregressiveConfig(RunConfig):
    """Options that models of pixels in reading order share."""

    model: MixtureModel = MixtureModel()
    """The model."""
    optim: NetworkOptim = NetworkOptim(net=OptimizerConfig(lr=2e-3, schedule="cosine", warmup=50))
    """Optimization."""
    train: TrainConfig = TrainConfig(steps=700, batch_size=64, ema=EmaConfig(decay=0.99))
    """Training."""


TINY = Preset(
    {"train.steps": 60, "train.batch_size": 32, "train.log_every": 20, "model.components": 2},
    "for tests: seconds on one core",
)


def check_images(plugin: str, data: DataInfo) -> int:
    """Return the number of levels of images that a model of pixels can take.

    Raises:
        UsageError: for points, and for images of more than `MAX_PIXELS` pixels.
    """
    if not data.is_image or data.levels is None:
        raise UsageError(
            f"plugin {plugin!r} models the levels of pixels, and {data.name!r} has shape {data.shape}",
            "expected: images, (C, H, W)",
            "next: a density of points: plugin=realnvp",
        )
    _, height, width = data.shape
    if height * width > MAX_PIXELS:
        raise UsageError(
            f"plugin {plugin!r} draws one pixel after another, and an image of {data.name!r} has "
            f"{height * width:,} pixels",
            f"expected: at most {MAX_PIXELS:,}, such as 64x64",
            "next: smaller images (data.size), or a prior over codes: plugin=vq-vae",
        )
    return data.levels


class Autoregressive(Recipe):
    """A network of the parameters of pixels and the mixture that they stand for; a model adds the network.

    Args:
        config: options.
        data: of images.
        mixture: distribution of a pixel.
        net: parameters of each pixel from those before it.
    """

    units: ClassVar[Mapping[str, str]] = {"loss": "bits/dim"}

    def __init__(
        self, config: AutoregressiveConfig, data: DataInfo, mixture: ColorMixture, net: torch.nn.Module
    ) -> None:
        super().__init__()
        self.config, self.data, self.mixture = config, data, mixture
        self.net = net

    def stages(self) -> Sequence[Stage]:
        optim = self.config.optim
        phase = Phase("nll", self.loss, [self.net], "net", grad_clip=optim.grad_clip)
        return [Stage("train", [phase], {"net": optim.net}, ema={"net": self.config.train.ema})]

    def conditionals(self, x: Tensor) -> Tensor:
        """Return log p of each value given the earlier ones, (n, C, H, W) nats.

        Args:
            x: (n, C, H, W) level centers.
        """
        return self.mixture.conditionals(x, self.net(x).to(x.dtype))

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the mean code length of a batch, bits per value."""
        log_prob = self.conditionals(batch.x).flatten(1).sum(1)
        loss = bits_per_dim(log_prob, self.data.dims).mean()
        return Loss(loss, log={"loss": loss.detach()})

    def sample(self, request: SampleRequest) -> Samples:
        """Draw pixels in reading order; each needs one evaluation of the network, of which most is cached."""
        channels, height, width = self.data.shape
        u = request.noise.rand((height * width, 1 + channels))
        net: PixelNetwork = self.net  # type: ignore[assignment]
        x = u.new_zeros(len(request), *self.data.shape)
        net.fill(x, lambda place, out: self.mixture.sample(out, u[:, place]))
        return Samples(x, calls=height * width)

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the exact log-probability of the levels."""
        weight = next(self.net.parameters())
        x = x.to(weight.dtype)
        out = self.net(x).double()
        return [Likelihood(self.mixture.conditionals(x.double(), out).flatten(1).sum(1), "exact")]
