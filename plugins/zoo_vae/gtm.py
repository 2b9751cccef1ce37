"""A mixture of decoded points, whose probability is exact, after the generative topographic mapping.

Bishop, Svensen and Williams 1998, "GTM: The Generative Topographic Mapping", Neural Computation 10(1). The
latent has K fixed points with equal weights in place of a density, so p(x) is a finite sum (Eq. 2.6):

    p(x | y) = 1/K sum_k p(x | z_k, y),      p(x | z_k, y) = prod_d P(x_d | decoder(z_k, y))

No posterior is approximated: it is r_k = softmax_k log p(x | z_k, y), the responsibilities (Eq. 2.7). The
gradient of log p(x | y) is that of sum_k r_k log p(x | z_k, y) with r held fixed, so a step of gradient
descent is one towards the M step of the paper's EM algorithm. There the z_k form a grid of the plane, the
decoder is linear in fixed basis functions and p(x | z) is a Gaussian; here the z_k are Sobol points of a
normal distribution, the decoder is a network and p(x | z) a probability of levels.

A model of classes reads the label y beside z. Its p(x) is sum_y p(y) p(x | y), where p(y) is the frequency of
the class in the training data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.quasirandom import SobolEngine
from torch.utils.checkpoint import checkpoint

from zoo_core.config import DEFAULTS, EmaConfig, NetworkOptim, OptimizerConfig, Preset, RunConfig, TrainConfig
from zoo_core.data.likelihood import bits_per_dim, dequantized
from zoo_core.data.loading import TrainData, quantize, to_unit
from zoo_core.errors import UsageError
from zoo_core.nn.logistic import parameters_of
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples
from zoo_vae.autoencoder import AutoencoderSample, HiddenModel, between_layers
from zoo_vae.bounds import spread
from zoo_vae.decoders import OutputDistribution, build_output, check_levels
from zoo_vae.networks import mlp_decoder

TABLE_LEVELS = 32
"""Most levels for which the log-probabilities of all levels are computed once for a whole batch."""
POINTS, LEAST_POINTS = 1024, 32
"""Latent points over all classes by default, and the least of one class."""
CHUNK = 1 << 24
"""Log-probabilities of values that are computed at a time."""


class GTMModel(HiddenModel):
    """The latent points, the decoder and its distribution."""

    latent_points: int | None = Field(None, ge=1)
    """K, the number of latent points, of each class where there are classes; a step decodes all of them. None
    for 1,024 divided by the number of classes, and at least 32."""
    latent_dim: int = Field(8, ge=1)
    """Dimensions of z."""
    components: int = Field(1, ge=1)
    """logistic: number of mixture components for each value."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the decoder's hidden layers; empty for a linear decoder."""


class GTMSample(AutoencoderSample):
    """How samples are drawn."""

    output: Literal["auto", "mean", "sample"] = "sample"
    """Output from p(x | z): a random sample, which makes x a sample of the p(x) that is scored, or its mean;
    auto takes the mean of images, and a sample of points and of images of two levels."""


class GTMConfig(RunConfig):
    """Mixture of decoded points; defaults by a held-out tenth of the digits for training, one seed."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"model.hidden": (32,), "model.latent_points": 64, "model.latent_dim": 2, "train.steps": 60}
            | {"train.batch_size": 32, "train.log_every": 20},
            "a few seconds, for tests",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {"model.latent_points": 128, "model.dropout": 0.0, "train.steps": 700, "train.batch_size": 16}
            | {"optim.net.kind": "adam", "optim.net.lr": 1e-3},
            "for 28x28 and 32x32: fewer points, sized for eight minutes of one core; not tuned",
        ),
        "default@points": Preset(
            {"model.latent_points": 256, "model.latent_dim": 2, "model.hidden": (128, 128)}
            | {"model.dropout": 0.0, "train.steps": 2000, "train.batch_size": 512}
            | {"optim.net.kind": "adam", "optim.net.lr": 2e-3},
            "for points of the plane",
        ),
    }

    model: GTMModel = GTMModel()
    """The model."""
    optim: NetworkOptim = NetworkOptim(
        net=OptimizerConfig(kind="muon", lr=0.02, momentum=0.95, schedule="cosine", warmup=50)
    )
    """Optimization."""
    train: TrainConfig = TrainConfig(steps=400, batch_size=128, ema=EmaConfig(decay=0.99))
    """Training."""
    sample: GTMSample = GTMSample()
    """Sampling."""


def normal_points(count: int, dims: int) -> Tensor:
    """Return points that cover a standard normal distribution evenly, (count, dims) float32.

    They are Sobol points with a fixed scramble, whatever the seed, through the inverse of the normal CDF.
    """
    uniform = SobolEngine(dims, scramble=True, seed=0).draw(count, dtype=torch.float64)
    return torch.special.ndtri(uniform.clamp(2**-32, 1 - 2**-32)).float()


def component_log_prob(output: OutputDistribution, x: Tensor, out: Tensor, levels: int | None) -> Tensor:
    """Return log p(x | z_k) of every example under every latent point, (n, K) nats.

    With `levels` the log-probabilities of all levels are computed once, and every example looks up its own.

    Args:
        output: the distribution of a value.
        x: (n, *shape).
        out: the decoder's output at the points, (K, outputs, *shape); sums are of its type, float32 at least.
        levels: of the values; None for values that are computed one by one.
    """
    x, out = x.flatten(1), parameters_of(out).flatten(2)[..., None]
    if levels is None:
        return output.log_prob(x.T.to(out.dtype)[None], out).sum(1).T
    every = to_unit(torch.arange(levels, device=x.device), levels).to(out.dtype)
    table = output.log_prob(every[None, None], out).flatten(1).T
    place = levels * torch.arange(x.shape[1], device=x.device)
    return F.embedding_bag(quantize(x, levels).long() + place, table.contiguous(), mode="sum")


class GTM(Recipe):
    """A decoder of K fixed latent points, trained to maximize the exact likelihood.

    Attributes:
        points: z_1..z_K, (K, latent_dim).
        counts: training examples of each class, (classes,) int64; one class without labels; at first all 1.
    """

    points: Tensor
    counts: Tensor
    units: ClassVar[Mapping[str, str]] = {"loss": "bits/dim", "used": "latent points per example"}

    def __init__(self, config: GTMConfig, data: DataInfo) -> None:
        super().__init__()
        self.config, self.data = config, data
        model = config.model
        self.classes = data.classes if data.task == "class" else 0
        self.latent_shape = (model.latent_dim,)
        self.output = build_output(model, data)
        widths, activation = model.hidden[::-1], partial(between_layers, model)
        inputs, outputs = model.latent_dim + self.classes, self.output.outputs
        self.decoder = mlp_decoder(data.shape, widths, inputs, outputs, activation)
        self.register_buffer("counts", torch.ones(max(1, self.classes), dtype=torch.int64))
        count = model.latent_points or max(LEAST_POINTS, POINTS // len(self.counts))
        self.register_buffer("points", normal_points(count, model.latent_dim))

    def stages(self) -> Sequence[Stage]:
        optim, ema = self.config.optim, {"decoder": self.config.train.ema}
        phase = Phase("nll", self.loss, [self.decoder], "net", grad_clip=optim.grad_clip)
        begin = self.count_classes if self.classes else None
        return [Stage("train", [phase], {"net": optim.net}, ema=ema, begin=begin)]

    def count_classes(self, train: TrainData) -> None:
        """Count the training examples of each class."""
        label = self.labels(train.conditions(), len(train))
        self.counts.copy_(label.bincount(minlength=self.classes))

    def labels(self, cond: Cond | None, count: int) -> Tensor:
        """Return the class of each example, (count,) int64; 0 of a model without classes.

        Raises:
            UsageError: where a model of classes is given no labels.
        """
        if not self.classes:
            return torch.zeros(count, dtype=torch.int64, device=self.points.device)
        if cond is None or cond.label is None:
            raise UsageError("a class-conditional model was given no labels", "expected: cond.label, (n,)")
        return cond.label

    def decoded(self, z: Tensor, label: Tensor) -> Tensor:
        """Return the decoder's output, (n, outputs, *shape), at latents (n, latent_dim) of classes (n,)."""
        if self.classes:
            z = torch.cat((z, F.one_hot(label, self.classes).to(z.dtype)), 1)
        return self.decoder(z)

    def scores(self, x: Tensor, label: Tensor, *, precise: bool = False) -> Tensor:
        """Return log p(x | z_k, y) of examples of one class, (n, K) nats.

        Args:
            x: (n, *shape).
            label: their class y, ().
            precise: sum in float64.
        """
        few = self.output.discrete and self.data.levels is not None and self.data.levels <= TABLE_LEVELS
        levels = self.data.levels if few else None

        def part(z: Tensor) -> Tensor:
            out = self.decoded(z, label.expand(len(z)))
            return component_log_prob(self.output, x, out.double() if precise else out, levels)

        values = self.data.dims * self.output.outputs * (levels or len(x))
        parts = self.points.split(max(1, CHUNK // values))
        if len(parts) == 1 or not torch.is_grad_enabled():
            return torch.cat([part(z) for z in parts], 1)
        return torch.cat([checkpoint(part, z, use_reentrant=False) for z in parts], 1)

    def class_scores(self, x: Tensor, label: Tensor, *, precise: bool = False) -> Tensor:
        """Return log p(x | z_k, y) of each example's own class, (n, K) nats; no other class is decoded."""
        parts = [self.scores(x[label == y], y, precise=precise) for y in label.unique()]
        return torch.cat(parts)[label.argsort(stable=True).argsort()]

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the mean of -log p(x | y), bits per value.

        `used` is the number of latent points that an example is spread over, a mean over the batch.
        """
        x = spread(batch.x, self.data, self.output, context.rng)
        scores = self.class_scores(x, self.labels(batch.cond, len(x)))
        log_prob = torch.logsumexp(scores, 1) - math.log(len(self.points))
        used = 1 / scores.detach().softmax(1).square().sum(1).mean()
        return Loss(bits_per_dim(log_prob, self.data.dims).mean(), log={"used": used})

    @property
    def frequencies(self) -> Tensor:
        """p(y), (classes,) float64; 1 of a model without classes."""
        return self.counts.double() / self.counts.sum()

    def log_joint(self, x: Tensor) -> Tensor:
        """Return log p(x, y, z_k), (n, classes, K) float64 nats."""
        prior = self.frequencies.log() - math.log(len(self.points))
        every = torch.arange(len(prior), device=x.device)
        return torch.stack([self.scores(x, y, precise=True) + prior[y] for y in every], 1)

    def log_prob(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return log p(x), or log p(x | label) of a model of classes, (n,) float64 nats.

        It is a log-density where the decoder's distribution is one.

        Args:
            x: (n, *shape) level centers, or points.
            label: (n,) int64; None for the sum over classes, each with its frequency in the training data.

        Raises:
            UsageError: where the decoder is a probability of levels and x lies between them.
        """
        if self.output.discrete and self.data.levels is not None:
            check_levels(x, self.data.levels)
        if label is None:
            return torch.logsumexp(self.log_joint(x).flatten(1), 1)
        return torch.logsumexp(self.class_scores(x, label, precise=True), 1) - math.log(len(self.points))

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return log p(x), exact; of images under a density, by uniform dequantization."""
        calls = len(self.points) * len(self.counts)
        if self.data.levels is None or self.output.discrete:
            return [Likelihood(self.log_prob(x), "exact", calls=calls)]
        log_prob = dequantized(self.log_prob, x, self.data.levels, noise=noise)
        return [Likelihood(log_prob, "exact", dequantization="uniform", calls=calls)]

    def sample(self, request: SampleRequest) -> Samples:
        """Draw k uniformly, then x from p(x | z_k, y), or take its mean (`sample.output`)."""
        out = self.drawn(request)
        mean = self.config.sample.takes_mean(self.data)
        return Samples(self.output.mean(out) if mean else self.draw(out, request.noise))

    def mean_and_draw(self, request: SampleRequest) -> tuple[Tensor, Tensor]:
        """Return E[x | z_k, y] and a draw of p(x | z_k, y) at one k, (n, *shape) each."""
        out = self.drawn(request)
        return self.output.mean(out), self.draw(out, request.noise)

    def draw(self, out: Tensor, noise: Seeds) -> Tensor:
        """Return a draw of p(x | z), (n, *shape); what lies beyond the outer levels is of these levels."""
        x = self.output.sample(out, noise)
        return x if self.data.levels is None else x.clamp(-1, 1)

    def drawn(self, request: SampleRequest) -> Tensor:
        """Return the decoder's output at one latent point a sample, (n, outputs, *shape)."""
        k = request.noise.randint(len(self.points), name="point")
        return self.decoded(self.points[k], self.labels(request.cond, len(request)))

    def encode(self, x: Tensor) -> Tensor:
        """Return the mean of p(z | x), (n, latent_dim): the points, weighted by their responsibilities."""
        joint = self.log_joint(x)
        posterior = joint.flatten(1).softmax(1).view_as(joint).sum(1)
        return posterior.to(self.points.dtype) @ self.points

    def decode(self, z: Tensor) -> Tensor:
        """Return E[x | z], (n, *shape): the decoder's mean, averaged over the classes if there are any."""
        each = torch.arange(len(self.counts), device=z.device)
        means = [self.output.mean(self.decoded(z, y.expand(len(z)))) for y in each]
        return torch.stack([p * m for p, m in zip(self.frequencies.log().exp(), means, strict=True)]).sum(0)
