"""Options of the samplers that have any; torch-free, so that a listing can read them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from zoo_core.config import SampleConfig, SamplerConfig, later
from zoo_core.errors import MachineError, UsageError

Convention = Literal["lecture", "paper"]
"""Of a Langevin step of length a: x + a score + sqrt(2 a) z, or x + (a / 2) score + sqrt(a) z."""


class GuidedSampleConfig(SampleConfig):
    """How samples are drawn."""

    guidance_scale: float = Field(1.0, ge=0, le=101)
    """Scale of the guidance, as in diffusers: 1 is the conditional model without guidance, 0 the
    unconditional model; papers that write (1 + w) eps(cond) - w eps() have w = guidance_scale - 1."""
    guide: Literal["free", "classifier", "auto"] = "free"
    """Guidance: classifier-free, by a classifier of noisy data (model.classifier=true), or by a weaker model
    of the same kind (sample.guidance_run)."""
    guidance_run: str = later("", since="0.2.0")
    """With sample.guide=auto: folder of a run of the same plugin, data and task that was trained less, or has
    a smaller network."""
    guidance_step: int | None = later(None, since="0.2.0", ge=0)
    """Training step of the checkpoint of that run; none for its last one."""
    guidance_low: float = later(0.0, since="0.2.0", ge=0)
    """Lowest noise level sigma that is guided."""
    guidance_high: float | None = later(None, since="0.2.0", gt=0)
    """Highest noise level sigma that is guided; none for no limit."""


def _check_interval(low: str, least: float, high: str, most: float) -> None:
    if not least < most:
        raise UsageError(
            f"sampler.{low}={least:g} and sampler.{high}={most:g}: an interval of no length",
            f"expected: {low} < {high}",
        )


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


class UniPCConfig(SamplerConfig):
    """Options of `unipc`."""

    order: int = Field(2, ge=1, le=4)
    """Order p of the predictor: the number of evaluations that a step uses."""
    corrector: bool = True
    """Repeat each step with the evaluation at its end: order p + 1 at the same NFE."""


class ChurnConfig(SamplerConfig):
    """Options of `edm-stochastic`."""

    S_churn: float = Field(10.0, ge=0)
    """Amount of noise added over all steps: a step raises the level by a factor of 1 + S_churn / steps, at
    most sqrt(2); 0 is `heun`."""
    S_tmin: float = Field(0.05, ge=0)
    """Lowest level at which noise is added."""
    S_tmax: float = Field(50.0, ge=0)
    """Highest level at which noise is added."""
    S_noise: float = Field(1.003, gt=0)
    """Factor on the standard deviation of the added noise; above 1 for a network that removes too much."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        _check_interval("S_tmin", self.S_tmin, "S_tmax", self.S_tmax)
        return self


class RestartConfig(SamplerConfig):
    """Options of `restart`."""

    repeats: int = Field(2, ge=0)
    """Repetitions of the interval: K in the paper; 0 is `heun`."""
    inner_steps: int = Field(3, ge=1)
    """Steps of Heun's method through the interval, 2 NFE each."""
    t_min: float = Field(0.06, gt=0)
    """Lower end of the interval, a noise level: it is rounded to the nearest level of the grid."""
    t_max: float = Field(0.3, gt=0)
    """Upper end of the interval, to which noise is added."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        _check_interval("t_min", self.t_min, "t_max", self.t_max)
        return self


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
