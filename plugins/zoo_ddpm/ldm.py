"""Latent diffusion (Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models",
arXiv:2112.10752).

An autoencoder is trained first and then frozen; a diffusion model learns its codes z = encode(x), scaled to
unit variance, by (Eq. 2 of the paper)

    L = E_{z, eps, t} || eps - eps_theta(z_t, t) ||^2,

and samples are decoded. The autoencoder is any plugin that encodes and decodes, found in the registry by
name. Samples are at best as good as its reconstructions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from zoo_core.config import DEFAULTS, EmaConfig, OptimizerConfig, Preset, RunConfig, TrainConfig, strict_yaml
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.options import GuidedSampleConfig
from zoo_core.diffusion.recipe import DiffusionOptim
from zoo_core.diffusion.specs import ANCESTRAL
from zoo_core.training.recipe import LossFunction, Stage
from zoo_core.types import DataInfo, SampleRequest, Samples
from zoo_ddpm.codec import Codec, build_autoencoder, recorded_name
from zoo_ddpm.ddpm import Chain, ChainModel


class LDMModel(ChainModel):
    """The autoencoder, the chain, and the network of its codes."""

    autoencoder: str = "beta-vae"
    """Registered name of the autoencoder, a model that encodes and decodes; distribution:NAME for a third
    party's, which is how it is recorded."""
    autoencoder_share: float = Field(0.3, gt=0, lt=1)
    """Fraction of the run's steps for the autoencoder's stages; the rest are the diffusion's."""
    prediction: Literal["eps", "x0", "v"] = "v"
    """Output of the network."""
    clip_x0: Literal[False] = False
    """Must be false: latent codes have no fixed range."""
    width: int = Field(256, ge=2, multiple_of=2)
    """MLP and transformer: width."""

    @field_validator("autoencoder")
    @classmethod
    def _with_distribution(cls, given: str) -> str:
        return recorded_name(given)


class LDMConfig(RunConfig):
    """One run of latent diffusion."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {"train.steps": 80, "train.batch_size": 32, "sample.steps": 6, "autoencoder.preset": "tiny"}
            | {"model.channels": 16, "model.width": 32, "model.T": 100}
            | {"model.beta_1": 1e-3, "model.beta_T": 0.2},
            "for tests: seconds on one core; T is a tenth and the betas ten times as large",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {"model.autoencoder_share": 0.65, "train.steps": 4500, "train.batch_size": 64}
            | {"sampler.name": "dpmpp-2m", "sample.steps": 15},
            "for 28x28 and 32x32: sized for eight minutes of one core; of 120 epochs of diffusion on emoji "
            "some samples were copies",
        ),
    }

    model: LDMModel = LDMModel()
    """The autoencoder, the chain and the network."""
    autoencoder: dict[str, Any] = {}
    """Options of the autoencoder, as `zoo show` lists them: autoencoder.model.latent_dim=8; its preset is
    `latent` where it has one."""
    optim: DiffusionOptim = DiffusionOptim(net=OptimizerConfig(lr=1e-3, schedule="cosine", warmup=100))
    """Optimization of the diffusion; autoencoder.optim is the autoencoder's."""
    sample: GuidedSampleConfig = GuidedSampleConfig(steps=100)
    """Sampling."""
    train: TrainConfig = TrainConfig(steps=6000, batch_size=128, ema=EmaConfig(decay=0.999))
    """Training; the average is the diffusion's."""

    @field_validator("autoencoder", mode="before")
    @classmethod
    def _read_texts(cls, given: Any) -> Any:
        return _as_yaml(given)


def _as_yaml(value: Any) -> Any:
    """Return plain data whose texts are read as YAML reads them: an option's type is not known here."""
    if isinstance(value, Mapping):
        return {key: _as_yaml(inner) for key, inner in value.items()}
    return strict_yaml.parse(value, "autoencoder") if isinstance(value, str) and value else value


class LDM(Chain):
    """An autoencoder, and a diffusion model of its codes."""

    def __init__(self, config: LDMConfig, data: DataInfo) -> None:
        model = config.model
        autoencoder = build_autoencoder(
            model.autoencoder, config.autoencoder, config.data.name, data, config.providers.data
        )
        codec = Codec(autoencoder, model.autoencoder, torch.zeros(2, *data.shape))
        latent = replace(data, shape=codec.shape, levels=None)
        super().__init__(config, latent, ANCESTRAL)
        self.codec = codec

    def stages(self) -> Sequence[Stage]:
        """Return the autoencoder's stages, then the diffusion's, which see codes in place of examples."""
        first = self.codec.stages(self.config.model.autoencoder_share)
        left = 1 - sum(stage.fraction for stage in first if stage.phases)
        train, *later = (
            replace(
                stage,
                fraction=left * stage.fraction,
                phases=[replace(phase, loss=self._of_codes(phase.loss)) for phase in stage.phases],
            )
            for stage in super().stages()
        )
        return [*first, replace(train, begin=self.codec.freeze), *later]

    def _of_codes(self, loss: LossFunction) -> LossFunction:
        return lambda batch, context: loss(replace(batch, x=self.codec.encode(batch.x)), context)

    def denoiser(self) -> SigmaDenoiser:
        """Return the network as a Denoiser of codes: no likelihood of examples follows from it."""
        return SigmaDenoiser(self.net, self.schedule, self.prediction, space="latent")

    def encode(self, x: Tensor) -> Tensor:
        """Return the scaled codes of examples, which the diffusion learns."""
        return self.codec.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Return the examples that scaled codes stand for, (n, *shape)."""
        return self.codec.decode(z)

    def sample(self, request: SampleRequest) -> Samples:
        """Draw codes with the request's sampler, or with the model's own, and decode them."""
        drawn = super().sample(request)
        states = tuple(self.decode(state) for state in drawn.trajectory)
        return Samples(self.decode(drawn.x), drawn.calls + 1, states, drawn.sigmas)
