"""Conditional flow matching on straight paths between independent noise and data.

Lipman, Chen, Ben-Hamu, Nickel and Le 2023, "Flow Matching for Generative Modeling", arXiv:2210.02747. The
network v(x_t, t) is trained on |v - (eps - x0)|^2 (Eq. 23); its minimizer is E[eps - x0 | x_t], the velocity
of a flow whose density at every t is that of x_t.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_core.config import DEFAULTS, EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.diffusion.denoiser import Net
from zoo_core.diffusion.options import GuidedSampleConfig
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.presets import LARGER, LARGER_IMAGES, ON_A_GPU, POINTS, TINY
from zoo_core.diffusion.recipe import DiffusionModel, DiffusionOptim, DiffusionRecipe
from zoo_core.nn.backbone import build_backbone
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss
from zoo_flow.path import T_MAX, T_MIN, StraightPath
from zoo_flow.samplers import FLOW_HEUN

TIME_SCALE = 100.0
"""Of times in [0, 1], for embeddings that tell steps of 1 apart."""

PRESETS: Mapping[str, Preset] = {
    "tiny": TINY,
    "default@image<=16": DEFAULTS,
    "default@image<=48": Preset(
        {**LARGER, "sampler.name": "dpmpp-2m", "sample.steps": 20},
        f"{LARGER_IMAGES.source}; a sampler that needs no score, which dependent pairs have not",
    ),
    "gpu@image<=48": ON_A_GPU,
    "default@points": POINTS,
}


class FlowMatchingConfig(RunConfig):
    """One run of flow matching."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {**PRESETS, "default@image<=48": LARGER_IMAGES}

    model: DiffusionModel = DiffusionModel()
    """The network."""
    optim: DiffusionOptim = DiffusionOptim()
    """Optimization."""
    sample: GuidedSampleConfig = GuidedSampleConfig()
    """Sampling."""
    train: TrainConfig = TrainConfig(steps=2500, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


def velocity_loss(net: Net, x0: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
    """Return the squared error of the velocity eps - x0 at x_t, a scalar (Eq. 23).

    Args:
        net: called as net(x_t, t, cond).
        x0: (n, *shape).
        t: (n,) in [0, 1].
        eps: noise, like x0.
        cond: of the network.
    """
    x_t = torch.lerp(x0, eps, like(t, x0))
    return F.mse_loss(net(x_t, t, cond), eps - x0)


class FlowMatching(DiffusionRecipe):
    """A network of the velocity of straight paths."""

    def __init__(self, config: FlowMatchingConfig, data: DataInfo) -> None:
        net = build_backbone(config.model, data, time_range=1.0, time_scale=TIME_SCALE)
        super().__init__(config, data, StraightPath(), net, FLOW_HEUN, "velocity", time_scale=TIME_SCALE)

    def levels(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        """Return uniform times in [T_MIN, T_MAX], (n,) float64, spread evenly over a batch from one draw.

        Each is uniform by itself; the loss varies less. Kingma et al. 2021, arXiv:2107.00630, appendix I.1.
        """
        first = torch.rand(1, generator=rng, device=device, dtype=torch.float64)
        u = (first + torch.arange(n, device=device) / n) % 1
        return T_MIN + (T_MAX - T_MIN) * u

    def noise_for(self, x0: Tensor, cond: Cond, rng: torch.Generator) -> Tensor:
        """Return the noise that each example's path leads to: independent of the data.

        Args:
            x0: (n, *shape).
            cond: what the data say of each example, a row an example.
            rng: of the noise.
        """
        return torch.randn(x0.shape, generator=rng, device=x0.device)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the squared error of the velocity on a batch."""
        rng = context.rng
        x0 = self.training_x(batch, rng)
        t = self.levels(len(x0), rng, x0.device)
        eps = self.noise_for(x0, batch.cond, rng)
        loss = velocity_loss(self.net, x0, t.to(x0.dtype), eps, self.condition(batch, rng))
        return Loss(loss, log={"loss": loss.detach()})
