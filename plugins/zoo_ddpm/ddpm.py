"""Denoising diffusion probabilistic models.

Ho, Jain and Abbeel 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239; equation numbers are
that paper's. The network predicts the noise (or x0, or v) in x_t = alpha x0 + sigma eps, where alpha^2 is
alpha_bar_t (Eq. 4), and is trained by L_simple (Eq. 14). Samples are drawn by DDIM in 50 steps unless another
sampler is asked for; the paper's own is `sampler=ddpm sample.steps=1000`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from zoo_core.config import DEFAULTS, EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.diffusion.denoiser import Net, SigmaDenoiser
from zoo_core.diffusion.likelihood import bound, discretized_gaussian, gaussian_log_prob
from zoo_core.diffusion.options import GuidedSampleConfig
from zoo_core.diffusion.prediction import Prediction, like, target
from zoo_core.diffusion.presets import LARGER_IMAGES, ON_A_GPU
from zoo_core.diffusion.recipe import DiffusionModel, DiffusionOptim, DiffusionRecipe
from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.diffusion.specs import DDIM
from zoo_core.nn.backbone import build_backbone
from zoo_core.registry.spec import SamplerSpec
from zoo_core.seeds import Seeds
from zoo_core.training.stated import adam, ema
from zoo_core.types import Batch, Cond, Context, DataInfo, Likelihood, Loss


class ChainModel(DiffusionModel):
    """The chain, and the network."""

    T: int = Field(1000, ge=2, le=100_000)
    """Number of steps of the chain."""
    beta_1: float = Field(1e-4, gt=0, lt=1)
    """Variance of the first step."""
    beta_T: float = Field(0.02, gt=0, lt=1)
    """Variance of the last step; the schedule is linear."""
    prediction: Literal["eps", "x0", "v"] = "eps"
    """Output of the network."""


class DDPMModel(ChainModel):
    """The chain, the network, and the bound."""

    variance: Literal["beta", "beta-tilde"] = "beta"
    """Variance of the reverse steps in the likelihood bound: beta as in `sampler=ddpm`, beta-tilde as in
    `ancestral`."""
    vlb_terms: int = Field(64, ge=1)
    """Number of step terms of the bound that are evaluated per example; T - 1 or more for all."""


POINTS = Preset(
    {"train.steps": 6000, "train.batch_size": 256, "model.width": 192, "sampler.name": "heun"},
    "for points: larger batches, and Heun's method, as DDIM's last step in 50 exceeds their fine structure",
)


class DDPMConfig(RunConfig):
    """One run of DDPM."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"train.steps": 60, "train.batch_size": 32, "sample.steps": 10, "model.vlb_terms": 8}
            | {"model.channels": 16, "model.width": 32, "model.T": 100}
            | {"model.beta_1": 1e-3, "model.beta_T": 0.2},
            "for tests: seconds on one core; T is a tenth and the betas ten times as large",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {**LARGER_IMAGES.overrides, "model.vlb_terms": 16, "model.prediction": "v"},
            f"{LARGER_IMAGES.source}; v, because an error of eps is multiplied by sigma",
        ),
        "gpu@image<=48": ON_A_GPU,
        "default@points": POINTS,
        "paper@cifar10": Preset(
            {"model.channels": 128, "model.mult": (1, 2, 2, 2), "model.blocks": 2, "model.attention": (16,)}
            | {"model.dropout": 0.1, "train.batch_size": 128, "train.steps": 800_000}
            | adam("optim.net", lr=2e-4, betas=(0.9, 0.999), warmup=5000)
            | {"optim.grad_clip": 1.0, **ema(decay=0.9999), "data.hflip": True}
            | {"train.checkpoint_every": 20_000, "sampler.name": "ddpm", "sample.steps": 1000},
            "Ho et al. 2020, appendix B, and the authors' code",
        ),
    }

    model: DDPMModel = DDPMModel()
    """The chain and the network."""
    optim: DiffusionOptim = DiffusionOptim()
    """Optimization."""
    sample: GuidedSampleConfig = GuidedSampleConfig()
    """Sampling."""
    train: TrainConfig = TrainConfig(steps=2500, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


def l_simple(
    net: Net,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    schedule: DiscreteVP,
    kind: Prediction,
    cond: Cond | None = None,
) -> Tensor:
    """Return L_simple (Eq. 14), a scalar: the squared error of the network's prediction, unweighted over t.

    Args:
        net: called as net(x_t, t, cond).
        x0: (n, *shape).
        t: (n,) int64 in 1..T.
        eps: standard normal, like x0.
        schedule: of the chain.
        kind: what the network predicts; the paper's is "eps".
        cond: of the network.
    """
    alpha, sigma = like(schedule.alpha(t), x0), like(schedule.sigma(t), x0)
    x_t = alpha * x0 + sigma * eps  # Eq. 4
    return F.mse_loss(net(x_t, t, cond), target(x0, eps, alpha, sigma, kind))


def uniform_times(schedule: DiscreteVP, n: int, rng: torch.Generator) -> Tensor:
    """Return times drawn uniformly from 1..T, (n,) int64, on the device of `rng`."""
    return torch.randint(1, schedule.steps + 1, (n,), generator=rng, device=rng.device)


class Chain(DiffusionRecipe):
    """A network and its chain of T noise levels, trained by L_simple.

    Args:
        config: with the model's options and those of `DiffusionRecipe`.
        data: what noise is added to.
        sampler: what samples are drawn with unless another is asked for.
    """

    schedule: DiscreteVP

    def __init__(self, config: Any, data: DataInfo, sampler: SamplerSpec = DDIM) -> None:
        model = config.model
        chain = DiscreteVP(linear_betas(model.T, model.beta_1, model.beta_T))
        net = build_backbone(model, data, time_range=model.T)
        super().__init__(config, data, chain, net, sampler, model.prediction)

    def levels(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        """Return times drawn uniformly from 1..T, (n,) int64."""
        return uniform_times(self.schedule, n, rng)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return L_simple: Algorithm 1."""
        x0, rng = batch.x, context.rng
        t = self.levels(len(x0), rng, x0.device)
        eps = torch.randn(x0.shape, generator=rng, device=x0.device)
        cond = self.condition(batch, rng)
        loss = l_simple(self.net, x0, t, eps, self.schedule, self.config.model.prediction, cond)
        return Loss(loss, log={"loss": loss.detach()})


class DDPM(Chain):
    """DDPM: the chain of the data themselves, whose likelihood it bounds."""

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the variational bound of the chain of T steps (Eq. 5), estimated without bias."""
        return [chain_bound(self.denoiser(), x, self.data, self.config.model, noise)]


def chain_bound(
    denoise: SigmaDenoiser, x: Tensor, data: DataInfo, model: DDPMModel, noise: Seeds
) -> Likelihood:
    """Return the variational bound of a chain's model on a batch; estimated, without bias, from few terms.

    Args:
        denoise: of the chain.
        x: (n, *shape) level centers, or points.
        data: of x.
        model: with T, variance and vlb_terms.
        noise: one stream an example.
    """
    pieces = bound(
        denoise,
        x,
        noise=noise,
        variance=model.variance,
        decoder=gaussian_log_prob if data.levels is None else discretized_gaussian(data.levels),
        terms=model.vlb_terms,
    )
    terms = pieces.shape[1] - 2
    note = f"variance {model.variance}"
    if terms < model.T - 1:
        note += f"; {terms} of {model.T - 1} step terms an example, stratified over t, unbiased"
    return Likelihood(-pieces.sum(1), "vlb", k=model.T, calls=denoise.calls, note=note)
