"""Options of the samplers that have any; torch-free, so that a listing can read them."""

from __future__ import annotations

from pydantic import Field

from zoo_core.config import SamplerConfig


class DDIMConfig(SamplerConfig):
    """Options of `ddim`."""

    eta: float = Field(0.0, ge=0, le=1)
    """Share of the posterior's noise: 0 is deterministic, 1 is ancestral."""
