"""Noise conditional score networks: the score of data at every level of a schedule of noise.

Song and Ermon 2019, "Generative Modeling by Estimating Gradients of the Data Distribution", arXiv:1907.05600;
equation numbers are that paper's. One network learns grad log q_sigma(x), the score of the noised data, at
all levels by denoising score matching (Eq. 5 and 6, lambda = sigma^2); samples are drawn by annealed Langevin
dynamics down the schedule (Algorithm 1). With `model.objective=ssm` or `ism` the network learns the same
score of the same noised data by sliced or implicit score matching (`zoo_ncsn.objectives`).

The network predicts -sigma score, which has the same scale at every level, as in Song and Ermon 2020,
arXiv:2006.09011, section 3.3; the paper's network (`model.net=refinenet`) learned that scale. With
`model.net=energy` it is the gradient of a scalar. With `model.levels=continuous` the noise level is
continuous, and the probability flow has a likelihood; with discrete levels there is a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import DEFAULTS, EmaConfig, Preset, RunConfig, TrainConfig, later
from zoo_core.config.own import OwnName
from zoo_core.diffusion.likelihood import bound, discretized_gaussian, gaussian_log_prob
from zoo_core.diffusion.options import AnnealedLangevinConfig, GuidedSampleConfig
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.presets import LARGER_IMAGES, ON_A_GPU
from zoo_core.diffusion.recipe import DiffusionModel, DiffusionOptim, DiffusionRecipe
from zoo_core.diffusion.scaling import Scaled
from zoo_core.diffusion.sdes import T_MIN, VE
from zoo_core.diffusion.specs import ANNEALED_LANGEVIN
from zoo_core.errors import UsageError
from zoo_core.nn.backbone import build_backbone
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Stage
from zoo_core.training.stated import adam, ema
from zoo_core.types import Batch, Context, DataInfo, Likelihood, Loss
from zoo_ncsn.energy import Energy
from zoo_ncsn.noise_levels import NoiseLevels
from zoo_ncsn.objectives import Score, implicit_score_matching, sliced_score_matching
from zoo_ncsn.refinenet import RefineNet


class NCSNModel(DiffusionModel):
    """The levels, and the network."""

    net: Literal["auto", "unet", "dit", "mlp", "refinenet", "energy"] | OwnName = "auto"
    """Network; auto is a U-Net for images and an MLP for points, refinenet that of the paper (width
    `channels`), energy the gradient of a scalar computed by that of auto. MODULE:NAME is a network of your
    own."""
    levels: Literal["discrete", "continuous"] = "discrete"
    """Train on a schedule of L noise levels, or on a continuous range, which has a probability flow."""
    L: int = Field(20, ge=2, le=10_000)
    """Number of noise levels; samplers visit up to 60 of them by default, more with sample.steps."""
    sigma_min: float = Field(0.03, gt=0)
    """Lowest noise level."""
    objective: Literal["dsm", "ssm", "ism"] = later("dsm", since="0.2.0")
    """Score matching: denoising (dsm), sliced (ssm), or implicit (ism), which needs a backward pass for each
    value of an example. All have the same minimizer."""
    dequantize: bool = later(False, since="0.1.0")
    """Dequantize images in training; always true with continuous noise levels."""
    sigma_max: float = Field(6.0, gt=0)
    """Highest noise level. It should be about the largest distance between two examples, so that chains move
    between modes."""


POINTS = Preset(
    {"train.steps": 6000, "train.batch_size": 256, "model.width": 192}
    | {"model.L": 60, "model.sigma_min": 0.01, "model.sigma_max": 4.0}
    | {"sampler.step": 0.3, "sampler.repeats": 5},
    "for points: larger batches and lower noise levels",
)


class NCSNConfig(RunConfig):
    """One run of NCSN."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"train.steps": 60, "train.batch_size": 32, "model.L": 6, "sampler.repeats": 2}
            | {"model.channels": 16, "model.width": 32},
            "for tests: seconds on one core",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {**LARGER_IMAGES.overrides, "model.L": 60, "model.sigma_max": 50.0},
            f"{LARGER_IMAGES.source}; Langevin dynamics of so few steps would not move from its start",
        ),
        "gpu@image<=48": Preset(
            {**ON_A_GPU.overrides, "model.L": 60, "model.sigma_max": 50.0}, ON_A_GPU.source
        ),
        "default@points": POINTS,
        "paper@cifar10": Preset(
            {"model.L": 10, "model.sigma_min": 0.02, "model.sigma_max": 2.0}
            | {"model.net": "refinenet", "model.channels": 128}
            | adam("optim.net", lr=1e-3, betas=(0.9, 0.999))
            | {"optim.grad_clip": None, **ema(), "data.hflip": True}
            | {"train.batch_size": 128, "train.steps": 200_000, "train.checkpoint_every": 10_000}
            | {"model.dequantize": True, "sampler.start": "uniform"}
            | {"sampler.step": 0.2, "sampler.repeats": 100, "sampler.clean": False},
            "Song and Ermon 2019, section 5 and the authors' code: their sigma, 1 to 0.01, is of images in "
            "[0, 1], and epsilon 2e-5 is 0.2 of the least level's variance, in the convention of their code, "
            "on dequantized pixels, from uniform noise; "
            "their RefineNet, 30.1 M parameters, is fed x of unit variance and predicts -sigma score",
        ),
    }

    model: NCSNModel = NCSNModel()
    """The levels and the network."""
    optim: DiffusionOptim = DiffusionOptim()
    """Optimization."""
    sample: GuidedSampleConfig = GuidedSampleConfig()
    """Sampling."""
    sampler: AnnealedLangevinConfig = AnnealedLangevinConfig(name="annealed-langevin", step=0.7, repeats=3)
    """Sampler: annealed Langevin dynamics with few, long steps by default."""
    train: TrainConfig = TrainConfig(steps=2000, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


TIMES = 1000.0
"""Time of the highest noise level as the network receives it, for discrete and continuous levels."""

VLB_TERMS = 64
"""Step terms of the bound that an example evaluates: all of a shorter schedule's."""

MOST_VALUES = 64
"""Values of an example that implicit score matching differentiates by: those of the digits."""


def score_matching(score: Score, x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """Return lambda(sigma) l(sigma) of each example, (n,): half of |(x~ - x) / sigma + sigma score(x~)|^2.

    Without lambda = sigma^2 it is Eq. 5, whose target is the score of the conditional q(x~ | x) =
    N(x, sigma^2 I), -(x~ - x) / sigma^2; the optimum is the score of the noised data, and at it the loss is
    of one size at every level.

    Args:
        score: of the noisy data.
        x: the data, (n, *shape).
        sigma: (n,).
        eps: standard normal, like x.
    """
    scale = like(sigma, x)
    noisy = x + scale * eps
    residual = (noisy - x) / scale + scale * score(noisy)
    return residual.square().flatten(1).sum(1) / 2


Objective = Callable[[Score, Tensor, Tensor, Tensor, torch.Generator], Tensor]
"""(score, x, sigma, eps, rng) -> the weighted loss of each example, (n,)."""


def _sliced(score: Score, x: Tensor, sigma: Tensor, eps: Tensor, rng: torch.Generator) -> Tensor:
    v = torch.randint(2, x.shape, generator=rng, device=x.device).to(x) * 2 - 1
    return sliced_score_matching(score, x + like(sigma, x) * eps, sigma, v)


OBJECTIVES: Mapping[str, Objective] = {
    "dsm": lambda score, x, sigma, eps, rng: score_matching(score, x, sigma, eps),
    "ssm": _sliced,
    "ism": lambda score, x, sigma, eps, rng: implicit_score_matching(score, x + like(sigma, x) * eps, sigma),
}


def build_net(model: NCSNModel, data: DataInfo, schedule: NoiseLevels | VE, time_scale: float) -> nn.Module:
    """Return the network that predicts -sigma score: called as net(x, t, cond), fed x of unit variance.

    Raises:
        UsageError: for a network that can't take such data or levels.
    """
    if model.net == "refinenet":
        if not data.is_image or data.task != "unconditional" or not isinstance(schedule, NoiseLevels):
            raise UsageError(
                f"model.net=refinenet was asked for, with model.levels={model.levels} and data of shape "
                f"{data.shape}, task {data.task}: it has weights for each level, and reads no condition",
                "expected: images, data.task=unconditional, model.levels=discrete; next: model.net=auto",
            )
        return Scaled(RefineNet(data.shape[0], model.channels, len(schedule.levels)), schedule)
    energy = model.net == "energy"
    backbone = model.model_copy(update={"net": "auto"}) if energy else model
    net = build_backbone(backbone, data, time_range=TIMES / time_scale, time_scale=time_scale)
    return Scaled(Energy(net) if energy else net, schedule)


class NCSN(DiffusionRecipe):
    """NCSN: a score network and its schedule of levels."""

    schedule: NoiseLevels | VE

    def __init__(self, config: NCSNConfig, data: DataInfo) -> None:
        model = config.model
        if model.objective == "ism" and data.dims > MOST_VALUES:
            raise UsageError(
                f"model.objective=ism needs a backward pass for each of the {data.dims:,} values of an "
                f"example of {data.name!r}, in every step",
                f"expected: at most {MOST_VALUES} values, as points and digits have",
                "next: model.objective=ssm, which estimates the divergence in one pass",
            )
        schedule: NoiseLevels | VE
        if model.levels == "discrete":
            schedule, time_scale = NoiseLevels(model.L, model.sigma_min, model.sigma_max), TIMES / model.L
        else:
            schedule, time_scale = VE(model.sigma_min, model.sigma_max), TIMES
        net = build_net(model, data, schedule, time_scale)
        super().__init__(config, data, schedule, net, ANNEALED_LANGEVIN, time_scale=time_scale)

    def stages(self) -> Sequence[Stage]:
        """Return the stages; all objectives but dsm hold a derivative of the network."""
        first, *rest = super().stages()
        twice = self.config.model.objective != "dsm"
        return [replace(first, phases=[replace(p, second_order=twice) for p in first.phases]), *rest]

    @property
    def spreads(self) -> bool:
        return super().spreads or bool(self.config.model.dequantize)

    def levels(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        """Return times drawn uniformly: from 1..L, int64, or from T_MIN..1; sigma is then even in its log."""
        if isinstance(self.schedule, NoiseLevels):
            return torch.randint(1, len(self.schedule.levels) + 1, (n,), generator=rng, device=device)
        return T_MIN + (1 - T_MIN) * torch.rand(n, generator=rng, device=device)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the objective, for dsm L of Eq. 6: a mean over levels, examples and an example's values."""
        rng = context.rng
        x = self.training_x(batch, rng)
        t = self.levels(len(x), rng, x.device)
        sigma = self.schedule.sigma(t)
        eps = torch.randn(x.shape, generator=rng, device=x.device)
        cond = self.condition(batch, rng)

        def score(noisy: Tensor) -> Tensor:
            return -self.net(noisy, t, cond) / like(sigma, noisy)

        objective = OBJECTIVES[self.config.model.objective]
        loss = objective(score, x, sigma, eps, rng).mean() / self.data.dims
        return Loss(loss, log={"loss": loss.detach()})

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the variational bound of the chain down the levels; none with continuous levels.

        The network defines an ancestral chain as DDPM's does (Ho et al. 2020, arXiv:2006.11239, Eq. 5), with
        variance beta-tilde; Langevin dynamics draw from no density that is known.
        """
        if not isinstance(self.schedule, NoiseLevels):
            return []
        denoise, levels = self.denoiser(), self.data.levels
        decoder = gaussian_log_prob if levels is None else discretized_gaussian(levels)
        pieces = bound(denoise, x, noise=noise, variance="beta-tilde", decoder=decoder, terms=VLB_TERMS)
        terms, count = pieces.shape[1] - 2, len(self.schedule.levels)
        note = f"of sampler=ancestral, variance beta-tilde; {terms} of {count - 1} step terms an example"
        return [Likelihood(-pieces.sum(1), "vlb", k=count, calls=terms + 1, note=note)]
