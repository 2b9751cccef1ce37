"""EDM: a preconditioned denoiser on log-normal noise levels, sampled by Heun's method.

Karras, Aittala, Aila and Laine 2022, "Elucidating the Design Space of Diffusion-Based Generative Models",
arXiv:2206.00364; equation and table numbers are that paper's. The network F is trained inside

    D(x; sigma) = c_skip(sigma) x + c_out(sigma) F(c_in(sigma) x; c_noise(sigma)),                     (Eq. 7)

whose coefficients (table 1, appendix B.6) give F inputs and targets of unit variance at every level and
let it amplify its errors as little as can be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import DEFAULTS, EmaConfig, Preset, RunConfig, TrainConfig, later
from zoo_core.data.augment import LABELS, edm_augment
from zoo_core.diffusion.denoiser import Net
from zoo_core.diffusion.options import GuidedSampleConfig
from zoo_core.diffusion.preconditioning import preconditioning, weight
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.presets import LARGER_IMAGES, ON_A_GPU, POINTS, TINY
from zoo_core.diffusion.recipe import DiffusionModel, DiffusionOptim, DiffusionRecipe
from zoo_core.diffusion.specs import HEUN
from zoo_core.errors import UsageError
from zoo_core.nn.backbone import DDPM_PP, build_backbone
from zoo_core.training.stated import adam, ema
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss

TIME_SCALE = 16.0
"""Of c_noise, which runs from -1.6 to 1.1."""


class EDMModel(DiffusionModel):
    """The levels, and the network."""

    sigma_data: float = Field(0.5, gt=0)
    """Standard deviation of the data, for the preconditioning."""
    P_mean: float = -1.2
    """Mean of log sigma in training."""
    P_std: float = Field(1.2, gt=0)
    """Standard deviation of log sigma in training."""
    sigma_min: float = Field(0.002, gt=0)
    """Lowest noise level of the sampler."""
    sigma_max: float = Field(80.0, gt=0)
    """Highest noise level, at which sampling starts."""
    augment_prob: float = later(0.0, since="0.2.0", ge=0, le=1)
    """Images: probability of each transformation of the non-leaking augmentation, whose parameters condition
    the network (appendix F.2); the horizontal flip among them has probability 1/2. 0 for no augmentation."""


class EDMConfig(RunConfig):
    """One run of EDM."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {**LARGER_IMAGES.overrides, "model.P_mean": -0.6},
            f"{LARGER_IMAGES.source}; higher noise levels than the paper's, for a training this short",
        ),
        "gpu@image<=48": ON_A_GPU,
        "default@points": POINTS,
        "paper@cifar10": Preset(
            {**DDPM_PP, "model.mult": (2, 2, 2), "model.dropout": 0.13, "train.batch_size": 512}
            | adam("optim.net", lr=1e-3, betas=(0.9, 0.999), warmup=19_531)
            | {"optim.grad_clip": None, **ema(half_life=500_000.0, warmup=True)}
            | {"model.augment_prob": 0.12, "data.hflip": False}
            | {"train.steps": 390_625, "train.checkpoint_every": 5_000, "sample.steps": 18},
            "Karras et al. 2022, appendix F and the authors' code: DDPM++ of 55.7 M parameters, 200 M "
            "images, lr rising over the first 10 M, EMA weights of half-life 0.5 M; horizontal flips are a "
            "part of the augmentation",
        ),
    }

    model: EDMModel = EDMModel()
    """The levels and the network."""
    optim: DiffusionOptim = DiffusionOptim()
    """Optimization."""
    sample: GuidedSampleConfig = GuidedSampleConfig()
    """Sampling."""
    train: TrainConfig = TrainConfig(steps=2500, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


class Levels:
    """Noise levels as EDM has them: x = x0 + sigma eps, with the clock t = c_noise = log(sigma) / 4.

    Args:
        sigma_min, sigma_max: the ends.

    Raises:
        UsageError: where they do not ascend from above 0.
    """

    levels: Tensor | None = None

    def __init__(self, sigma_min: float, sigma_max: float) -> None:
        if not 0 < sigma_min < sigma_max:
            raise UsageError(f"sigma from {sigma_min} to {sigma_max}", "expected: 0 < sigma_min < sigma_max")
        self.ratio_min = sigma_min
        self.ratio_max = sigma_max
        self.prior_std = sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1, like t."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Return exp(4 t), like t."""
        return torch.exp(4 * t)

    def t_of(self, ratio: Tensor) -> Tensor:
        """Return log(ratio) / 4, like ratio."""
        return ratio.log() / 4

    def alpha_of(self, ratio: Tensor) -> Tensor:
        """Return 1, like ratio."""
        return torch.ones_like(ratio)


class Preconditioned(nn.Module):
    """The denoiser D(x; sigma) around a network F (Eq. 7).

    Args:
        net: F, called as net(x, t, cond).
        sigma_data: standard deviation of the data.
    """

    def __init__(self, net: Net, sigma_data: float) -> None:
        super().__init__()
        self.net = net
        self.sigma_data = sigma_data

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the guess at x0, like x: x (n, *shape) = x0 + sigma eps, t (n,) = log(sigma) / 4."""
        coefficients = preconditioning(torch.exp(4 * t), self.sigma_data)
        c_skip, c_out, c_in = (like(c, x) for c in coefficients)
        return c_skip * x + c_out * self.net(c_in * x, t, cond)


def edm_loss(
    denoise: Net, x0: Tensor, t: Tensor, eps: Tensor, sigma_data: float, cond: Cond | None = None
) -> Tensor:
    """Return E[lambda(sigma) (D(x0 + sigma eps; sigma) - x0)^2], a scalar (Eq. 2 and 8).

    Args:
        denoise: D, called as denoise(x, log(sigma) / 4, cond).
        x0: (n, *shape).
        t: (n,) log(sigma) / 4.
        eps: standard normal, like x0.
        sigma_data: standard deviation of the data.
        cond: of the network.
    """
    sigma = torch.exp(4 * t)
    guess = denoise(x0 + like(sigma, x0) * eps, t, cond)
    return (like(weight(sigma, sigma_data), x0) * (guess - x0).square()).mean()


class EDM(DiffusionRecipe):
    """EDM: a preconditioned network and its noise levels."""

    def __init__(self, config: EDMConfig, data: DataInfo) -> None:
        model = config.model
        span = math.log(model.sigma_max / model.sigma_min) / 4
        if model.augment_prob and not data.is_image:
            raise UsageError(
                f"model.augment_prob={model.augment_prob:g} changes images, and {data.name!r} has points",
                "expected: model.augment_prob=0",
            )
        if model.augment_prob and data.task == "paired":
            raise UsageError(
                f"model.augment_prob={model.augment_prob:g} changes images but not their sources",
                "expected: model.augment_prob=0, or another data.task",
            )
        labels = LABELS if model.augment_prob else 0
        net = build_backbone(model, data, time_range=span, time_scale=TIME_SCALE, augment=labels)
        net = Preconditioned(net, model.sigma_data)
        schedule = Levels(model.sigma_min, model.sigma_max)
        super().__init__(config, data, schedule, net, HEUN, "x0", time_scale=TIME_SCALE)

    def levels(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        """Return log(sigma) / 4 with log sigma drawn from N(P_mean, P_std^2), (n,) float64."""
        model = self.config.model
        normal = torch.randn(n, generator=rng, device=device, dtype=torch.float64)
        return (model.P_mean + model.P_std * normal) / 4

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the weighted squared error of the denoiser on a batch."""
        rng, model = context.rng, self.config.model
        x0, augmentation = self.training_x(batch, rng), None
        if model.augment_prob:
            x0, augmentation = edm_augment(x0, rng, model.augment_prob)
        t = self.levels(len(x0), rng, x0.device)
        eps = torch.randn(x0.shape, generator=rng, device=x0.device)
        cond = self.condition(batch, rng)
        if augmentation is not None:
            cond = replace(cond or Cond(), augment=augmentation)
        loss = edm_loss(self.net, x0, t, eps, model.sigma_data, cond)
        return Loss(loss, log={"loss": loss.detach()})
