"""Denoisers and samplers: a diffusion model in sigma-space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from zoo_core.seeds import Seeds
from zoo_core.types import Cond


@runtime_checkable
class Denoiser(Protocol):
    """The posterior mean E[x0 | x] where x = x0 + sigma * eps: a diffusion model in sigma-space.

    Attributes:
        sigma_min: the lowest level the network was trained for.
        sigma_max: the highest level; samplers start there.
        prior_std: standard deviation of x at the start: sqrt(1 + sigma_max^2) for a variance-preserving
            schedule on unit-variance data, sigma_max for a variance-exploding one.
        levels: the trained levels, ascending, where they are discrete; None where sigma is continuous.
        space: "data", or "latent" where x is an autoencoder's code (then no likelihood of data exists).

    A denoiser may have an attribute `coupling`, see `coupling_of`.
    """

    sigma_min: float
    sigma_max: float
    prior_std: float
    levels: Tensor | None
    space: Literal["data", "latent"]

    def alpha(self, sigma: Tensor) -> Tensor:
        """Return the signal's coefficient at level sigma (1 for variance-exploding)."""
        ...

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        """Return E[x0 | x]: x (n, *shape), sigma a scalar tensor or (n,)."""
        ...


Trace = Callable[[int, Tensor, Tensor, Tensor], None]
"""Called by a sampler after each network call with (step, sigma, x, x0)."""


Coupling = Literal["independent", "dependent"]
"""Whether eps is independent of x0 in training. If it is not, the probability flow is exact, but the score is
not (x0 - x) / sigma^2: what needs the score is refused."""


def coupling_of(denoise: Denoiser) -> Coupling:
    """Return a denoiser's `coupling`; "independent" for one without the attribute."""
    found: Coupling = getattr(denoise, "coupling", "independent")
    return found


@runtime_checkable
class Sampler(Protocol):
    """Noise to data through any Denoiser.

    x is (n, *shape) at level sigmas[0]; sigmas is 1-D, descending, ending in 0. A sampler's options follow
    `noise` as keywords; they are the fields of its registered Config.
    """

    def __call__(
        self, denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Trace | None = None
    ) -> Tensor: ...


@runtime_checkable
class HasPosterior(Protocol):
    """A Denoiser that learned the variance of its reverse steps (improved DDPM)."""

    def log_var(self, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Return the log-variance of x at sigma_next given x at sigma, in sigma-space, like x."""
        ...


@runtime_checkable
class HasDenoiser(Protocol):
    """A recipe that holds a Denoiser: every sampler can draw from it."""

    def denoiser(self) -> Denoiser: ...


def spreads_of(recipe: object) -> bool:
    """Return a recipe's `spreads`, true for one without the attribute.

    It says whether training spreads images over their levels' bins. A network of bare levels has no density
    near them, so its probability flow has no likelihood of dequantized images.
    """
    found: bool = getattr(recipe, "spreads", True)
    return found
