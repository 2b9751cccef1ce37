"""The sub-variance-preserving SDE.

Song et al. 2021, arXiv:2011.13456, Eq. 12: the mean of the variance-preserving SDE, and a variance that is
never above its own: g^2 = beta (1 - exp(-2 B)), B the integral of beta. Its likelihoods are the paper's best.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from zoo_core.config import Preset
from zoo_core.diffusion.sdes import SubVP
from zoo_core.diffusion.specs import DPMPP_SDE
from zoo_core.nn.backbone import DDPM_PP, build_backbone
from zoo_core.types import DataInfo
from zoo_sde.continuous import MNIST, PAPER_TRAINING, PLANE, POINTS, TIME_SCALE, TINY, ScoreSDE, SDEConfig
from zoo_sde.vp_sde import DIGITS, VPSDEModel


class SubVPSDEConfig(SDEConfig):
    """One run of the sub-variance-preserving SDE."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        "default@digits": DIGITS,
        "default@mnist": MNIST,
        **{f"default@{name}": POINTS for name in PLANE},
        "paper@cifar10": Preset(
            {**DDPM_PP, **PAPER_TRAINING, "train.ema.decay": 0.9999}
            | {"sampler.name": "euler-maruyama", "sample.steps": 1000},
            "Song et al. 2021, appendix H and the authors' config: DDPM++; without random flips; the 1,000 "
            "steps are spaced as `euler-maruyama` spaces them, not evenly in time",
        ),
    }

    model: VPSDEModel = VPSDEModel()
    """The SDE and the network."""


class SubVPSDE(ScoreSDE):
    """A score model of the sub-variance-preserving SDE."""

    def __init__(self, config: SubVPSDEConfig, data: DataInfo) -> None:
        model = config.model
        net = build_backbone(model, data, time_scale=TIME_SCALE)
        schedule = SubVP(model.beta_min, model.beta_max)
        super().__init__(config, data, schedule, net, DPMPP_SDE, time_scale=TIME_SCALE)
