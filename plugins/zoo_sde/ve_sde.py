"""The variance-exploding SDE.

Song et al. 2021, arXiv:2011.13456, Eq. 9: dx = sqrt(d sigma^2 / dt) dw with sigma(t) geometric, the limit of
NCSN's schedule of levels. The paper's sigma_max, 50, is the largest distance between two images of CIFAR-10
(technique 1 of Song and Ermon 2020, arXiv:2006.09011); digits of 64 pixels lie nearer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from zoo_core.config import DEFAULTS, Preset
from zoo_core.diffusion.presets import LARGER_IMAGES, ON_A_GPU, POINTS, TINY
from zoo_core.diffusion.scaling import Scaled
from zoo_core.diffusion.sdes import VE
from zoo_core.diffusion.specs import DPMPP_SDE
from zoo_core.nn.backbone import NCSN_PP, build_backbone
from zoo_core.training.stated import ema
from zoo_core.types import DataInfo
from zoo_sde.continuous import PAPER_TRAINING, TIME_SCALE, ScoreSDE, SDEConfig, SDEModel


class VESDEModel(SDEModel):
    """The SDE, and the network."""

    sigma_min: float = Field(0.01, gt=0)
    """sigma(0)."""
    sigma_max: float = Field(10.0, gt=0)
    """sigma(1): about the largest distance between two examples."""


class VESDEConfig(SDEConfig):
    """One run of the variance-exploding SDE."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {**LARGER_IMAGES.overrides, "model.sigma_max": 50.0},
            f"{LARGER_IMAGES.source}; a larger sigma_max, because larger images are further apart",
        ),
        "gpu@image<=48": Preset({**ON_A_GPU.overrides, "model.sigma_max": 50.0}, ON_A_GPU.source),
        "default@points": POINTS,
        "paper@cifar10": Preset(
            {**NCSN_PP, **PAPER_TRAINING, "model.sigma_min": 0.02, "model.sigma_max": 100.0}
            | {"model.fourier_scale": 136.3, **ema(decay=0.999)}
            | {"sampler.name": "predictor-corrector", "sampler.snr": 0.16, "sample.steps": 1000},
            "Song et al. 2021, appendix H and the authors' config: NCSN++; their sigma, 0.01 to 50, is of "
            "images in [0, 1], and their Fourier features, of scale 16, are of log sigma, which is 16 "
            "log(5000) of the time; the network sees x of unit variance",
        ),
    }

    model: VESDEModel = VESDEModel()
    """The SDE and the network."""


class VESDE(ScoreSDE):
    """A score model of the variance-exploding SDE; its network sees data of unit variance at every level."""

    def __init__(self, config: VESDEConfig, data: DataInfo) -> None:
        model = config.model
        schedule = VE(model.sigma_min, model.sigma_max)
        net = Scaled(build_backbone(model, data, time_range=1.0, time_scale=TIME_SCALE), schedule)
        super().__init__(config, data, schedule, net, DPMPP_SDE, time_scale=TIME_SCALE)
