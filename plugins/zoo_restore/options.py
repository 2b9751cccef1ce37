"""Options of operators and methods; torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zoo_core.config import Config


class InpaintConfig(Config):
    """Options of `inpaint`."""

    mask: str = "center"
    """Hidden pixels: center (the middle half of each side), random (each pixel with probability `fraction`,
    the same for all images), or an image file of the images' size whose white pixels are hidden."""
    fraction: float = Field(0.5, gt=0, lt=1)
    """Probability that mask=random hides a pixel."""


class LowresConfig(Config):
    """Options of `lowres`."""

    factor: int | None = Field(None, ge=2)
    """Side of the blocks of pixels that are averaged; none for 2 below 16 pixels a side and 4 from there."""


class BlurConfig(Config):
    """Options of `blur`."""

    std: float | None = Field(None, gt=0)
    """Standard deviation of the Gaussian kernel, pixels; none for 1 below 16 pixels a side, 2 from there."""
    threshold: float = Field(0.01, ge=0, lt=1)
    """Singular values below this fraction of the largest are set to 0: the blur keeps no trace of those
    components."""


class RepaintConfig(Config):
    """Options of `repaint`."""

    repeats: int = Field(5, ge=1)
    """Passes through each step, with the noise of the step added again between them: U in the paper."""


class DDRMConfig(Config):
    """Options of `ddrm`."""

    eta: float = Field(0.85, ge=0, le=1)
    """Fraction of fresh noise in components that the measurement does not determine."""
    eta_b: float = Field(1.0, ge=0, le=1)
    """Weight of the measurement in components that are measured more accurately than the noise level."""


class PiGDMConfig(Config):
    """Options of `pigdm`."""

    covariance: Literal["scalar", "jacobian"] = "scalar"
    """Covariance of x0 given x: scalar, r^2 I with r^2 = c sigma^2 / (c + sigma^2); or sigma^2 dD/dx, which
    takes `iterations` backward passes per step."""
    prior_var: float = Field(1.0, gt=0)
    """Variance c of the data in r^2."""
    step: Literal["score", "published"] = "score"
    """Update: a step with the score of the posterior; or the one of the paper, whose guidance is added to the
    step with another weight (covariance=scalar only)."""
    eta: float = Field(1.0, ge=0, le=1)
    """Fraction of the noise of the posterior, as of the sampler `ddim`."""
    iterations: int = Field(10, ge=1)
    """Most iterations of the conjugate gradient method per step."""


class DPSConfig(Config):
    """Options of `dps`."""

    scale: float = Field(1.0, gt=0)
    """Step length zeta'."""
    normalize: bool = True
    """Divide the step length by the norm of the residual, as the paper does."""


class SDEditConfig(Config):
    """Options of `sdedit`."""

    strength: float = Field(0.5, gt=0)
    """Noise level sigma that the degraded image is noised to."""
