"""Score models in continuous time: what the three SDEs of Song et al. 2021 (arXiv:2011.13456) share.

The network predicts eps (or v, where a model has the option) in x_t = alpha(t) x0 + sigma(t) eps, so the
score is -eps / sigma, at times t in (T_MIN, 1). The loss (Eq. 7) weights the squared error of the score by
lambda(t):

    score:      lambda = sigma^2, times uniform: the squared error of eps;
    likelihood: lambda = g^2, which bounds the log-likelihood (Song et al. 2021, arXiv:2101.09258, theorem 1).
                Times are drawn with a density in proportion to g^2 / sigma^2, and then it is the squared
                error of eps again (their section 4.4, importance sampling). Since
                g^2 / sigma^2 = d log(sigma^2 / alpha^2) / dt for every linear SDE, such times are those of
                levels sigma / alpha that are uniform in their logarithm. For a variance-exploding SDE both
                weightings are one.

Images are spread over their levels' bins, so that there is a density for the probability flow to follow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_core.config import EmaConfig, RunConfig, TrainConfig
from zoo_core.diffusion.denoiser import Net
from zoo_core.diffusion.options import GuidedSampleConfig
from zoo_core.diffusion.prediction import Prediction, like, target
from zoo_core.diffusion.recipe import DiffusionModel, DiffusionOptim, DiffusionRecipe
from zoo_core.diffusion.schedule import NoiseSchedule
from zoo_core.diffusion.sdes import SDE, T_MIN
from zoo_core.training.stated import adam
from zoo_core.types import Batch, Cond, Context, Loss

TIME_SCALE = 100.0
"""Of times in [0, 1], for embeddings that tell steps of 1 apart."""

PAPER_TRAINING: Mapping[str, Any] = {
    **adam("optim.net", lr=2e-4, betas=(0.9, 0.999), warmup=5000),
    "optim.grad_clip": 1.0,
    "data.hflip": True,
    "train.batch_size": 128,
    "train.steps": 1_300_000,
    "train.checkpoint_every": 20_000,
}
"""Of the networks for CIFAR-10 in Song et al. 2021, appendix H, and the authors' configs."""


class SDEModel(DiffusionModel):
    """The SDE, and the network."""

    weighting: Literal["score", "likelihood"] = "score"
    """Weight of the loss over time: sigma^2, for samples, or g^2, for likelihood."""


class SDEConfig(RunConfig):
    """One run of a score model in continuous time."""

    model: SDEModel = SDEModel()
    """The SDE and the network."""
    optim: DiffusionOptim = DiffusionOptim()
    """Optimization."""
    sample: GuidedSampleConfig = GuidedSampleConfig(steps=30)
    """Sampling."""
    train: TrainConfig = TrainConfig(steps=2500, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


def likelihood_times(schedule: NoiseSchedule, u: Tensor) -> Tensor:
    """Return times of density in proportion to g^2 / sigma^2, like u.

    Args:
        schedule: a linear SDE.
        u: uniform in [0, 1), float64.
    """
    low, high = math.log(schedule.ratio_min), math.log(schedule.ratio_max)
    return schedule.t_of(torch.exp(low + (high - low) * u))


def denoising_loss(
    net: Net,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    schedule: NoiseSchedule,
    cond: Cond | None = None,
    prediction: Prediction = "eps",
) -> Tensor:
    """Return the squared error of the network's prediction, a scalar.

    Of eps it is Eq. 7 with lambda = sigma^2, for score = -eps / sigma. An error of eps is one of
    v = alpha eps - sigma x0 times alpha / (alpha^2 + sigma^2), so lambda of v is that of eps, divided by the
    square of this factor.

    Args:
        net: called as net(x_t, t, cond).
        x0: (n, *shape).
        t: (n,) the schedule's times.
        eps: standard normal, like x0.
        schedule: how noise enters.
        cond: of the network.
        prediction: what the network says.
    """
    alpha, sigma = (like(c, x0) for c in (schedule.alpha(t), schedule.sigma(t)))
    return F.mse_loss(net(alpha * x0 + sigma * eps, t, cond), target(x0, eps, alpha, sigma, prediction))


class ScoreSDE(DiffusionRecipe):
    """A network that predicts eps, or v, at the times of a linear SDE."""

    schedule: SDE

    def levels(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        """Return times in (T_MIN, 1) as `model.weighting` draws them, (n,) float64.

        A batch's are spread evenly from one draw, each of them uniform by itself: the loss varies less.
        Source: Kingma et al. 2021, arXiv:2107.00630, appendix I.1.
        """
        first = torch.rand(1, generator=rng, device=device, dtype=torch.float64)
        u = (first + torch.arange(n, device=device) / n) % 1
        if self.config.model.weighting == "likelihood":
            return likelihood_times(self.schedule, u)
        return T_MIN + (1 - T_MIN) * u

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the weighted score-matching loss of a batch."""
        rng = context.rng
        x0 = self.training_x(batch, rng)
        t = self.levels(len(x0), rng, x0.device)
        eps = torch.randn(x0.shape, generator=rng, device=x0.device)
        cond = self.condition(batch, rng)
        loss = denoising_loss(self.net, x0, t, eps, self.schedule, cond, self.prediction)
        return Loss(loss, log={"loss": loss.detach()})
