"""Image to image with a conditional game (Isola, Zhu, Zhou and Efros 2016, arXiv:1611.07004), of pairs.

A U-Net g makes an image y of a source x, and a critic of patches tells (x, y) from (x, g(x, z)):

    g* = arg min_g max_D  E[log D(x, y)] + E[log(1 - D(x, g(x, z)))] + lambda E[|y - g(x, z)|_1]     (Eq. 4)

with (x, y) drawn together from the pairs, lambda = 100, and |.|_1 the mean over values; y is the target that
belongs to x. As in the paper g minimizes -log D, D's loss is halved, and z is dropout in the decoder, drawn
in sampling as in training. The paper's batch norm uses the statistics of the batch it translates, and its
batch is one image: that is instance norm (`model.norm`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from zoo_core.config import DEFAULTS, EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.nn.dcgan import init_weights
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.training.stated import adam, ema
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss, SampleRequest, Samples
from zoo_gan.game import GameOptim, watch
from zoo_gan.losses import NONSATURATING, least_squares
from zoo_gan.patches import PatchCritic
from zoo_gan.translators import UNet, UNetModel


class Pix2PixModel(UNetModel):
    """The translator, the critic and their losses."""

    reconstruction: float = Field(100.0, ge=0)
    """lambda: weight of the mean absolute difference between translation and target."""
    loss: Literal["nonsaturating", "least-squares"] = "nonsaturating"
    """Adversarial loss: cross-entropy (as in the paper), or least squares."""


class Pix2PixConfig(RunConfig):
    """Image to image from pairs."""

    PRESETS = {
        "paper": Preset(
            {
                "model.generator_width": 64,
                "model.critic_width": 64,
                "model.patch_layers": 3,
                "model.norm": "instance",
                "model.reconstruction": 100.0,
                "train.batch_size": 1,
                **adam("optim.critic", lr=2e-4, betas=(0.5, 0.999)),
                **adam("optim.generator", lr=2e-4, betas=(0.5, 0.999)),
                **ema(),
                "data.hflip": True,
            },
            "Isola et al. 2016, sections 3 and 6.1, for 256x256: data=folder data.pairs=side-by-side "
            "data.size=256",
        ),
        "tiny": Preset(
            {
                "model.generator_width": 8,
                "model.critic_width": 8,
                "train.steps": 20,
                "train.batch_size": 16,
                "train.log_every": 5,
            },
            "a few seconds, for tests",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {"train.steps": 2600}, "for 28x28 and 32x32: sized for eight minutes of one core"
        ),
    }

    model: Pix2PixModel = Pix2PixModel()
    """Networks and losses."""
    optim: GameOptim = GameOptim()
    """Optimizers."""
    train: TrainConfig = TrainConfig(steps=1500, batch_size=32, ema=EmaConfig(decay=0.98))
    """Training."""


def reconstruction(made: Tensor, target: Tensor) -> Tensor:
    """Return E[|y - g(x, z)|_1], the mean over values; y is the target, not the source (Eq. 3)."""
    return (target - made).abs().mean()


class Pix2Pix(Recipe):
    """A U-Net and a critic of pairs.

    Raises:
        UsageError: for sides that can't be halved, or that leave the critic no patch.
    """

    def __init__(self, config: Pix2PixConfig, data: DataInfo) -> None:
        super().__init__()
        model = config.model
        channels, height, width = data.shape
        size, both = (height, width), (data.image_channels, channels)
        self.config = config
        self.generator = UNet(model, both, size)
        self.critic = PatchCritic(model, sum(both), size)
        self.adversarial = least_squares() if model.loss == "least-squares" else NONSATURATING
        if model.init == "dcgan":
            self.apply(init_weights)

    # -- training

    def stages(self) -> Sequence[Stage]:
        optim = self.config.optim
        phases = [
            Phase("critic", self.critic_phase, [self.critic], "critic"),
            Phase("generator", self.generator_phase, [self.generator], "generator"),
        ]
        optimizers = {"critic": optim.critic, "generator": optim.generator}
        return [Stage("adversarial", phases, optimizers, ema={"generator": self.config.train.ema})]

    def made(self, batch: Batch, context: Context) -> Tensor:
        """Return the translations of a batch's sources."""
        rng = context.rng

        def uniforms(shape: Sequence[int]) -> Tensor:
            return torch.rand(len(batch), *shape, generator=rng, device=rng.device)

        return self.generator(source_of(batch.cond), uniforms)

    def critic_phase(self, batch: Batch, context: Context) -> Loss:
        """Return half the critic's loss on a batch of pairs and on the sources with translations."""
        with torch.no_grad():
            made = self.made(batch, context)
        real_score, fake_score = self.critic(batch.x, batch.cond), self.critic(made, batch.cond)
        log = watch(real_score, fake_score, self.adversarial.boundary)
        return Loss(self.adversarial.critic(real_score, fake_score) / 2, log=log)

    def generator_phase(self, batch: Batch, context: Context) -> Loss:
        """Return the translator's loss: adversarial and L1 terms."""
        made = self.made(batch, context)
        game = self.adversarial.generator(self.critic(made, batch.cond))
        l1 = reconstruction(made, batch.x)
        weight = self.config.model.reconstruction
        return Loss(game + weight * l1, log={"game": game.detach(), "l1": l1.detach()})

    # -- sampling

    def critic_scores(self, x: Tensor, cond: Cond | None) -> Tensor:
        """Return the critic's mean score over the patches of each translation, (n,)."""
        return self.critic(x, cond).reshape(len(x), -1).mean(1)

    def sample(self, request: SampleRequest) -> Samples:
        """Translate the requested sources."""
        assert request.cond is not None
        return Samples(self.translate(source_of(request.cond), noise=request.noise))

    def translate(self, x: Tensor, *, noise: Seeds) -> Tensor:
        """Return translations of sources (n, C', H, W); dropout of sample k is drawn from stream k."""
        return self.generator(x, noise.rand)


def source_of(cond: Cond) -> Tensor:
    """Return the images that are to be translated."""
    assert cond.image is not None
    return cond.image
