"""Training, sampling and the exact likelihood of a model that predicts pixels one after another.

    log p(x) = sum_{i, c} log p(x_ic | x_<i, x_i1, ..., x_i,c-1),

over pixels i in reading order and the colors c of a pixel (van den Oord, Kalchbrenner and Kavukcuoglu 2016,
arXiv:1601.06759, Eqs. 1 and 2). A network gives the parameters of a pixel's distribution from the pixels
before it; the probabilities of levels need no dequantization.

With `data.task=class` every factor is conditioned on the label y (van den Oord et al. 2016, arXiv:1606.05328,
section 2.3, Eq. 3), and an image without a label has the probability p(x) = sum_y p(y) p(x | y), exactly: the
classes are few. p(y) is the frequency of y in the training data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal, Protocol, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_autoregressive.mixture import ColorMixture
from zoo_core.config import (
    Config,
    EmaConfig,
    NetworkOptim,
    OptimizerConfig,
    Preset,
    RunConfig,
    TrainConfig,
    later,
)
from zoo_core.data.likelihood import bits_per_dim
from zoo_core.data.loading import TrainData, to_unit
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples

MAX_PIXELS = 4096
"""Most pixels of an image: samples are drawn one pixel after another."""

Pick = Callable[[int, Tensor], Tensor]
"""(number of a pixel in reading order, its parameters (n, outputs)) -> its values, (n, C)."""
Order = Literal["rows", "columns"]


class PixelNetwork(Protocol):
    """A network of the parameters of every pixel, each a function of the pixels before it and of a label."""

    def __call__(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return parameters (n, outputs, H, W) of the pixels of images (n, C, H, W).

        Args:
            x: images.
            label: (n,) int64, for a network with classes.
        """
        ...

    def fill(self, x: Tensor, pick: Pick, label: Tensor | None = None) -> None:
        """Set the pixels of images (n, C, H, W) in reading order to what `pick` returns."""
        ...


class MixtureModel(Config):
    """The distribution of a pixel."""

    components: int = Field(5, ge=1)
    """Number of mixture components for each pixel."""
    order: Order = later("rows", since="0.2.0")
    """Order in which pixels are predicted: row by row, or column by column."""


class AutoregressiveConfig(RunConfig):
    """Options that models of one pixel after another share."""

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


def in_order(x: Tensor, order: Order) -> Tensor:
    """Return maps (..., H, W), transposed for columns, so that they are predicted in reading order."""
    return x if order == "rows" else x.transpose(-1, -2)


def label_embedding(classes: int, width: int) -> nn.Embedding | None:
    """Return the vectors of labels, which a network adds where it adds the position; None for 0 classes.

    It is V^T h of van den Oord et al. 2016, arXiv:1606.05328, Eq. 4, with h the one-hot label: the same at
    all pixels. Their network adds one in each layer, the networks here in the residual stream, once.
    """
    if not classes:
        return None
    vectors = nn.Embedding(classes, width)
    nn.init.normal_(vectors.weight, std=0.02)
    return vectors


class Autoregressive(Recipe):
    """A network of the parameters of pixels and the mixture that they stand for; a model adds the network.

    Args:
        plugin: name of the model.
        config: options.
        data: of images.
        network: (shape (C, H, W), outputs of a pixel, classes of the labels or 0) to the network of images
            whose reading order is `config.model.order`.

    Raises:
        UsageError: as `check_images`.
    """

    units: ClassVar[Mapping[str, str]] = {"loss": "bits/dim"}

    def __init__(
        self,
        plugin: str,
        config: AutoregressiveConfig,
        data: DataInfo,
        network: Callable[[tuple[int, ...], int, int], nn.Module],
    ) -> None:
        super().__init__()
        levels = check_images(plugin, data)
        channels, height, width = data.shape
        self.config, self.data, self.order = config, data, config.model.order
        self.mixture = ColorMixture(levels, channels, config.model.components)
        self.shape = (channels, height, width) if self.order == "rows" else (channels, width, height)
        self.classes = data.classes if data.task == "class" else 0
        self.net = network(self.shape, self.mixture.outputs, self.classes)
        if self.classes:
            self.frequencies: Tensor
            uniform = torch.full((self.classes,), 1 / self.classes, dtype=torch.float64)
            self.register_buffer("frequencies", uniform)

    def stages(self) -> Sequence[Stage]:
        optim = self.config.optim
        phase = Phase("nll", self.loss, [self.net], "net", grad_clip=optim.grad_clip)
        ema = {"net": self.config.train.ema}
        return [Stage("train", [phase], {"net": optim.net}, ema=ema, begin=self.count_labels)]

    def count_labels(self, train: TrainData) -> None:
        """Take p(y) from the labels of the training data, where the model is conditioned on them."""
        label = self.labels(train.conditions())
        if label is not None:
            counts = torch.bincount(label, minlength=self.classes)
            self.frequencies.copy_(counts.double() / counts.sum())

    def labels(self, cond: Cond | None) -> Tensor | None:
        """Return the labels that the network reads, (n,) int64; None for a model without classes.

        Raises:
            UsageError: where a model with classes is given no labels.
        """
        if not self.classes:
            return None
        if cond is None or cond.label is None:
            raise UsageError(
                "a class-conditional model was given no labels",
                f"expected: a label in [0, {self.classes}) for each image",
                "next: Cond(label=...); the probability of images without labels: likelihoods(x)",
            )
        return cond.label

    def conditionals(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return log p of each value given the earlier ones, (n, C, H, W) nats.

        Args:
            x: (n, C, H, W) level centers.
            label: (n,) int64, for a model with classes.
        """
        seen, weight = in_order(x, self.order), next(self.net.parameters())
        out = self.net(seen.to(weight.dtype), label).to(x.dtype)
        return in_order(self.mixture.conditionals(seen, out), self.order)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the mean code length of a batch given its labels, if any, bits per value."""
        log_prob = self.conditionals(batch.x, self.labels(batch.cond)).flatten(1).sum(1)
        loss = bits_per_dim(log_prob, self.data.dims).mean()
        return Loss(loss, log={"loss": loss.detach()})

    def sample(self, request: SampleRequest) -> Samples:
        """Draw pixels one by one; each needs one evaluation of the network, of which most is cached.

        Raises:
            UsageError: as `labels`.
        """
        label, (channels, height, width) = self.labels(request.cond), self.shape
        u = request.noise.rand((height * width, 1 + channels))
        net = cast("PixelNetwork", self.net)
        x = u.new_zeros(len(request), *self.shape)
        net.fill(x, lambda place, out: self.mixture.sample(out, u[:, place]), label)
        return Samples(in_order(x, self.order).contiguous(), calls=height * width)

    def log_prob(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return log p(x | y) of the levels, or log p(x) of a model without classes, (n,) float64 nats.

        Args:
            x: (n, C, H, W) level centers.
            label: y, (n,) int64 in [0, classes), for a model with classes alone.

        Raises:
            UsageError: for classes and no labels, and for labels that are none of the classes.
        """
        unknown = [] if label is None else [y for y in label.unique().tolist() if not 0 <= y < self.classes]
        if unknown:
            raise UsageError(
                f"labels {unknown} of a model with {self.classes} classes",
                f"expected: labels in [0, {self.classes})" if self.classes else "expected: no labels",
                "next: a model with classes: data.task=class",
            )
        return self.conditionals(x.double(), self.labels(Cond(label=label))).flatten(1).sum(1)

    @torch.no_grad()
    def conditional_entropies(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the entropy of each value given the earlier ones, summed over an image, (n,) float64 nats.

        Its mean over samples of the model is the entropy H(X | Y), as that of -log p(x | y) is, and it varies
        less.

        Args:
            x: (n, C, H, W) level centers.
            label: y, (n,) int64, for a model with classes.
        """
        seen, weight = in_order(x, self.order), next(self.net.parameters())
        out = self.net(seen.to(weight.dtype), self.labels(Cond(label=label))).double()
        total = out.new_zeros(len(x))
        for c in range(seen.shape[1]):
            each = seen.double().clone()
            for level in to_unit(torch.arange(self.mixture.levels), self.mixture.levels).tolist():
                each[:, c] = level
                log_prob = self.mixture.conditionals(each, out)[:, c]
                total -= (log_prob.exp() * log_prob).flatten(1).sum(1)
        return total

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the exact log-probability of the levels: of a model with classes the sum over all of them.

        Classes are summed one by one, so that the memory is that of one batch.
        """
        if not self.classes:
            return [Likelihood(self.log_prob(x), "exact")]
        total = x.new_full((len(x),), -torch.inf, dtype=torch.float64)
        for y, frequency in enumerate(self.frequencies):
            label = torch.full((len(x),), y, device=x.device)
            total = torch.logaddexp(total, frequency.log() + self.log_prob(x, label))
        return [Likelihood(total, "exact", calls=self.classes)]
