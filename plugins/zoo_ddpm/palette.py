"""Palette (Saharia et al. 2022, "Palette: Image-to-Image Diffusion Models", arXiv:2111.05826).

A diffusion model of images y given an image x, which is concatenated to the noisy y along the channels of the
network's input; trained by (section 2 of the paper, with p = 2)

    L = E || eps - f(x, sqrt(gamma) y + sqrt(1 - gamma) eps, gamma) ||^2,

so that one loss serves every task with pairs: super-resolution, inpainting,
colorization, images from edges (`data.source`). Where the images of every training pair are equal the
value is known, and copied from x: in inpainting, all but the hole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from zoo_core.config import DEFAULTS, DataConfig, EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.data.loading import TrainData
from zoo_core.diffusion.options import GuidedSampleConfig
from zoo_core.diffusion.presets import LARGER_IMAGES, ON_A_GPU
from zoo_core.diffusion.recipe import DiffusionOptim
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Stage
from zoo_core.types import Cond, DataInfo, SampleRequest, Samples
from zoo_ddpm.ddpm import Chain, ChainModel

PAIRS = 10_000
"""Most training pairs that tell which pixels are known."""


class PaletteConfig(RunConfig):
    """One run of Palette."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"train.steps": 60, "train.batch_size": 32, "sample.steps": 10, "model.channels": 16}
            | {"model.T": 100, "model.beta_1": 1e-3, "model.beta_T": 0.2},
            "for tests: seconds on one core; T is a tenth and the betas ten times as large",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": LARGER_IMAGES,
        "gpu@image<=48": ON_A_GPU,
    }

    data: DataConfig = DataConfig(source="lowres")
    """Data."""
    model: ChainModel = ChainModel()
    """The chain and the network."""
    optim: DiffusionOptim = DiffusionOptim()
    """Optimization."""
    sample: GuidedSampleConfig = GuidedSampleConfig()
    """Sampling."""
    train: TrainConfig = TrainConfig(steps=1500, batch_size=32, ema=EmaConfig(decay=0.995))
    """Training."""


class Palette(Chain):
    """A network of noisy images beside the images that they are made from, and its chain."""

    known: Tensor

    def __init__(self, config: PaletteConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.register_buffer("known", torch.zeros(data.shape, dtype=torch.bool))

    def stages(self) -> Sequence[Stage]:
        train, *later = super().stages()
        return [replace(train, begin=self.find_known), *later]

    def find_known(self, data: TrainData) -> None:
        """Set which values are known: those at which the images of every training pair are equal."""
        known = torch.ones_like(self.known)
        for rows in torch.arange(min(PAIRS, len(data))).split(500):
            batch = data.batch(rows)
            source = _source(batch.cond)
            same = source.shape == batch.x.shape
            known &= (source == batch.x).all(0) if same else torch.zeros_like(known)
        self.known.copy_(known)

    def sample(self, request: SampleRequest) -> Samples:
        """Draw images made from the request's; what is known is copied, to the bit."""
        assert request.cond is not None
        drawn, source = super().sample(request), _source(request.cond)
        if not bool(self.known.any()):
            return drawn
        return replace(drawn, x=torch.where(self.known, source, drawn.x))

    def translate(self, x: Tensor, *, noise: Seeds) -> Tensor:
        """Return an image drawn for each of the source images (n, C', H, W), (n, C, H, W)."""
        return self.sample(SampleRequest(noise, Cond(image=x), steps=self.config.sample.steps)).x


def _source(cond: Cond) -> Tensor:
    """Return the images that others are to be made from."""
    assert cond.image is not None
    return cond.image
