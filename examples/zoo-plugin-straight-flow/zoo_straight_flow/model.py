"""Rectified flow.

Liu, Gong and Liu 2022, "Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow",
arXiv:2209.03003. Time runs from data to noise here, x_t = (1 - t) x0 + t eps: the velocity is eps - x0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Config, EmaConfig, OptimizerConfig, Preset, RunConfig, TrainConfig
from zoo_core.data.loading import dequantize
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.samplers import euler
from zoo_core.diffusion.sampling import BoundSampler, draw
from zoo_core.interfaces import Denoiser
from zoo_core.nn.mlp import MLP, MLPConfig
from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss, SampleRequest, Samples

T_MIN, T_MAX = 1e-3, 1 - 1e-3
"""Where sampling ends and starts: at t = 0 the noise's direction is undefined, at t = 1 sigma is infinite."""


class StraightFlowModel(Config):
    """The velocity network."""

    channels: int = Field(32, ge=2, multiple_of=2)
    """U-Net (images): channels of the first level."""
    mult: tuple[int, ...] = Field((1, 2), min_length=1)
    """U-Net: factor on channels, one a level."""
    width: int = Field(128, ge=2, multiple_of=2)
    """MLP (points): width."""


class StraightFlowOptim(Config):
    """The optimizer."""

    net: OptimizerConfig = OptimizerConfig(lr=2e-3, schedule="cosine", warmup=100)
    """Of the network."""


class StraightFlowConfig(RunConfig):
    """One run of rectified flow."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {
                "train.steps": 60,
                "train.batch_size": 32,
                "sample.steps": 10,
                "model.channels": 16,
                "model.width": 32,
            },
            "for tests: seconds on one core",
        ),
    }

    model: StraightFlowModel = StraightFlowModel()
    """The network."""
    optim: StraightFlowOptim = StraightFlowOptim()
    """Optimization."""
    train: TrainConfig = TrainConfig(steps=2500, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


class FlowDenoiser:
    """A velocity network as E[x0 | x0 + sigma eps]: sigma = t / (1 - t), so t = sigma / (1 + sigma)."""

    sigma_min = T_MIN / (1 - T_MIN)
    sigma_max = T_MAX / (1 - T_MAX)
    prior_std = math.hypot(1, sigma_max)
    levels = None
    space: Literal["data", "latent"] = "data"

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def alpha(self, sigma: Tensor) -> Tensor:
        return 1 / (1 + sigma)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        t = sigma / (1 + sigma)
        x_t = x * like(self.alpha(sigma), x)
        velocity = self.net(x_t, t.expand(len(x)), cond)
        return x_t - like(t, x) * velocity  # x_t = x0 + t (eps - x0)


def even_in_t(denoise: Denoiser, steps: int) -> Tensor:
    """Return levels evenly spaced in t, the clock in which the paths are straight."""
    t = torch.linspace(T_MAX, 0, steps + 1, dtype=torch.float64)
    return t / (1 - t)


def flow_loss(net: nn.Module, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Return the squared error of the velocity (Eq. 1), a scalar: x0 (n, *shape), t (n,) in (0, 1)."""
    x_t = torch.lerp(x0, eps, like(t, x0))
    return F.mse_loss(net(x_t, t), eps - x0)


class StraightFlow(Recipe):
    """A velocity field, learned by regression and followed backwards from noise."""

    def __init__(self, config: StraightFlowConfig, data: DataInfo) -> None:
        super().__init__()
        self.config = config
        self.data = data
        model = config.model
        # The networks' sinusoids tell steps of 1 apart: times in [0, 1] are scaled up.
        if data.is_image:
            unet = UNetConfig(channels=model.channels, mult=model.mult)
            self.net: nn.Module = UNet(unet, data, time_scale=1000)
        else:
            self.net = MLP(MLPConfig(width=model.width), data, time_scale=1000)

    def stages(self) -> Sequence[Stage]:
        phase = Phase("net", self.loss, [self.net], "net", grad_clip=1.0)
        return [Stage("train", [phase], {"net": self.config.optim.net}, ema={"net": self.config.train.ema})]

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the loss at times drawn uniformly from [0, 1)."""
        x0, rng = batch.x, context.rng
        if self.data.levels is not None:  # the flow has a density, and that of bare levels is not bounded
            x0 = dequantize(x0, self.data.levels, torch.rand(x0.shape, generator=rng, device=x0.device))
        t = torch.rand(len(x0), generator=rng, device=x0.device)
        eps = torch.randn(x0.shape, generator=rng, device=x0.device)
        loss = flow_loss(self.net, x0, t, eps)
        return Loss(loss, log={"loss": loss.detach()})

    def denoiser(self) -> FlowDenoiser:
        return FlowDenoiser(self.net)

    def sample(self, request: SampleRequest) -> Samples:
        own = BoundSampler("euler", euler, even_in_t, steps=50)
        return draw(self.denoiser(), self.data.shape, request, own)
