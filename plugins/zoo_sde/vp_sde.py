"""The variance-preserving SDE.

Song et al. 2021, "Score-Based Generative Modeling through Stochastic Differential Equations",
arXiv:2011.13456, Eq. 11: dx = -beta(t) x / 2 dt + sqrt(beta(t)) dw, the limit of DDPM's chain. The loss and
the other parts that the SDEs share are in `zoo_sde.continuous`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from zoo_core.config import Preset, later
from zoo_core.diffusion.presets import LARGER_IMAGES, ON_A_GPU, POINTS, TINY
from zoo_core.diffusion.sdes import VP
from zoo_core.diffusion.specs import DPMPP_SDE
from zoo_core.errors import UsageError
from zoo_core.nn.backbone import DDPM_PP, build_backbone
from zoo_core.training.stated import ema
from zoo_core.types import DataInfo
from zoo_sde.continuous import PAPER_TRAINING, TIME_SCALE, ScoreSDE, SDEConfig, SDEModel


class VPSDEModel(SDEModel):
    """The SDE, and the network."""

    beta_min: float = Field(0.1, gt=0)
    """beta(0)."""
    beta_max: float = Field(20.0, gt=0)
    """beta(1); the schedule is linear."""
    prediction: Literal["eps", "v"] = later("eps", since="0.2.0")
    """What the network predicts: the noise, or v = alpha eps - sigma x0, whose squared error weights high
    noise more. model.weighting=likelihood is of eps."""


SMALL_IMAGES = Preset(
    {"model.beta_max": 10.0},
    "noise of 12 times the data's standard deviation hides 64 pixels; the paper's 152 times are for 3,072",
)


class VPSDEConfig(SDEConfig):
    """One run of the variance-preserving SDE."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        "default@image<=16": SMALL_IMAGES,
        "default@image<=48": Preset(
            {**LARGER_IMAGES.overrides, "model.prediction": "v"},
            f"{LARGER_IMAGES.source}; v, because an error of eps is multiplied by sigma",
        ),
        "gpu@image<=48": ON_A_GPU,
        "default@points": POINTS,
        "paper@cifar10": Preset(
            {**DDPM_PP, **PAPER_TRAINING, **ema(decay=0.9999)}
            | {"sampler.name": "euler-maruyama", "sample.steps": 1000},
            "Song et al. 2021, appendix H and the authors' config: DDPM++; the 1,000 "
            "steps are spaced as `euler-maruyama` spaces them, not evenly in time",
        ),
    }

    model: VPSDEModel = VPSDEModel()
    """The SDE and the network."""


class VPSDE(ScoreSDE):
    """A score model of the variance-preserving SDE.

    Raises:
        UsageError: where the weighting is not one of the prediction.
    """

    sde: ClassVar[type[VP]] = VP
    """Built of beta_min and beta_max."""

    def __init__(self, config: VPSDEConfig, data: DataInfo) -> None:
        model = config.model
        if model.prediction != "eps" and model.weighting == "likelihood":
            raise UsageError(
                f"model.weighting=likelihood with model.prediction={model.prediction}",
                "expected: eps, whose squared error at its times is the bound",
                "next: model.prediction=eps, or model.weighting=score",
            )
        net = build_backbone(model, data, time_range=1.0, time_scale=TIME_SCALE)
        schedule = self.sde(model.beta_min, model.beta_max)
        super().__init__(config, data, schedule, net, DPMPP_SDE, model.prediction, time_scale=TIME_SCALE)
