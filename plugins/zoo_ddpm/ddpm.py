"""Denoising diffusion probabilistic models.

Ho, Jain and Abbeel 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239; equation numbers are
that paper's. The network predicts the noise (or x0, or v) in x_t = alpha x0 + sigma eps, where alpha^2 is
alpha_bar_t (Eq. 4), and is trained by L_simple (Eq. 14). Samples are drawn by DDIM in 50 steps unless another
sampler is asked for; the paper's own is `sampler=ddpm sample.steps=1000`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Config, EmaConfig, OptimizerConfig, Preset, RunConfig, TrainConfig
from zoo_core.diffusion.denoiser import Net, SigmaDenoiser
from zoo_core.diffusion.likelihood import bound, discretised_gaussian, gaussian_log_prob
from zoo_core.diffusion.prediction import Prediction, like, target
from zoo_core.diffusion.sampling import bind, draw
from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.diffusion.specs import DDIM
from zoo_core.nn.mlp import MLP
from zoo_core.nn.unet import UNet
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples


class DDPMModel(Config):
    """The chain, and the network: a U-Net for pictures, a residual MLP for points."""

    T: int = Field(1000, ge=2, le=100_000)
    """Steps of the chain."""
    beta_1: float = Field(1e-4, gt=0, lt=1)
    """Variance of the first step."""
    beta_T: float = Field(0.02, gt=0, lt=1)
    """Variance of the last step; those between lie on a line."""
    prediction: Literal["eps", "x0", "v"] = "eps"
    """What the network says."""
    variance: Literal["beta", "beta-tilde"] = "beta"
    """Of the reverse steps, in the likelihood's bound: beta is `sampler=ddpm`, beta-tilde is `ancestral`."""
    clip_x0: bool = True
    """Clamp the guess at a picture to [-1, 1] at every step; points are never clamped."""
    vlb_terms: int = Field(64, ge=1)
    """Step terms of the bound that an example evaluates; T - 1 or more is all of them."""
    channels: int = Field(32, ge=2, multiple_of=2)
    """U-Net: channels of the first level."""
    mult: tuple[int, ...] = Field((1, 2), min_length=1)
    """U-Net: factor on channels, one a level; each level halves the side."""
    blocks: int = Field(1, ge=1)
    """U-Net: residual blocks a level."""
    attention: tuple[int, ...] = ()
    """U-Net: sides at which there is attention; the bottom always has it."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """U-Net: dropout in each residual block."""
    width: int = Field(128, ge=2, multiple_of=2)
    """MLP: width."""
    layers: int = Field(3, ge=1)
    """MLP: residual blocks."""


class DDPMOptim(Config):
    """The optimiser."""

    net: OptimizerConfig = OptimizerConfig(lr=2e-3, schedule="cosine", warmup=100)
    """Of the network."""
    grad_clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""


POINTS = Preset(
    {"train.steps": 6000, "train.batch_size": 256, "model.width": 192, "sampler.name": "heun"},
    "points are cheap: larger batches; DDIM's last step in 50 is wider than their finest structure",
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
        "default@mnist": Preset(
            {"model.mult": (1, 2, 2), "model.attention": (7,), "optim.net.lr": 1e-3}
            | {"train.steps": 4000, "train.batch_size": 64},
            "the default network with one level more",
        ),
        **{f"default@{name}": POINTS for name in ("moons", "ring", "two-gaussians", "swiss-roll")},
        "paper@cifar10": Preset(
            {"model.channels": 128, "model.mult": (1, 2, 2, 2), "model.blocks": 2, "model.attention": (16,)}
            | {"model.dropout": 0.1, "optim.net.lr": 2e-4, "optim.net.schedule": "constant"}
            | {"optim.net.warmup": 5000, "train.batch_size": 128, "train.steps": 800_000}
            | {"train.ema.decay": 0.9999, "train.ema.warmup": False, "train.checkpoint_every": 20_000}
            | {"sampler.name": "ddpm", "sample.steps": 1000},
            "Ho et al. 2020, appendix B; without their random horizontal flips",
        ),
    }

    model: DDPMModel = DDPMModel()
    """The chain and the network."""
    optim: DDPMOptim = DDPMOptim()
    """Optimisation."""
    train: TrainConfig = TrainConfig(steps=2500, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


def l_simple(net: Net, x0: Tensor, t: Tensor, eps: Tensor, schedule: DiscreteVP, kind: Prediction) -> Tensor:
    """Return L_simple (Eq. 14), a scalar: the squared error of the network's prediction, unweighted over t.

    Args:
        net: called as net(x_t, t).
        x0: (n, *shape).
        t: (n,) int64 in 1..T.
        eps: standard normal, like x0.
        schedule: of the chain.
        kind: what the network predicts; the paper's is "eps".
    """
    alpha, sigma = like(schedule.alpha(t), x0), like(schedule.sigma(t), x0)
    x_t = alpha * x0 + sigma * eps  # Eq. 4
    return F.mse_loss(net(x_t, t), target(x0, eps, alpha, sigma, kind))


def build_net(config: DDPMModel, data: DataInfo) -> nn.Module:
    """Return the network for the data: a U-Net for pictures, an MLP for points."""
    if not data.is_image:
        return MLP(data.dims, config.width, config.layers)
    return UNet(
        data.shape[0],
        data.shape[1],
        channels=config.channels,
        mult=config.mult,
        blocks=config.blocks,
        attention=config.attention,
        dropout=config.dropout,
    )


class DDPM(Recipe):
    """DDPM: a network and its chain of T noise levels."""

    def __init__(self, config: DDPMConfig, data: DataInfo) -> None:
        super().__init__()
        self.config = config
        self.data = data
        model = config.model
        self.schedule = DiscreteVP(linear_betas(model.T, model.beta_1, model.beta_T))
        self.net = build_net(model, data)

    def stages(self) -> Sequence[Stage]:
        phase = Phase("net", self.loss, [self.net], "net", grad_clip=self.config.optim.grad_clip)
        return [
            Stage("train", [phase], {"net": self.config.optim.net}, ema={"net": self.config.train.ema}),
        ]

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return L_simple at times drawn uniformly from 1..T: Algorithm 1."""
        x0, rng = batch.x, context.rng
        t = torch.randint(1, self.config.model.T + 1, (len(x0),), generator=rng, device=x0.device)
        eps = torch.randn(x0.shape, generator=rng, device=x0.device)
        loss = l_simple(self.net, x0, t, eps, self.schedule, self.config.model.prediction)
        return Loss(loss, log={"loss": loss.detach()})

    def denoiser(self) -> SigmaDenoiser:
        """Return the network as a Denoiser with T discrete levels."""
        model = self.config.model
        clip = model.clip_x0 and self.data.is_image
        return SigmaDenoiser(self.net, self.schedule, model.prediction, clip_x0=clip)

    def sample(self, request: SampleRequest) -> Samples:
        """Draw with the request's sampler, or with DDIM."""
        return draw(self.denoiser(), self.data.shape, request, bind(DDIM))

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the variational bound of the chain of T steps (Eq. 5), estimated without bias."""
        model = self.config.model
        levels = self.data.levels
        denoise = self.denoiser()
        pieces = bound(
            denoise,
            x,
            noise=noise,
            variance=model.variance,
            decoder=gaussian_log_prob if levels is None else discretised_gaussian(levels),
            terms=model.vlb_terms,
        )
        terms = pieces.shape[1] - 2
        note = f"variance {model.variance}"
        if terms < model.T - 1:
            note += f"; {terms} of {model.T - 1} step terms an example, stratified over t, unbiased"
        return [Likelihood(-pieces.sum(1), "vlb", k=model.T, calls=denoise.calls, note=note)]
