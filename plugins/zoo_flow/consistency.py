"""Consistency models by easy consistency tuning: one network evaluation from noise to data.

Geng, Pokle, Luo, Lin and Kolter 2024, "Consistency Models Made Easy", arXiv:2406.14548; consistency models
are of Song, Dhariwal, Chen and Sutskever 2023, arXiv:2303.01469. With x_t = x0 + t eps, f(x_t, t)
is the point at sigma_min of the probability flow through x_t. It is constant along the flow, and

    f(x, sigma_min) = x                                                     (boundary condition)

A step compares f at t with f at r < t for the same x0 and eps. The gap t - r begins near t, where the target
is the data and training is that of a denoiser, and is divided by q in every stage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import UNTUNED, EmaConfig, NetworkOptim, Preset, RunConfig, TrainConfig
from zoo_core.data.loading import dequantize
from zoo_core.diffusion.denoiser import Net
from zoo_core.diffusion.preconditioning import preconditioning
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.presets import LARGER, ON_A_GPU, POINTS
from zoo_core.diffusion.recipe import spread_evenly, task_condition
from zoo_core.errors import UsageError
from zoo_core.nn.backbone import Backbone, build_backbone
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss, SampleRequest, Samples

TIME_SCALE = 16.0
"""Of log(sigma) / 4, as in `edm`, whose weights a run may start from."""
Distance = Literal["huber", "squared"]


class ConsistencyModel(Backbone):
    """The network, the noise levels, and the gap between two of them."""

    sigma_data: float = Field(0.5, gt=0)
    """Standard deviation of the data, for the preconditioning."""
    sigma_min: float = Field(0.002, gt=0)
    """Noise level of the data, at which the consistency function is the identity."""
    sigma_max: float = Field(80.0, gt=0)
    """Highest noise level, at which sampling starts."""
    P_mean: float = -1.1
    """Mean of log sigma in training, before it is truncated to the range of levels."""
    P_std: float = Field(2.0, gt=0)
    """Standard deviation of log sigma in training, before truncation."""
    stages: int = Field(8, ge=1)
    """Number of stages of equal length; the gap between both levels is divided by `q` in each."""
    q: float = Field(2.0, gt=1)
    """Factor by which the gap shrinks from stage to stage."""
    k: float = Field(8.0, ge=0)
    """How much larger the relative gap is at low levels: n(t) = 1 + k / (1 + exp(b t))."""
    b: float = Field(1.0, ge=0)
    """How fast n(t) falls with the level t."""
    distance: Distance = "huber"
    """Distance of both outputs: pseudo-Huber, sqrt(d^2 + huber^2) - huber, or squared, d^2; d^2 is the mean
    of squared differences over an example's values."""
    huber: float = Field(0.001, gt=0)
    """Difference below which the pseudo-Huber distance is nearly quadratic."""


class ConsistencyConfig(RunConfig):
    """One run of a consistency model."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"train.steps": 60, "train.batch_size": 32, "model.channels": 16, "model.width": 32}
            | {"model.stages": 1},
            "for tests: seconds on one core; one stage, as losses of different gaps do not compare",
        ),
        "default@image<=16": UNTUNED,
        "default@image<=48": Preset(
            {**LARGER, "train.steps": 4400},
            "for 28x28 and 32x32: the network of the other diffusion models there; not tuned",
        ),
        "gpu@image<=48": ON_A_GPU,
        "default@points": POINTS,
    }

    model: ConsistencyModel = ConsistencyModel()
    """The network, the noise levels, and the gap between two of them."""
    optim: NetworkOptim = NetworkOptim()
    """Optimization."""
    train: TrainConfig = TrainConfig(steps=4000, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


class ConsistencyFunction(nn.Module):
    """f(x, sigma) around a network F: EDM's preconditioning, the identity at sigma_min.

    c_skip and c_out are taken at sigma - sigma_min, so they are exactly 1 and 0 at sigma_min (Song et al.
    2023, appendix C); c_in is taken at sigma, the level of the input.

    Args:
        net: F, called as net(x, log(sigma) / 4, cond).
        sigma_data: standard deviation of the data.
        sigma_min: level at which f(x) = x.
    """

    def __init__(self, net: Net, sigma_data: float, sigma_min: float) -> None:
        super().__init__()
        self.net = net
        self.sigma_data = sigma_data
        self.sigma_min = sigma_min

    def forward(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the point of the data, like x: x (n, *shape) = x0 + sigma eps, sigma (n,) >= sigma_min."""
        c_skip, c_out, _ = preconditioning(sigma - self.sigma_min, self.sigma_data)
        _, _, c_in = preconditioning(sigma, self.sigma_data)
        inner = self.net(like(c_in, x) * x, sigma.log() / 4, cond)
        return like(c_skip, x) * x + like(c_out, x) * inner


def lower_level(t: Tensor, stage: int, model: ConsistencyModel) -> Tensor:
    """Return the level r < t that is compared with t in a stage, at least sigma_min, like t.

    r / t = 1 - n(t) / q^(stage + 1) with n(t) = 1 + k / (1 + exp(b t)); section 3.3 of the paper.

    Args:
        t: (n,) levels.
        stage: from 0.
        model: the schedule's options.
    """
    gap = (1 + model.k * torch.sigmoid(-model.b * t)) / model.q ** (stage + 1)
    return (t * (1 - gap)).clamp_min(model.sigma_min)


def distances(a: Tensor, b: Tensor, distance: Distance, huber: float) -> Tensor:
    """Return the distance of each example of `a` from that of `b`, (n,).

    Args:
        a, b: (n, *shape).
        distance: as `model.distance` describes it.
        huber: of the pseudo-Huber distance.
    """
    squared = (a - b).square().flatten(1).mean(1)
    return squared if distance == "squared" else (squared + huber**2).sqrt() - huber


def consistency_losses(
    function: Net,
    x0: Tensor,
    t: Tensor,
    r: Tensor,
    eps: Tensor,
    distance: Distance,
    huber: float,
    cond: Cond | None = None,
) -> Tensor:
    """Return distance(f(x_t, t), f(x_r, r)) / (t - r) of each example, (n,); f(x_r, r) is a constant.

    Args:
        function: f, called as function(x, sigma, cond).
        x0: (n, *shape).
        t, r: (n,) levels, t > r.
        eps: standard normal, like x0; the noise at both levels.
        distance, huber: of `distances`.
        cond: of the network.
    """
    with torch.no_grad():
        target = function(x0 + like(r, x0) * eps, r, cond)
    made = function(x0 + like(t, x0) * eps, t, cond)
    return distances(made, target, distance, huber) / (t - r).to(made.dtype)


class Consistency(Recipe):
    """A consistency function and its sampler; it is not a denoiser, and no other sampler drives it.

    Raises:
        UsageError: for levels that do not ascend, or a sampler.
    """

    length_options = ("model.stages",)

    def __init__(self, config: ConsistencyConfig, data: DataInfo) -> None:
        super().__init__()
        model = config.model
        if not 2 * model.sigma_min < model.sigma_max:
            raise UsageError(
                f"model.sigma_min={model.sigma_min:g} and model.sigma_max={model.sigma_max:g}",
                "expected: 0 < 2 sigma_min < sigma_max",
            )
        self._refuse(config.sampler.name)
        self.config, self.data = config, data
        span = math.log(model.sigma_max / model.sigma_min) / 4
        net = build_backbone(model, data, time_range=span, time_scale=TIME_SCALE)
        self.net = ConsistencyFunction(net, model.sigma_data, model.sigma_min)

    def _refuse(self, sampler: str) -> None:
        if sampler:
            raise UsageError(
                f"sampler={sampler} needs a denoiser, E[x0 | x], and a consistency function is not one: it "
                "returns the end of the probability flow, not the mean of the data",
                "next: leave sampler out; sample.steps=1, 2, ... sets the number of evaluations",
            )

    def stages(self) -> Sequence[Stage]:
        optim = self.config.optim
        phase = Phase("net", self.loss, [self.net], "net", grad_clip=optim.grad_clip)
        return [Stage("train", [phase], {"net": optim.net}, ema={"net": self.config.train.ema})]

    # -- training

    def levels(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        """Return training levels t, (n,) float64: log t from N(P_mean, P_std^2) truncated to the levels.

        They are spread evenly over the law of a batch from one draw; each has the law by itself.
        """
        model = self.config.model
        ends = torch.tensor([2 * model.sigma_min, model.sigma_max], dtype=torch.float64, device=device)
        low, high = torch.special.ndtr((ends.log() - model.P_mean) / model.P_std)
        u = spread_evenly(n, rng, device)
        t = (model.P_mean + model.P_std * torch.special.ndtri(low + (high - low) * u)).exp()
        return t.clamp(*ends)

    def stage_at(self, progress: float) -> int:
        """Return the number of the stage, from 0, at a fraction of training in [0, 1)."""
        return int(progress * self.config.model.stages)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the mean weighted distance between both outputs on a batch."""
        model, rng, x0 = self.config.model, context.rng, batch.x
        if self.data.levels is not None:
            uniform = torch.rand(x0.shape, generator=rng, device=x0.device)
            x0 = dequantize(x0, self.data.levels, uniform)
        t = self.levels(len(x0), rng, x0.device)
        r = lower_level(t, self.stage_at(context.progress), model)
        eps = torch.randn(x0.shape, generator=rng, device=x0.device)
        cond = task_condition(batch.cond, self.data.task)
        losses = consistency_losses(self.net, x0, t, r, eps, model.distance, model.huber, cond)
        loss = losses.mean()
        return Loss(loss, log={"loss": loss.detach()})

    # -- sampling

    def sampling_levels(self, steps: int) -> list[float]:
        """Return the levels that f is evaluated at, from sigma_max: even in log sigma, sigma_min left out."""
        low, high = self.config.model.sigma_min, self.config.model.sigma_max
        return [high * (low / high) ** (i / steps) for i in range(steps)]

    @torch.no_grad()
    def sample(self, request: SampleRequest) -> Samples:
        """Draw by f from sigma_max, then noise the sample and apply f again (Song et al. 2023, algorithm 1).

        Raises:
            UsageError: for a sampler, which would need a denoiser.
        """
        if request.sampler is not None:
            self._refuse(request.sampler.name)
        cond = None if request.cond is None else task_condition(request.cond, self.data.task)
        first, *others = self.sampling_levels(request.steps or 1)
        start = request.noise.randn(self.data.shape, name="start")
        x = self._mapped(first * start, first, cond)
        for level in others:
            added = math.sqrt(level**2 - self.config.model.sigma_min**2)
            x = self._mapped(x + added * request.noise.randn(self.data.shape, name="step"), level, cond)
        return Samples(x, calls=1 + len(others))

    def _mapped(self, x: Tensor, level: float, cond: Cond | None) -> Tensor:
        sigma = torch.full((len(x),), level, dtype=torch.float64, device=x.device)
        made: Tensor = self.net(x, sigma, cond)
        return made
