"""Variational diffusion models: a bound on the likelihood in continuous time, and a learned noise schedule.

Kingma, Salimans, Poole and Ho 2021, "Variational Diffusion Models", arXiv:2107.00630; sections are those of
that paper. With z = alpha x + sigma eps and gamma = -log SNR, the code length of an image is at most

    KL(q(z_1 | x) || N(0, I)) + E[-log p(x | z_0)] + L                                    (section 3.5)
    L = 1/2 E_{u, eps}[gamma'(u) |eps - eps^(z_u; gamma(u))|^2]                            (section 5)

with u uniform in [0, 1]. L is an integral over gamma, so it depends on the ends of the schedule alone
(section 5.1); between them the schedule changes the variance of the estimate. The ends are trained to lower
the bound, and the rest to lower the variance (section 5.3). With `model.T` steps, the factor
T (exp(gamma(t) - gamma(s)) - 1) takes the place of gamma' (section 4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from zoo_core.config import UNTUNED, EmaConfig, Preset, RunConfig, TrainConfig, later
from zoo_core.data.loading import quantize
from zoo_core.diffusion.denoiser import Net
from zoo_core.diffusion.options import GuidedSampleConfig
from zoo_core.diffusion.prediction import like, target
from zoo_core.diffusion.presets import LARGER_IMAGES, ON_A_GPU
from zoo_core.diffusion.recipe import DiffusionModel, DiffusionOptim, DiffusionRecipe, spread_evenly
from zoo_core.diffusion.specs import DPMPP_SDE
from zoo_core.errors import UsageError
from zoo_core.nn.backbone import build_backbone
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Likelihood, Loss
from zoo_ddpm.log_snr import LogSNR

TIME_SCALE = 4.0
"""Of gamma in the network's embedding, which tells differences of 1 apart."""
PIECES = 32
"""Straight pieces of a learned schedule."""


class VDMModel(DiffusionModel):
    """The schedule, the network and the bound."""

    schedule: Literal["learned", "ends", "fixed"] = "learned"
    """Schedule gamma(u) = -log SNR(u): learned; a line with learned ends; or a fixed line."""
    gamma_min: float | None = None
    """First value of gamma(0). None for -2 log(3 (L - 1)) with L pixel levels: the standard deviation of the
    noise is then a third of the distance from a level to the edge of its bin."""
    gamma_max: float = 5.0
    """First value of gamma(1)."""
    T: int = Field(0, ge=0, le=100_000)
    """Number of steps of the chain whose bound is trained and reported; 0 for continuous time."""
    bound_terms: int = Field(64, ge=1)
    """Number of times at which the bound is evaluated per example, stratified."""
    prediction: Literal["eps", "v"] = later("eps", since="0.2.0")
    """Output of the network: eps^, as in the paper, or v^, with eps^ = alpha v^ + sigma z."""


class VDMConfig(RunConfig):
    """One run of a variational diffusion model."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"train.steps": 60, "train.batch_size": 32, "sample.steps": 10, "model.bound_terms": 8}
            | {"model.channels": 16, "model.width": 32},
            "for tests: seconds on one core",
        ),
        "default@image<=16": UNTUNED,
        "default@image<=48": Preset(
            {**LARGER_IMAGES.overrides, "model.bound_terms": 16, "model.prediction": "v"},
            f"{LARGER_IMAGES.source}; v, because an error of eps is multiplied by sigma",
        ),
        "gpu@image<=48": Preset({**ON_A_GPU.overrides, "model.prediction": "v"}, ON_A_GPU.source),
    }

    model: VDMModel = VDMModel()
    """The schedule, the network and the bound."""
    optim: DiffusionOptim = DiffusionOptim()
    """Optimization."""
    sample: GuidedSampleConfig = GuidedSampleConfig(steps=30)
    """Sampling."""
    train: TrainConfig = TrainConfig(steps=2500, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


def prior_term(x0: Tensor, gamma: Tensor) -> Tensor:
    """Return KL(q(z_1 | x0) || N(0, I)), (n,) nats.

    Args:
        x0: (n, *shape).
        gamma: gamma(1), a scalar.
    """
    kept = torch.sigmoid(-gamma)  # alpha^2
    return (kept * (x0.square() - 1) - F.logsigmoid(gamma)).flatten(1).sum(1) / 2


def reconstruction_term(x0: Tensor, eps: Tensor, gamma: Tensor, levels: int) -> Tensor:
    """Return -log p(x0 | z_0), (n,) nats, where p of a level is in proportion to q(z_0 | level).

    Levels of less than exp(-32) of the likeliest one are left out of the sum over levels.

    Args:
        x0: (n, *shape) level centers.
        eps: standard normal, like x0.
        gamma: gamma(0), a scalar.
        levels: L.
    """
    std = (gamma / 2).exp() * (levels - 1) / 2  # of z_0 / alpha, in steps of a level
    own = quantize(x0, levels).to(x0)
    place = own + std * eps
    reach = min(levels - 1, math.ceil(8 * float(std.detach())) + 1)
    near = place.detach().round().clamp(0, levels - 1)
    other = near[..., None] + torch.arange(-reach, reach + 1, device=x0.device).to(x0)
    energy = -((place[..., None] - other) / std).square() / 2
    total = energy.masked_fill((other < 0) | (other > levels - 1), -math.inf).logsumexp(-1)
    return (total + eps.square() / 2).flatten(1).sum(1)


def diffusion_term(
    net: Net,
    x0: Tensor,
    gamma: Tensor,
    weight: Tensor,
    eps: Tensor,
    cond: Cond | None = None,
    prediction: Literal["eps", "v"] = "eps",
) -> Tensor:
    """Return weight |eps - eps^|^2 / 2 of each example, (n,) nats (sections 4 and 5).

    Args:
        net: eps^ or v^, called as net(z, gamma, cond).
        x0: (n, *shape).
        gamma, weight: (n,), as of `terms_of`.
        eps: standard normal, like x0.
        cond: of the network.
        prediction: which of the two the network says.
    """
    alpha, sigma = like(torch.sigmoid(-gamma).sqrt(), x0), like(torch.sigmoid(gamma).sqrt(), x0)
    z = alpha * x0 + sigma * eps
    error = target(x0, eps, alpha, sigma, prediction) - net(z, gamma, cond)
    if prediction == "v":  # eps = alpha v + sigma z
        error = alpha * error
    error = error.square().flatten(1).sum(1)
    return weight.to(error) * error / 2


def terms_of(schedule: LogSNR, rise: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return gamma and its slope, (n,) each, of the rise from 0 to 1 and the slope of that (`shape`)."""
    return schedule.scaled(rise), schedule.span(slope) * slope


def chain_terms(schedule: LogSNR, u: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return gamma(t) and T (exp(gamma(t) - gamma(s)) - 1) of the step from t to s that u is in (section 4).

    Args:
        schedule: of the chain.
        u: uniform in [0, 1), (n,).
        steps: T.
    """
    step = (u * steps).floor()
    gamma, before = schedule.gamma((step + 1) / steps), schedule.gamma(step / steps)
    return gamma, steps * torch.expm1(gamma - before)


class VDM(DiffusionRecipe):
    """A network, its learned schedule, and their bound."""

    schedule: LogSNR
    config: VDMConfig
    units: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("loss", "prior", "reconstruction", "diffusion"), "bits/dim"
    )

    def __init__(self, config: VDMConfig, data: DataInfo) -> None:
        model = config.model
        if data.levels is None:
            raise UsageError(
                f"plugin 'vdm' bounds the probability of pixel levels, and {data.name!r} has continuous "
                f"values of shape {data.shape}",
                "expected: images",
                "next: plugin=vp-sde model.weighting=likelihood, which trains a bound of points",
            )
        low = -2 * math.log(3 * (data.levels - 1)) if model.gamma_min is None else model.gamma_min
        schedule = LogSNR(
            low,
            model.gamma_max,
            learn_ends=model.schedule != "fixed",
            pieces=PIECES if model.schedule == "learned" else 1,
        )
        net = build_backbone(model, data, time_range=model.gamma_max - low, time_scale=TIME_SCALE)
        super().__init__(config, data, schedule, net, DPMPP_SDE, model.prediction, TIME_SCALE)

    @property
    def spreads(self) -> bool:
        """False: the bound is one of levels as they are."""
        return False

    def stages(self) -> Sequence[Stage]:
        """Return the stages; the schedule is trained with the network."""
        first, *rest = super().stages()
        updates = [self.net, *([self.schedule] if list(self.schedule.parameters()) else [])]
        return [replace(first, phases=[replace(p, updates=updates) for p in first.phases]), *rest]

    def levels(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        """Return gamma at times spread evenly, (n,) float64."""
        return self.schedule.gamma(spread_evenly(n, rng, device)).detach()

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the bound of a batch, a mean in bits per value."""
        x0, rng = batch.x, context.rng
        u = spread_evenly(len(x0), rng, x0.device)
        eps, eps_0 = (torch.randn(x0.shape, generator=rng, device=x0.device) for _ in range(2))
        diffusion = self.diffusion(x0, u, eps, self.condition(batch, rng)).mean()
        prior, reconstruction = (term.mean() for term in self.ends(x0, eps_0))
        scale = self.data.dims * math.log(2)
        found = {"prior": prior, "reconstruction": reconstruction, "diffusion": diffusion}
        log = {name: value.detach() / scale for name, value in found.items()}
        loss = (prior + reconstruction + diffusion) / scale
        ends = self.schedule.gamma(torch.tensor([0.0, 1.0], device=x0.device)).detach()
        return Loss(loss, log={"loss": loss.detach(), **log, "gamma_0": ends[0], "gamma_1": ends[1]})

    def ends(self, x0: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prior's and the reconstruction's term, (n,) nats each, of x0 with noise eps at u = 0."""
        assert self.data.levels is not None
        low, high = self.schedule.gamma(torch.tensor([0.0, 1.0], device=x0.device, dtype=x0.dtype))
        return prior_term(x0, high), reconstruction_term(x0, eps, low, self.data.levels)

    def diffusion(self, x0: Tensor, u: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the diffusion's term at one time per example, (n,) nats.

        In continuous time its gradient with respect to the shape of the schedule is that of its square: the
        expectation does not depend on the shape, so the square's is the gradient of the variance.

        Args:
            x0: (n, *shape).
            u: times in [0, 1), (n,).
            eps: standard normal, like x0.
            cond: of the network.
        """
        kind = self.config.model.prediction
        if self.config.model.T:
            gamma, weight = chain_terms(self.schedule, u, self.config.model.T)
            return diffusion_term(self.net, x0, gamma, weight, eps, cond, kind)
        shape = self.schedule.shape(u)
        gamma, weight = terms_of(self.schedule, *shape)
        found = diffusion_term(self.net, x0, gamma, weight, eps, cond, kind)
        factor = 2 * found.detach() / (self.data.dims * math.log(2))
        for part in shape:
            if part.requires_grad:
                part.register_hook(lambda gradient: gradient * factor.to(gradient))
        return found

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the bound, in continuous time or of T steps, estimated without bias at stratified times."""
        model = self.config.model
        terms = min(model.bound_terms, model.T or model.bound_terms)
        prior, reconstruction = self.ends(x, noise.randn(x.shape[1:], name="reconstruction"))
        nats = prior.double() + reconstruction.double()
        for j in range(terms):
            u = (j + noise.rand((), name="time", step=j).double()) / terms
            eps = noise.randn(x.shape[1:], name="step", step=j)
            nats = nats + self.diffusion(x, u, eps).double() / terms
        note = f"{terms} stratified times an example, unbiased"
        if model.T:
            return [Likelihood(-nats, "vlb", k=model.T, calls=terms, note=note)]
        return [Likelihood(-nats, "elbo", calls=terms, note=f"continuous time; {note}")]
