"""Cold diffusion: a deterministic degradation in place of noise.

Bansal et al. 2022, "Cold Diffusion: Inverting Arbitrary Image Transforms Without Noise", arXiv:2208.09392;
equation numbers are that paper's. D(x_0, s) degrades an image step by step (`zoo_ddpm.degradations`), and a
network R(x_s, s) restores it, trained by the absolute error (Eq. 1). Sampling repeats

    x_{s-1} = x_s - D(R(x_s, s), s) + D(R(x_s, s), s - 1),                                   (Algorithm 2)

which does not add up the errors of R as D(R(x_s, s), s - 1) does (Algorithm 1): where D(x, s) = x + s e, it
is exact for any R at all.

Nothing here is random but the start. A fully degraded image has few values left, and their law is taken to be
a normal distribution with the mean and the covariance of the training images' (the paper has one of the means
of the channels), to which a little noise is added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from zoo_core.config import (
    UNTUNED,
    EmaConfig,
    NetworkOptim,
    Preset,
    RunConfig,
    SampleConfig,
    TrainConfig,
)
from zoo_core.data.loading import TrainData
from zoo_core.diffusion.presets import LARGER_IMAGES, ON_A_GPU
from zoo_core.errors import UsageError
from zoo_core.nn.backbone import Backbone, build_backbone
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Loss, SampleRequest, Samples
from zoo_ddpm.degradations import DEGRADATIONS, Kind

MOST_KEPT = 512
"""Values of a fully degraded image whose covariance is kept."""


class ColdModel(Backbone):
    """The degradation and the network."""

    degradation: Kind = "blur"
    """Degradation: blurs of growing width, or averages over ever larger blocks of pixels (pixelate)."""
    T: int = Field(32, ge=2, le=1000)
    """Number of steps of the degradation."""
    blur_end: float = Field(0.4, gt=0, le=4)
    """Standard deviation of the last blur, as a fraction of the image's side."""
    block: int = Field(4, ge=2)
    """Side of the last blocks of pixelate, in pixels: a power of two that divides the image's sides."""
    clip_x0: bool = True
    """Clamp the restored image to [-1, 1] in every step."""


class ColdSampleConfig(SampleConfig):
    """How samples are drawn."""

    rule: Literal["improved", "naive"] = "improved"
    """Step from s to s - 1: x_s - D(x0, s) + D(x0, s - 1) (improved), or D(x0, s - 1) (naive)."""
    noise: float = Field(1e-4, ge=0)
    """Standard deviation of the noise that is added to the fully degraded image at the start. Restoring
    undoes the degradation and scales this up: on digits FD is 1.25 at 0.0001 and at 0, and 19.6 at 0.002."""


def _for_images(preset: Preset, steps: int) -> Preset:
    """Return a preset of diffusion models for cold diffusion, which has no samplers, with its steps."""
    kept = {k: v for k, v in preset.overrides.items() if not k.startswith(("sampler.", "sample."))}
    return Preset({**kept, "sample.steps": steps}, preset.source)


class ColdConfig(RunConfig):
    """One run of cold diffusion."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"train.steps": 60, "train.batch_size": 32, "model.T": 8}
            | {"model.channels": 16, "model.width": 32},
            "for tests: seconds on one core",
        ),
        "default@image<=16": UNTUNED,
        "default@image<=48": _for_images(LARGER_IMAGES, steps=16),
        "gpu@image<=48": _for_images(ON_A_GPU, steps=32),
    }

    model: ColdModel = ColdModel()
    """The degradation and the network."""
    optim: NetworkOptim = NetworkOptim()
    """Optimization."""
    sample: ColdSampleConfig = ColdSampleConfig()
    """Sampling."""
    train: TrainConfig = TrainConfig(steps=2500, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


Degrade = Callable[[Tensor, int], Tensor]
"""(x0, s) -> D(x0, s)."""
Rule = Callable[[Degrade, Tensor, Tensor, int, int], Tensor]
"""(D, x_s, restored x0, s, the step after it) -> the state there."""

RULES: Mapping[str, Rule] = {
    "improved": lambda degrade, x, x0, s, to: x - degrade(x0, s) + degrade(x0, to),
    "naive": lambda degrade, x, x0, s, to: degrade(x0, to),
}


def restore(degrade: Degrade, network: Degrade, x: Tensor, times: Sequence[int], rule: Rule) -> Tensor:
    """Return the image at the last of the times, from the degraded image x at the first (Algorithms 1 and 2).

    Args:
        degrade: D.
        network: R, called as network(x_s, s).
        x: (n, *shape) at the first time.
        times: descending, to 0.
        rule: of a step.
    """
    for s, to in pairwise(times):
        x = rule(degrade, x, network(x, s), s, to)
    return x


class Cold(Recipe):
    """A degradation, the network that restores, and the law of what is fully degraded.

    Attributes:
        start_mean: of the values that are left, (K,).
        start_factor: (K, K), whose square is their covariance.
    """

    start_mean: Tensor
    start_factor: Tensor

    def __init__(self, config: ColdConfig, data: DataInfo) -> None:
        super().__init__()
        self.config, self.data = config, data
        model = config.model
        if not data.is_image:
            raise UsageError(
                f"plugin 'cold' degrades images, and an example of {data.name!r} has shape {data.shape}",
                "expected: images",
                "next: plugin=ddpm",
            )
        self.times(config.sample.steps)
        self.degrade = DEGRADATIONS[model.degradation](data.shape, model.T, model.blur_end, model.block)
        count = data.shape[0] * self.degrade.left.shape[1] * self.degrade.right.shape[1]
        if count > MOST_KEPT:
            raise UsageError(
                f"model.degradation={model.degradation} leaves {count:,} values of an image of "
                f"{data.name!r}, whose joint law samples start from",
                f"expected: at most {MOST_KEPT}",
                "next: a stronger degradation (model.blur_end, model.block)",
            )
        self.net = build_backbone(model, data, time_range=model.T, time_scale=1000 / model.T)
        self.register_buffer("start_mean", torch.zeros(count))
        self.register_buffer("start_factor", torch.eye(count))

    # -- training

    def stages(self) -> Sequence[Stage]:
        optim = self.config.optim
        phase = Phase("net", self.loss, [self.net], "net", grad_clip=optim.grad_clip)
        ema = {"net": self.config.train.ema}
        return [Stage("train", [phase], {"net": optim.net}, ema=ema, begin=self.fit)]

    def fit(self, train: TrainData) -> None:
        """Set the law of the start: mean and covariance of what is left of fully degraded training images."""
        parts = [train.batch(rows).x for rows in torch.arange(len(train)).split(4096)]
        left = torch.cat([self.degrade.kept(self.degrade(x, self.config.model.T)) for x in parts]).double()
        value, vector = torch.linalg.eigh(torch.cov(left.T, correction=0).reshape(left.shape[1], -1))
        self.start_mean.copy_(left.mean(0))
        self.start_factor.copy_(vector * value.clamp(min=0).sqrt())

    def restored(self, x: Tensor, s: Tensor) -> Tensor:
        """Return R(x_s, s), like x: x (n, C, H, W) at steps s, (n,) in 1..T."""
        return x + self.net(x, s).to(x)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the mean absolute error of the restored images at random steps (Eq. 1)."""
        x0, rng = batch.x, context.rng
        s = torch.randint(1, self.config.model.T + 1, (len(x0),), generator=rng, device=x0.device)
        loss = (self.restored(self.degrade(x0, s), s) - x0).abs().mean()
        return Loss(loss, log={"loss": loss.detach()})

    # -- sampling

    def times(self, steps: int | None) -> list[int]:
        """Return the steps that are visited, from T to 0.

        Raises:
            UsageError: for more steps than the degradation has.
        """
        end = self.config.model.T
        steps = end if steps is None else steps
        if steps > end:
            raise UsageError(f"sample.steps={steps} of a degradation of {end} steps", f"expected: 1 to {end}")
        return [end - end * i // steps for i in range(steps + 1)]

    def start(self, request: SampleRequest) -> Tensor:
        """Return fully degraded images with the noise that is added to them, (n, C, H, W)."""
        noise, scale = request.noise, self.config.sample.noise
        kept = self.start_mean + noise.randn((len(self.start_mean),), name="start") @ self.start_factor.T
        return self.degrade.image(kept, self.data.shape[0]) + scale * noise.randn(
            self.data.shape, name="noise"
        )

    def sample(self, request: SampleRequest) -> Samples:
        """Draw a fully degraded image and restore it step by step."""

        def network(x: Tensor, s: int) -> Tensor:
            x0 = self.restored(x, torch.full((len(x),), s, device=x.device))
            return x0.clamp(-1, 1) if self.config.model.clip_x0 else x0

        times = self.times(request.steps)
        x = restore(self.degrade, network, self.start(request), times, RULES[self.config.sample.rule])
        return Samples(x, calls=len(times) - 1)
