"""Improved DDPM: the variance of the reverse steps is learned, on a cosine schedule.

Nichol and Dhariwal 2021, "Improved Denoising Diffusion Probabilistic Models", arXiv:2102.09672; equation
numbers are that paper's. The network has a second output v for each value, in [0, 1] once it is shifted,
and the reverse step's variance lies between the two that Ho et al. fix,

    Sigma = exp(v log beta_t + (1 - v) log beta-tilde_t),                                          (Eq. 15)

trained by L_hybrid = L_simple + lambda L_vlb (Eq. 16), where L_vlb moves the variance only: the mean in it
is held still. L_vlb is T times the term of one time drawn uniformly, in nats a dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import DEFAULTS, Preset
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.likelihood import Variance, discretized_gaussian, gaussian_log_prob, step_kl
from zoo_core.diffusion.options import GuidedSampleConfig
from zoo_core.diffusion.prediction import Prediction, like, target, to_x0
from zoo_core.diffusion.recipe import DiffusionRecipe
from zoo_core.diffusion.samplers import forward_std, posterior_std
from zoo_core.diffusion.schedule import DiscreteVP, cosine_betas
from zoo_core.diffusion.specs import ANCESTRAL
from zoo_core.nn.backbone import build_backbone
from zoo_core.nn.bounding import bounded
from zoo_core.seeds import Seeds
from zoo_core.training.stated import adam, ema
from zoo_core.types import Batch, Cond, Context, DataInfo, Likelihood, Loss
from zoo_ddpm.ddpm import POINTS, DDPMConfig, DDPMModel, chain_bound, uniform_times


class IDDPMModel(DDPMModel):
    """The chain, and the network."""

    variance: Variance = "learned"  # type: ignore[assignment]  # one more than the chain's
    """Variance of the reverse steps in the likelihood bound."""
    offset: float = Field(0.008, gt=0, le=1)
    """Offset s of the cosine schedule, which determines the first step: its standard deviation should be
    slightly below the width of a pixel level's bin."""
    vlb_weight: float = Field(0.001, ge=0)
    """Weight lambda of L_vlb in the loss."""


class IDDPMConfig(DDPMConfig):
    """One run of improved DDPM."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"train.steps": 60, "train.batch_size": 32, "sample.steps": 10, "model.vlb_terms": 8}
            | {"model.channels": 16, "model.width": 32, "model.T": 100},
            "for tests: seconds on one core",
        ),
        "default@digits": Preset(
            {"model.offset": 0.4},
            "an offset for 17 pixel levels: with the paper's, 41% of the bound lies below a quarter of a bin",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": DDPMConfig.PRESETS["default@image<=48"],
        "gpu@image<=48": DDPMConfig.PRESETS["gpu@image<=48"],
        "default@points": Preset(
            {**POINTS.overrides, "model.prediction": "v"},
            "for points: larger batches; v, because an error of eps at the highest level is multiplied by "
            "its sigma, 20,000, and the estimate of a point is not clipped",
        ),
        "paper@cifar10": Preset(
            {"model.T": 4000, "model.channels": 128, "model.mult": (1, 2, 2, 2), "model.blocks": 3}
            | {"model.attention": (16, 8), "model.dropout": 0.3, "train.batch_size": 128}
            | adam("optim.net", kind="adamw", lr=1e-4, betas=(0.9, 0.999))
            | {"optim.grad_clip": None, **ema(decay=0.9999), "data.hflip": False}
            | {"train.steps": 500_000, "train.checkpoint_every": 20_000}
            | {"sampler.name": "ancestral", "sample.steps": 4000},
            "Nichol and Dhariwal 2021, appendix A, CIFAR-10 with L_hybrid and the cosine schedule, and the "
            "authors' code, which neither clips nor flips; attention here has one head where theirs has four",
        ),
    }

    model: IDDPMModel = IDDPMModel()
    """The chain and the network."""
    sample: GuidedSampleConfig = GuidedSampleConfig(steps=50)
    """Sampling."""


V_MAX = 20.0
"""Greatest size of the network's second output, far from the [-1, 1] that is meant: the step's log-variance
is then within some 20 nats of both choices of Ho et al., and finite with its inverse."""


class Halves:
    """A network of two outputs side by side: it returns the first and keeps the second."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.second = torch.empty(0)

    def __call__(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        first, self.second = self.net(x, t, cond).chunk(2, dim=1)
        return first


def interpolated_log_var(v: Tensor, t: Tensor, s: Tensor, denoise: SigmaDenoiser) -> Tensor:
    """Return log Sigma of the step from level t to s in sigma-space (Eq. 15), like v.

    At the last step beta-tilde is 0; that of the step before stands in, as in Ho et al.'s code.

    Args:
        v: the network's second output, (n, *shape): -1 is beta-tilde, 1 is beta.
        t, s: levels, scalars or (n,), s < t.
        denoise: whose chain it is.
    """
    levels = denoise.schedule.levels
    assert levels is not None
    first, second = levels[0], levels[1]
    stand_in = posterior_std(second, first) * denoise.alpha(first)
    small = torch.where(s > 0, posterior_std(t, s.clamp(min=1e-12)), stand_in).clamp(min=1e-20)
    large = forward_std(t, s, denoise)
    share = (bounded(v, -V_MAX, V_MAX) + 1) / 2
    return 2 * (share * like(large.log(), v) + (1 - share) * like(small.log(), v))


class LearnedVariance(SigmaDenoiser):
    """A Denoiser that knows the variance of its reverse steps, from the call that gave its mean."""

    def __init__(
        self, net: nn.Module, schedule: DiscreteVP, prediction: Prediction, *, clip_x0: bool = False
    ) -> None:
        self.halves = Halves(net)
        super().__init__(self.halves, schedule, prediction, clip_x0=clip_x0)

    def log_var(self, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Return the log-variance at sigma_next given x at sigma; `self(x, sigma)` was the last call."""
        return interpolated_log_var(self.halves.second, sigma, sigma_next, self)


class IDDPM(DiffusionRecipe):
    """Improved DDPM: a network with two outputs, and its chain."""

    schedule: DiscreteVP

    def __init__(self, config: IDDPMConfig, data: DataInfo) -> None:
        model = config.model
        net = build_backbone(model, data, time_range=model.T, outputs=2)
        chain = DiscreteVP(cosine_betas(model.T, model.offset))
        super().__init__(config, data, chain, net, ANCESTRAL, model.prediction)

    def denoiser(self) -> LearnedVariance:
        """Return the network as a Denoiser with T discrete levels and a learned variance."""
        return LearnedVariance(self.net, self.schedule, self.prediction, clip_x0=self._clips)

    def levels(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        """Return times drawn uniformly from 1..T, (n,) int64."""
        return uniform_times(self.schedule, n, rng)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return L_hybrid (Eq. 16)."""
        x0, rng, model = batch.x, context.rng, self.config.model
        t = self.levels(len(x0), rng, x0.device)
        eps = torch.randn(x0.shape, generator=rng, device=x0.device)
        alpha, sigma = like(self.schedule.alpha(t), x0), like(self.schedule.sigma(t), x0)
        x_t = alpha * x0 + sigma * eps
        out, v = self.net(x_t, t, self.condition(batch, rng)).to(x0.dtype).chunk(2, dim=1)
        l_simple = F.mse_loss(out, target(x0, eps, alpha, sigma, self.prediction))
        guess = to_x0(out.detach(), x_t, alpha, sigma, self.prediction)
        l_vlb = model.T * self.vlb_term(x0, guess, v, t).mean()
        return Loss(
            l_simple + model.vlb_weight * l_vlb, log={"l_simple": l_simple.detach(), "l_vlb": l_vlb.detach()}
        )

    def vlb_term(self, x0: Tensor, guess: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """Return L_{t-1} for t > 1 and L_0 for t = 1, elementwise, in nats.

        Args:
            x0, guess: the data and the model's guess at them, (n, *shape).
            v: the network's second output, like x0.
            t: (n,) int64 in 1..T.
        """
        levels = torch.cat((self.schedule.levels.new_zeros(1), self.schedule.levels))
        ratio, ratio_next = levels[t], levels[t - 1]
        std = (interpolated_log_var(v, ratio, ratio_next, self.denoiser()) / 2).exp()
        first = like(t, x0) == 1
        inner = like(ratio_next.clamp(min=float(levels[1]) / 2), x0)  # any s > 0 where t = 1: not used
        kl = step_kl(x0, guess, like(ratio, x0), inner, std)
        count = self.data.levels
        decoder = gaussian_log_prob if count is None else discretized_gaussian(count)
        # Far from t = 1 the guess is any number at all: the decoder's gradient there must not become one.
        log_prob = decoder(x0, torch.where(first, guess, x0), std)
        return torch.where(first, -log_prob, kl)

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the variational bound of the chain of T steps, with the variance that the config names."""
        return [chain_bound(self.denoiser(), x, self.data, self.config.model, noise)]
