"""StyleGAN (Karras, Laine and Aila 2019, arXiv:1812.04948), StyleGAN2 (Karras et al. 2020, arXiv:1912.04958),
and adaptive augmentation (Karras et al. 2020, arXiv:2006.06676).

The game is the non-saturating one with R1 on the critic. R1, every 16 steps, and the path-length penalty,
every 8, are lazy: phases that share their network's optimizer and have the weight of all the steps they
stand for, while its rate and moments allow for them (StyleGAN2, appendix B). Path length (StyleGAN2, Eq. 4)
asks that a step in w change the image by the same amount everywhere and in every direction,

    E_{w, y} (|J_w^T y| - a)^2,    y an image of normal noise, a the running mean of |J_w^T y|.

Neither version grows in training, as the second paper does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from zoo_core.config import DEFAULTS, EmaConfig, OptimizerConfig, Preset, RunConfig, SampleConfig, TrainConfig
from zoo_core.errors import UsageError
from zoo_core.training.recipe import AfterStep, Phase, Stage
from zoo_core.training.stated import adam, ema
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss, SampleRequest
from zoo_gan.adaptive_augmentation import AdaptiveAugmentation
from zoo_gan.augmentation import Augmentation
from zoo_gan.game import Game, GameOptim
from zoo_gan.losses import NONSATURATING
from zoo_gan.penalties import lazily, path_lengths
from zoo_gan.stylegan_critic import StyleCritic
from zoo_gan.stylegan_networks import StyleGenerator, StyleNetworksModel, mix

W_SHARE = 0.005
"""Of a step's mean w in its running mean (StyleGAN's code)."""
PATH_SHARE = 0.01
"""Of an update's mean path length in its running mean (StyleGAN2, appendix B)."""
PATH_SHRINK = 2
"""The path-length penalty takes this fraction of a batch (StyleGAN2, appendix B)."""


class StyleGANModel(StyleNetworksModel):
    """The two networks, their penalties, and the augmentation."""

    mixing: float = Field(0.1, ge=0, le=1)
    """Fraction of training images generated with two styles, the second from a random layer on; 0.9 in the
    papers, whose generators have more layers."""
    r1: float = Field(0.1, ge=0)
    """Weight gamma of the R1 penalty gamma/2 E[|grad f(x)|^2] at real examples; 0 disables it."""
    path_weight: float = Field(2.0, ge=0)
    """Weight of the path length penalty; 0 disables it."""
    path_every: int = Field(8, ge=1)
    """Steps between two updates by the path length penalty; its weight is multiplied by this number."""
    augment: tuple[Augmentation, ...] = ("translation", "color", "cutout")
    """Adaptive augmentations of the images that the critic sees: [color, translation, cutout, flip,
    rotation]."""
    ada_target: float = Field(0.6, ge=0, lt=1)
    """Target of E[sign f(x)] at real images, which the augmentation probability is adjusted to; 0 always
    augments."""
    ada_images: int = Field(50_000, ge=1)
    """Minimum number of real images over which the augmentation probability goes from 0 to 1."""


MAPPING = {"generator.mapping": 0.01}
"""Factor on the learning rate of the mapping network; Karras et al. 2019, appendix C."""


class StyleGANOptim(GameOptim):
    """One optimizer a network, of the game's steps and the lazy penalties' together."""

    critic: OptimizerConfig = OptimizerConfig(lr=8e-3, betas=(0.0, 0.99))
    """Optimizer of the critic."""
    generator: OptimizerConfig = OptimizerConfig(lr=8e-3, betas=(0.0, 0.99), lr_mult=MAPPING)
    """Optimizer of the generator; the mapping network learns at a hundredth of its rate."""


class StyleGANSample(SampleConfig):
    """How samples are drawn."""

    truncation: float = Field(1.0, ge=0)
    """Truncation psi: w becomes mean + psi (w - mean). 1 disables it, 0 leaves a single style; values between
    give more typical and less varied images."""


PAPER = {
    "model.latent_dim": 512,
    "model.mapping_layers": 8,
    "model.generator_width": 64,
    "model.critic_width": 64,
    "model.max_width": 512,
    "model.mixing": 0.9,
    "train.batch_size": 64,
    "train.steps": 390_625,
    "data.hflip": True,
}
"""What the papers' networks and training have in common, at 256 x 256."""


class StyleGANConfig(RunConfig):
    """StyleGAN and StyleGAN2, with adaptive augmentation."""

    PRESETS = {
        "paper": Preset(
            PAPER
            | {
                "model.r1": 1.0,
                "model.path_weight": 2.0,
                "model.path_every": 4,
                "model.ada_images": 500_000,
                "model.augment": ("flip", "rotation", "translation", "color", "cutout"),
                **adam("optim.critic", lr=2.5e-3, betas=(0.0, 0.99)),
                **adam("optim.generator", lr=2.5e-3, betas=(0.0, 0.99), lr_mult=MAPPING),
                **ema(half_life=20_000.0),
            },
            "Karras et al. 2020 (arXiv:2006.06676), its code's paper256: FFHQ at 256x256, 25 million images",
        ),
        "paper-v1": Preset(
            PAPER
            | {
                "model.version": 1,
                "model.r1": 10.0,
                "model.r1_every": 1,
                "model.path_weight": 0.0,
                "model.augment": (),
                **adam("optim.critic", lr=2e-3, betas=(0.0, 0.99)),
                **adam("optim.generator", lr=2e-3, betas=(0.0, 0.99), lr_mult=MAPPING),
                **ema(half_life=10_000.0),
            },
            "Karras et al. 2019 (arXiv:1812.04948), appendix C: FFHQ, 25 million images, without growing",
        ),
        "tiny": Preset(
            {
                "model.generator_width": 8,
                "model.critic_width": 8,
                "model.latent_dim": 8,
                "train.steps": 24,
                "train.batch_size": 16,
                "train.log_every": 6,
            },
            "a few seconds, for tests",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {"train.steps": 1400, "train.batch_size": 16},
            "for 28x28 and 32x32: sized for eight minutes of one core",
        ),
    }

    model: StyleGANModel = StyleGANModel()
    """Networks."""
    optim: StyleGANOptim = StyleGANOptim()
    """Optimizers."""
    sample: StyleGANSample = StyleGANSample()
    """Sampling."""
    train: TrainConfig = TrainConfig(steps=3000, batch_size=32, ema=EmaConfig(decay=0.98))
    """Training."""


class StyleGAN(Game):
    """A style-based generator against a critic that sees augmented images; UsageError for points."""

    generator: StyleGenerator
    path_mean: Tensor
    path_seen: Tensor

    def __init__(self, config: StyleGANConfig, data: DataInfo) -> None:
        model = config.model
        if not data.is_image:
            raise UsageError(
                f"plugin 'stylegan' paints images layer by layer, and {data.name!r} has points",
                "expected: data=digits, or other images",
                "next: plugin=gan, which models points",
            )
        generator, critic = StyleGenerator(model, data), StyleCritic(model, data)
        super().__init__(config, data, generator, critic, NONSATURATING)
        self.adaptive: AdaptiveAugmentation | None = None
        if model.augment and model.ada_target:
            self.adaptive = AdaptiveAugmentation(model.augment, model.ada_target, model.ada_images)
        self.register_buffer("path_mean", torch.zeros(()))
        self.register_buffer("path_seen", torch.zeros(()))

    # -- training

    def stages(self) -> Sequence[Stage]:
        model = self.config.model
        (stage,) = super().stages()
        optimizers = dict(stage.optimizers)
        if model.r1:
            optimizers["critic"] = lazily(optimizers["critic"], model.r1_every)
        if model.path_weight:
            optimizers["generator"] = lazily(optimizers["generator"], model.path_every)
        return [replace(stage, optimizers=optimizers)]

    def phases(self) -> list[Phase]:
        """Return the game's updates, and the path-length penalty's on the generator."""
        *critics, generator = super().phases()
        phases = [*critics, replace(generator, after_step=self.after_generator)]
        if self.config.model.path_weight:
            lazy = Phase(
                "path",
                self.path_phase,
                updates=[self.generator],
                optimizer="generator",
                every=self.config.model.path_every,
                after_step=self.after_path,
            )
            phases.append(lazy)
        return phases

    def styled(self, n: int, context: Context) -> Tensor:
        """Return training's styles, (n, L, latent_dim): a fraction of them mixed."""
        rng, layers = context.rng, self.generator.synthesis.styles
        w, other = (self.generator.styled(self.generator.mapping(self.latents(n, context))) for _ in range(2))
        first = torch.randint(1, layers, (n,), generator=rng, device=rng.device)
        is_mixed = torch.rand(n, generator=rng, device=rng.device) < self.config.model.mixing
        return mix(w, other, torch.where(is_mixed, first, layers))

    def painted(self, styles: Tensor, context: Context) -> Tensor:
        """Return images of styles, with noise."""
        rng = context.rng
        drawn = torch.randn(len(styles), self.generator.noise_size, generator=rng, device=rng.device)
        return self.generator.synthesis(styles, self.generator.noise(drawn))

    def generated(self, n: int, cond: Cond | None, context: Context) -> Tensor:
        return self.painted(self.styled(n, context), context)

    def shown(self, x: Tensor, context: Context) -> Tensor:
        return super().shown(x, context) if self.adaptive is None else self.adaptive(x, context.rng)

    def tally(self, real: Tensor, fake: Tensor) -> Mapping[str, Tensor]:
        return {} if self.adaptive is None else self.adaptive.tally(real)

    def after_critic(self) -> AfterStep | None:
        return None if self.adaptive is None else self.steer

    def steer(self, sums: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
        """Move the probability of augmentation; an update by R1 has no scores and moves nothing."""
        if sums and self.adaptive is not None:
            self.adaptive.steer(sums)

    def generator_phase(self, batch: Batch, context: Context) -> Loss:
        styles = self.styled(len(batch), context)
        scores = self.critic(self.shown(self.painted(styles, context), context))
        own = styles[:, 0].detach()  # the first layer's is never mixed
        sums = {"w": own.sum(0), "count": torch.ones_like(own[:, 0]).sum()}
        log = {} if self.adaptive is None else {"augmented": self.adaptive.p.clone()}
        return Loss(self.adversarial.generator(scores), log=log, sums=sums)

    def after_generator(self, sums: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
        """Move the mean of w, to which truncation leads."""
        self.generator.w_mean.lerp_(sums["w"] / sums["count"], W_SHARE)

    def path_phase(self, batch: Batch, context: Context) -> Loss:
        """Return the path-length penalty with the weight of all the steps that it stands for."""
        model, rng = self.config.model, context.rng
        styles = self.styled(max(1, len(batch) // PATH_SHRINK), context)
        images = self.painted(styles, context)
        y = torch.randn(images.shape, generator=rng, device=rng.device) / math.sqrt(images[0, 0].numel())
        lengths = path_lengths(images, styles, y)
        sums = {"length": lengths.detach().sum(), "count": torch.ones_like(lengths).detach().sum()}
        mean = torch.lerp(self.path_mean, sums["length"] / sums["count"], PATH_SHARE)
        # As Adam corrects its moments: a mean that starts at 0 would shrink every length in a short run.
        mean = mean / torch.lerp(self.path_seen, torch.ones_like(mean), PATH_SHARE)
        penalty = (lengths - mean).square().mean()
        log = {"penalty": penalty.detach(), "length": sums["length"] / sums["count"]}
        return Loss(model.path_weight * model.path_every * penalty, log=log, sums=sums)

    def after_path(self, sums: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
        """Move the mean path length, and the weight that it has."""
        self.path_mean.lerp_(sums["length"] / sums["count"], PATH_SHARE)
        self.path_seen.lerp_(torch.ones_like(self.path_seen), PATH_SHARE)

    # -- sampling

    @property
    def styles(self) -> int:
        return self.generator.synthesis.styles

    def from_latents(self, z: Tensor, request: SampleRequest) -> Tensor:
        return self.mixed(z, z, self.styles, request)

    def mixed(self, z: Tensor, other: Tensor, first: int, request: SampleRequest) -> Tensor:
        """Return images with z's styles below layer `first` and the other's from it on, both truncated."""
        psi = self.config.sample.truncation
        w, w2 = (self.generator.styled(self.generator.mapping(latent), psi) for latent in (z, other))
        noise = self.generator.noise(request.noise.randn((self.generator.noise_size,)))
        return self.generator.synthesis(mix(w, w2, torch.full((len(z),), first, device=z.device)), noise)
