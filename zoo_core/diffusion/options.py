"""Options of the samplers that have any; torch-free, so that a listing can read them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from zoo_core.config import SampleConfig, SamplerConfig, later
from zoo_core.errors import MachineError

Convention = Literal["lecture", "paper"]
"""Of a Langevin step of length a: x + a score + sqrt(2 a) z, or x + (a / 2) score + sqrt(a) z."""


class GuidedSampleConfig(SampleConfig):
    """How samples are drawn."""

    guidance_scale: float = Field(1.0, ge=0, le=101)
    """Scale of the guidance, as in diffusers: 1 is the conditional model without guidance, 0 the
    unconditional model; papers that write (1 + w) eps(cond) - w eps() have w = guidance_scale - 1."""
    guide: Literal["free", "classifier"] = "free"
    """Guidance: classifier-free, or by a classifier of noisy data (model.classifier=true)."""


class DDIMConfig(SamplerConfig):
    """Options of `ddim`."""

    eta: float = Field(0.0, ge=0, le=1)
    """Share of the posterior's noise: 0 is deterministic, 1 is ancestral."""


class LangevinConfig(SamplerConfig):
    """Options of `langevin`."""

    step: float = Field(0.1, gt=0, le=1)
    """Step length as a fraction of the variance at the noise level."""
    level: float = Field(0.2, gt=0)
    """The level, sigma: lower ones blur the data less and take longer, in proportion to 1 / sigma^2."""
    convention: Convention = "lecture"
    """Convention of a step of length a: x + a score + sqrt(2 a) z (lecture), or x + (a / 2) score + sqrt(a) z
    (paper)."""


class AnnealedLangevinConfig(SamplerConfig):
    """Options of `annealed-langevin`."""

    step: float = Field(0.15, gt=0, le=1)
    """Step length as a fraction of the variance at the noise level: epsilon / sigma_min^2 in the paper."""
    repeats: int = Field(8, ge=1)
    """Steps per noise level: T in the paper."""
    convention: Convention = "lecture"
    """Convention of a step of length a: x + a score + sqrt(2 a) z (lecture), or x + (a / 2) score + sqrt(a) z
    (paper)."""
    start: Literal["normal", "uniform"] = later("normal", since="0.1.0")
    """Initial distribution: N(0, sigma_max^2), or as in the paper uniform in [-1, 1], the range of an
    image."""
    clean: bool = True
    """Denoise once at the end; if false, as in the paper, samples keep the noise of the lowest level."""


class PredictorCorrectorConfig(SamplerConfig):
    """Options of `predictor-corrector`."""

    corrector_steps: int = Field(1, ge=0)
    """Langevin steps after each step of the reverse SDE."""
    snr: float = Field(0.16, gt=0, lt=1)
    """Signal-to-noise ratio r of the paper: a Langevin step is 2 r^2 of the variance, and stable below 1."""


class FlowConfig(SamplerConfig):
    """Options of `pf-ode`."""

    rtol: float = Field(1e-4, gt=0)
    """Error allowed in a step, relative to the sample."""
    atol: float = Field(1e-4, gt=0)
    """Error allowed in a step, absolute."""


class SchedulerConfig(SamplerConfig):
    """Options of `diffusers`: none but the scheduler's name, which is looked up before training."""

    @field_validator("name")
    @classmethod
    def _is_there(cls, name: str) -> str:
        from zoo_core.diffusion.schedulers import scheduler_class

        part = name.partition(":")[2]
        try:
            if part:
                scheduler_class(part)
        except MachineError:  # without diffusers a run can still be opened, and other samplers asked for
            pass
        return name
