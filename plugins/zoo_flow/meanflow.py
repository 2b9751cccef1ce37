"""MeanFlow: the average velocity of a flow between two times, for steps of any length.

Geng, Deng, Bai, Kolter and He 2025, "Mean Flows for One-step Generative Modeling", arXiv:2505.13447; equation
numbers are that paper's. On paths x_t = (1 - t) x0 + t eps, the average velocity between r and t is

    u(x_t, r, t) = 1 / (t - r) int_r^t v(x_s, s) ds,        x_r = x_t - (t - r) u(x_t, r, t)      (Eq. 3, 12)

and differentiating (t - r) u with respect to t gives the identity that it is trained by:

    u(x_t, r, t) = v(x_t, t) - (t - r) d/dt u(x_t, r, t)                                            (Eq. 6)

where d/dt is along the flow: v . grad_x u + du/dt, a product of the Jacobian with (v, 0, 1).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from zoo_core.config import UNTUNED, EmaConfig, Preset, TrainConfig
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.presets import LARGER
from zoo_core.diffusion.recipe import DiffusionModel, DiffusionRecipe, task_condition
from zoo_core.errors import UsageError
from zoo_core.nn.backbone import build_backbone
from zoo_core.training.recipe import Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss, SampleRequest, Samples
from zoo_flow.matching import PRESETS, TIME_SCALE, FlowMatchingConfig
from zoo_flow.path import StraightPath
from zoo_flow.samplers import FLOW_HEUN


class MeanFlowModel(DiffusionModel):
    """The network, its two times, and the weight of an example."""

    P_mean: float = 0.0
    """Mean of log(t / (1 - t)) of both times in training."""
    P_std: float = Field(2.0, gt=0)
    """Standard deviation of log(t / (1 - t)); with the 1 of the paper, pairs that span 0.1 to 0.9, which one
    step needs, are 1 in 3,000, and with 2 they are 1 in 27."""
    average: float = Field(0.5, ge=0, le=1)
    """Fraction of examples that learn an average velocity, r < t; the others have r = t and learn v."""
    power: float = Field(0.75, ge=0)
    """Exponent p of the weight 1 / (d^2 + c)^p of an example's squared error d^2, summed over its values; 0
    for the squared error."""
    c: float = Field(1e-3, gt=0)
    """Term added to the squared error in the weight."""


class MeanFlowConfig(FlowMatchingConfig):
    """One run of MeanFlow."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        **PRESETS,
        "default@image<=16": UNTUNED,
        "default@image<=48": Preset(
            {**LARGER, "train.steps": 3000},
            "for 28x28 and 32x32: the network of the other diffusion models there; not tuned",
        ),
    }

    model: MeanFlowModel = MeanFlowModel()
    """The network, its two times, and the weight of an example."""
    train: TrainConfig = TrainConfig(steps=3000, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


class Average(Protocol):
    """An average velocity."""

    def __call__(self, x: Tensor, t: Tensor, cond: Cond | None = None, r: Tensor | None = None) -> Tensor:
        """Return u(x, r, t), like x: x (n, *shape), t and r (n,) in [0, 1]; without r, u(x, t, t)."""
        ...


class AverageVelocity(nn.Module):
    """u(x, r, t) by a network of x and of the times t and t - r.

    Args:
        net: called as net(x, times, cond), times (n, 2).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None, r: Tensor | None = None) -> Tensor:
        """Return u(x, r, t), like x; without r the velocity at t, u(x, t, t)."""
        stretch = torch.zeros_like(t) if r is None else t - r
        made: Tensor = self.net(x, torch.stack((t, stretch), 1), cond)
        return made


@contextmanager
def forward_mode(device: torch.device) -> Iterator[None]:
    """Within the block: attention in a form that has a forward derivative, and no autocast.

    Fused attention has no forward derivative. Under bfloat16 on a CPU, group norm returns a derivative of
    another type than its output, which the next convolution refuses.
    """
    with (
        sdpa_kernel(SDPBackend.MATH),
        torch.autocast(device.type, enabled=False),
        warnings.catch_warnings(),
    ):
        # torch's own, of the rules that it compiles on first use.
        warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
        yield


def average_target(
    u: Average, x: Tensor, r: Tensor, t: Tensor, v: Tensor, cond: Cond | None = None
) -> Tensor:
    """Return v - (t - r) du/dt along the flow, like x and without a gradient (Eq. 6 and 10).

    Args:
        u: an average velocity, called as u(x, t, cond, r).
        x: (n, *shape) at time t.
        r, t: (n,) times, r <= t.
        v: velocity of x at t, like x.
        cond: of the network.
    """
    with torch.no_grad(), forward_mode(x.device):
        derivative = torch.func.jvp(lambda x, t: u(x, t, cond, r), (x, t), (v, torch.ones_like(t)))
        slope: Tensor = derivative[1]
    return v - like(t - r, x) * slope


def weighted(errors: Tensor, power: float, c: float) -> Tensor:
    """Return d^2 / (d^2 + c)^power of squared errors d^2 (n,), where the divisor has no gradient (Eq. 22)."""
    return errors / (errors.detach() + c) ** power


class MeanFlow(DiffusionRecipe):
    """A network of average velocities; u(x, t, t) is the velocity, so it is a denoiser beside."""

    config: MeanFlowConfig

    def __init__(self, config: MeanFlowConfig, data: DataInfo) -> None:
        net = build_backbone(config.model, data, time_range=1.0, time_scale=TIME_SCALE, times=2)
        path = StraightPath()
        super().__init__(
            config, data, path, AverageVelocity(net), FLOW_HEUN, "velocity", time_scale=TIME_SCALE
        )
        if config.sample.guidance_scale != 1 and not config.sampler.name:
            raise UsageError(
                f"sample.guidance_scale={config.sample.guidance_scale:g}: guidance combines velocities, and "
                "MeanFlow's own sampler takes average velocities",
                "next: sampler=flow-heun, which takes the velocity u(x, t, t)",
            )

    def stages(self) -> Sequence[Stage]:
        """Return the stages of a diffusion model; the loss holds a derivative, which is not compiled."""
        first, *others = super().stages()
        (phase,) = first.phases
        return [replace(first, phases=[replace(phase, second_order=True)]), *others]

    # -- training

    def levels(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        """Return times in (0, 1) whose logit is drawn from N(P_mean, P_std^2), (n,) float64."""
        model = self.config.model
        normal = torch.randn(n, generator=rng, device=device, dtype=torch.float64)
        return torch.sigmoid(model.P_mean + model.P_std * normal)

    def averaged(self, n: int, rng: torch.Generator) -> int:
        """Return how many of n examples have r < t: n times the fraction, rounded up or down at random."""
        drawn = torch.rand(1, generator=rng, device=rng.device)
        return int(n * self.config.model.average + float(drawn))

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the mean weighted squared error of the average velocity on a batch.

        The first examples have r < t and a target of Eq. 6; the target of the others is the velocity.
        """
        rng, model = context.rng, self.config.model
        x0 = self.training_x(batch, rng)
        n = len(x0)
        times = torch.stack((self.levels(n, rng, x0.device), self.levels(n, rng, x0.device)))
        t, r = times.amax(0).to(x0.dtype), times.amin(0).to(x0.dtype)
        count = self.averaged(n, rng)
        r = torch.cat((r[:count], t[count:]))
        eps = torch.randn(x0.shape, generator=rng, device=x0.device)
        cond = self.condition(batch, rng)
        x, v = torch.lerp(x0, eps, like(t, x0)), eps - x0
        target = v
        if count:
            some = None if cond is None else cond[:count]
            changed = average_target(self.net, x[:count], r[:count], t[:count], v[:count], some)
            target = torch.cat((changed, v[count:]))
        errors = (self.net(x, t, cond, r) - target).square().flatten(1).sum(1)
        loss = weighted(errors, model.power, model.c).mean()
        return Loss(loss, log={"loss": loss.detach(), "error": errors.detach().mean() / self.data.dims})

    # -- sampling

    @torch.no_grad()
    def sample(self, request: SampleRequest) -> Samples:
        """Draw in steps of average velocity from t = 1 (Eq. 12), or with the request's sampler, if any."""
        if request.sampler is not None:
            return super().sample(request)
        cond = None if request.cond is None else task_condition(request.cond, self.data.task)
        steps = request.steps or 1
        x = request.noise.randn(self.data.shape, name="start")
        for i in range(steps):
            t, r = (torch.full((len(x),), (steps - j) / steps, device=x.device) for j in (i, i + 1))
            x = x - like(t - r, x) * self.net(x, t, cond, r)
        return Samples(x, calls=steps)
