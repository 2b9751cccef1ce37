"""What every diffusion model shares: a network, its conditions and their guidance, its stages, its sampling.

A family says how noise enters (a schedule) and what the network learns (a loss).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import NetworkOptim, OptimizerConfig
from zoo_core.data.loading import dequantize
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.guidance import (
    AutoGuided,
    ClassifierFree,
    ClassifierGuided,
    Conditioned,
    IntervalGuided,
)
from zoo_core.diffusion.prediction import Prediction, like
from zoo_core.diffusion.sampling import bind, draw
from zoo_core.diffusion.schedule import NoiseSchedule
from zoo_core.errors import UsageError
from zoo_core.interfaces import Coupling, Denoiser, HasDenoiser
from zoo_core.nn.backbone import Backbone
from zoo_core.nn.noisy_classifier import ImageClassifier, PointClassifier
from zoo_core.registry.spec import SamplerSpec
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss, SampleRequest, Samples, Task


class DiffusionModel(Backbone):
    """The network, and what it is told."""

    clip_x0: bool = True
    """Clamp the predicted image x0 to [-1, 1] in every step; points are never clamped."""
    cond_dropout: float = Field(0.1, ge=0, lt=1)
    """Probability of dropping the condition during training, for classifier-free guidance; 0 disables it."""
    classifier: bool = False
    """Train a classifier of noisy data in a separate stage, for sample.guide=classifier."""


class DiffusionOptim(NetworkOptim):
    """The optimizers."""

    classifier: OptimizerConfig = OptimizerConfig(lr=2e-3, schedule="cosine")
    """Optimizer of the classifier of noisy data, where there is one."""


CLASSIFIER_SHARE = 0.25
"""Of the run's steps, for the classifier's stage."""


def _unit(x: Tensor, sigma: Tensor) -> Tensor:
    """Return x0 + sigma eps at unit variance: alpha x where a schedule preserves variance."""
    return x * (1 + sigma**2).rsqrt()


def task_condition(cond: Cond, task: Task) -> Cond | None:
    """Return what the task tells the network of all that the data say of examples; None for nothing."""
    match task:
        case "class":
            return Cond(label=cond.label)
        case "text":
            return Cond(tokens=cond.tokens)
        case "paired" | "caption":
            return Cond(image=cond.image)
    return None


def spread_evenly(n: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """Return n numbers in [0, 1), float64, each uniform, spread evenly (arXiv:2107.00630, appendix I.1)."""
    first = torch.rand(1, generator=rng, device=device, dtype=torch.float64)
    return (first + torch.arange(n, device=device) / n) % 1


class DiffusionRecipe(Recipe):
    """A network of noisy data in sigma-space.

    Args:
        config: with `model`, `optim`, `train` and `sample` of the classes above.
        data: what is learned from.
        schedule: how noise enters.
        net: called as net(x, t, cond).
        sampler: what samples are drawn with unless another is asked for.
        prediction: what the network says.
        time_scale: factor on the schedule's time in a classifier of noisy data: 1 for steps of a chain, 1000
            for times in [0, 1].

    Raises:
        UsageError: for a classifier or guidance where there is nothing to guide by, or a number of steps that
            the sampler can't take.
    """

    def __init__(
        self,
        config: Any,
        data: DataInfo,
        schedule: NoiseSchedule,
        net: nn.Module,
        sampler: SamplerSpec,
        prediction: Prediction = "eps",
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.config = config
        self.data = data
        self.schedule = schedule
        self.net = net
        self.default_sampler = sampler
        self.prediction: Prediction = prediction
        self.coupling: Coupling = "independent"
        self.classifier = self._classifier(time_scale) if config.model.classifier else None
        self._check_guidance()
        if config.sample.steps and config.sampler.name in ("", sampler.name):  # before anything is trained
            bind(sampler).grid(SigmaDenoiser(net, schedule, prediction), config.sample.steps)

    def _classifier(self, time_scale: float) -> nn.Module:
        if not self.data.classes:
            raise UsageError(
                f"model.classifier=true and {self.data.name!r} has no classes", "expected: labeled data"
            )
        if self.data.is_image:
            return ImageClassifier(self.data, self.config.model.channels, time_scale)
        return PointClassifier(self.data, self.config.model.width, time_scale)

    def _check_guidance(self) -> None:
        sample, task = self.config.sample, self.data.task
        if sample.guidance_high is not None and not sample.guidance_low < sample.guidance_high:
            raise UsageError(
                f"guidance from sample.guidance_low={sample.guidance_low:g} to "
                f"sample.guidance_high={sample.guidance_high:g}",
                "expected: guidance_low < guidance_high",
            )
        if sample.guide != "auto" and (sample.guidance_run or sample.guidance_step is not None):
            raise UsageError(
                "sample.guidance_run and sample.guidance_step name the model of sample.guide=auto",
                f"given: sample.guide={sample.guide}",
            )
        if sample.guide == "auto" and not sample.guidance_run:
            raise UsageError(
                "sample.guide=auto needs a weaker model", "next: sample.guidance_run=FOLDER of a run"
            )
        if sample.guidance_scale == 1 or sample.guide == "auto":
            return
        given = f"sample.guidance_scale={sample.guidance_scale:g}"
        if task not in ("class", "text"):
            raise UsageError(
                f"{given} and the task is {task!r}: nothing to guide by",
                "next: data.task=class",
            )
        if sample.guide == "free" and self.config.model.cond_dropout == 0:
            raise UsageError(
                f"{given} and model.cond_dropout=0: what guidance subtracts, the "
                "model without its condition, would not be trained",
                "next: model.cond_dropout=0.1",
            )
        if sample.guide == "classifier" and (self.classifier is None or task != "class"):
            raise UsageError(
                "sample.guide=classifier needs a classifier and classes",
                "next: data.task=class model.classifier=true",
            )

    # -- training

    def stages(self) -> Sequence[Stage]:
        optim = self.config.optim
        share = CLASSIFIER_SHARE if self.classifier is not None else 0.0
        stages = [
            Stage(
                "train",
                [Phase("net", self.loss, [self.net], "net", grad_clip=optim.grad_clip)],
                {"net": optim.net},
                fraction=1 - share,
                ema={"net": self.config.train.ema},
            )
        ]
        if self.classifier is not None:
            phase = Phase("classifier", self.classifier_loss, [self.classifier], "classifier")
            stages.append(Stage("classifier", [phase], {"classifier": optim.classifier}, fraction=share))
        return stages

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the loss of the network on a batch; the family's."""
        raise NotImplementedError(f"{type(self).__name__}.loss")

    def levels(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        """Return n of the schedule's times, as training draws them; the family's."""
        raise NotImplementedError(f"{type(self).__name__}.levels")

    @property
    def spreads(self) -> bool:
        """Whether training spreads images over their levels' bins: where noise has no discrete levels."""
        return self.schedule.levels is None

    def training_x(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Return the data as the network learns them, like batch.x.

        Levels that are continuous have a probability flow, so a density, and that of bare pixel levels is
        not bounded: there images are spread over their levels' bins, anew at each step.
        """
        if self.data.levels is None or not self.spreads:
            return batch.x
        noise = torch.rand(batch.x.shape, generator=rng, device=batch.x.device)
        return dequantize(batch.x, self.data.levels, noise)

    def condition(self, batch: Batch, rng: torch.Generator) -> Cond | None:
        """Return what the network is told in training: the task's condition, hidden from a share of rows.

        A source image is never hidden.
        """
        cond = task_condition(batch.cond, self.data.task)
        if cond is None or cond.image is not None:
            return cond
        hidden = torch.rand(len(batch), generator=rng, device=batch.x.device) < self.config.model.cond_dropout
        return cond.drop(hidden, self.data.classes)

    def classifier_loss(self, batch: Batch, context: Context) -> Loss:
        """Return the cross-entropy of the labels given noisy data (Dhariwal and Nichol 2021, section 4)."""
        label = batch.cond.label
        assert self.classifier is not None
        assert label is not None
        rng = context.rng
        x0 = self.training_x(batch, rng)
        t = self.levels(len(x0), rng, x0.device)
        eps = torch.randn(x0.shape, generator=rng, device=x0.device)
        ratio = like(self.schedule.sigma(t) / self.schedule.alpha(t), x0)
        logits = self.classifier(_unit(x0 + ratio * eps, ratio), t)
        right = (logits.argmax(1) == label).float().mean()
        loss = F.cross_entropy(logits, label)
        return Loss(loss, log={"loss": loss.detach(), "accuracy": right.detach()})

    # -- sampling

    def denoiser(self) -> SigmaDenoiser:
        """Return the network as a Denoiser."""
        return SigmaDenoiser(
            self.net, self.schedule, self.prediction, clip_x0=self._clips, coupling=self.coupling
        )

    @property
    def _clips(self) -> bool:
        return self.config.model.clip_x0 and self.data.is_image

    def noisy_logits(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the classifier as a function of (x, sigma), x = x0 + sigma eps."""
        assert self.classifier is not None
        classifier = self.classifier

        def logits(x: Tensor, sigma: Tensor) -> Tensor:
            return classifier(_unit(x, like(sigma, x)), self.schedule.t_of(sigma).expand(len(x)))

        return logits

    def conditioned(self, cond: Cond | None, guide: HasDenoiser | None = None) -> Denoiser:
        """Return the denoiser with its conditions bound, guided as `sample` says.

        Args:
            cond: a row a sample.
            guide: the weaker model of sample.guide=auto.

        Raises:
            UsageError: where sample.guide=auto and there is no such model.
        """
        denoise, sample = self.denoiser(), self.config.sample
        told = None if cond is None else task_condition(cond, self.data.task)
        plain = denoise if told is None else Conditioned(denoise, told)
        if sample.guidance_scale == 1 or (told is None and sample.guide != "auto"):
            return plain
        guided = self._guided(denoise, told, guide)
        if sample.guidance_low == 0 and sample.guidance_high is None:
            return guided
        high = math.inf if sample.guidance_high is None else sample.guidance_high
        return IntervalGuided(guided, plain, sample.guidance_low, high)

    def _guided(self, denoise: Denoiser, told: Cond | None, guide: HasDenoiser | None) -> Denoiser:
        scale = self.config.sample.guidance_scale
        if self.config.sample.guide == "auto":
            if guide is None:
                raise UsageError(
                    "sample.guide=auto without a weaker model", "next: draw from a run, which loads it"
                )
            return AutoGuided(denoise, guide.denoiser(), told, scale, clip_x0=self._clips)
        assert told is not None
        if self.config.sample.guide == "classifier":
            return ClassifierGuided(denoise, self.noisy_logits(), told, scale, clip_x0=self._clips)
        return ClassifierFree(denoise, told, self.data.classes, scale, clip_x0=self._clips)

    def sample(self, request: SampleRequest) -> Samples:
        """Draw with the request's sampler, or with the model's own."""
        denoise = self.conditioned(request.cond, request.guide)
        return draw(denoise, self.data.shape, request, bind(self.default_sampler))
