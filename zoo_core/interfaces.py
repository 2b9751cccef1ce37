"""The four interfaces of the zoo, and the capabilities that a recipe may have beside them.

The harness and the evaluator ask "can you do this?" with `isinstance(recipe, HasLikelihood)`; they never
ask which family a model is of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from zoo_core.seeds import Seeds
from zoo_core.types import Cond, DataInfo, Likelihood, SampleRequest


@runtime_checkable
class Generator(Protocol):
    """Latents to data: z of (n, *latent_shape) to x of (n, *data.shape) in [-1, 1]."""

    latent_shape: tuple[int, ...]

    def __call__(self, z: Tensor, cond: Cond | None = None) -> Tensor: ...


@runtime_checkable
class Critic(Protocol):
    """Data to unbounded scores, (n, ...): logits, never after a sigmoid; a PatchGAN keeps its map."""

    def __call__(self, x: Tensor, cond: Cond | None = None) -> Tensor: ...


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


@runtime_checkable
class HasLikelihood(Protocol):
    """A recipe with a likelihood of data, or a bound on it."""

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return every kind of likelihood the model has for a batch.

        Args:
            x: (n, *shape) at the data's level centres (`2k / (L - 1) - 1`), or points.
            noise: per-example randomness.
            k: importance samples, for the kinds that use them.
        """
        ...


@runtime_checkable
class HasEncoder(Protocol):
    """A recipe that maps data to codes and back."""

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...


@runtime_checkable
class HasLatents(Protocol):
    """A recipe whose samples are a function of one standard normal latent.

    Attributes:
        latent_shape: of one latent.
    """

    @property
    def latent_shape(self) -> tuple[int, ...]: ...

    def from_latents(self, z: Tensor, request: SampleRequest) -> Tensor:
        """Return what latents (n, *latent_shape) give, (n, *data.shape).

        Args:
            z: as many as the request asks for.
            request: of the conditions, and of what else is random.
        """
        ...


@runtime_checkable
class HasStyles(HasLatents, Protocol):
    """A recipe whose generator takes a style in each of its layers.

    Attributes:
        styles: number of those layers.
    """

    @property
    def styles(self) -> int: ...

    def mixed(self, z: Tensor, other: Tensor, first: int, request: SampleRequest) -> Tensor:
        """Return pictures (n, C, H, W) with z's styles below layer `first`, and the other's from it on."""
        ...


@runtime_checkable
class HasViews(HasLatents, Protocol):
    """A recipe whose latent has two parts, side by side: what is shown, and how it is shown.

    Attributes:
        content_dim: dimensions of the first part.
    """

    @property
    def content_dim(self) -> int: ...


@runtime_checkable
class HasCodebook(Protocol):
    """A recipe whose codes are integers: an example has M of them, each one of K.

    Attributes:
        codebook: the codes' vectors, (K, dim).
    """

    @property
    def codebook(self) -> Tensor: ...

    def likeliest_codes(self, x: Tensor) -> Tensor:
        """Return the codes of examples, (n, M) int64 in [0, K)."""
        ...


@runtime_checkable
class HasOutput(Protocol):
    """A recipe whose decoder gives a distribution: its mean and a draw of it are two ways to sample."""

    def mean_and_draw(self, request: SampleRequest) -> tuple[Tensor, Tensor]:
        """Return E[x | z] and a draw of p(x | z) at one z from the prior, (n, *shape) each."""
        ...


@runtime_checkable
class Translator(Protocol):
    """A recipe that maps a picture to a picture."""

    def translate(self, x: Tensor, *, noise: Seeds) -> Tensor: ...


@runtime_checkable
class TwoWay(Translator, Protocol):
    """A translator that also knows the way back, from what it makes to what that is made from."""

    def translate_back(self, x: Tensor, *, noise: Seeds) -> Tensor: ...


@runtime_checkable
class Stylist(Protocol):
    """A recipe that paints one picture in the style of another."""

    def stylise(self, content: Tensor, style: Tensor) -> Tensor:
        """Return pictures (n, C, H, W) with the content of the first and the style of the second."""
        ...


@runtime_checkable
class Density(Protocol):
    """A closed-form density of points, for data whose truth is known."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (n,) for x of (n, D)."""
        ...

    def score(self, x: Tensor) -> Tensor:
        """Return the gradient of log p at x, like x."""
        ...


@runtime_checkable
class Smoothable(Protocol):
    """A density whose convolution with a normal is known too."""

    def smoothed(self, sigma: float) -> Density:
        """Return the density of x + sigma eps."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """A frozen feature network that pictures are compared in.

    Attributes:
        name: as printed in a column: "digits" gives `FD[digits]`; only "inception" may print `FID`.
        sha256: of its weights.
        dim: number of features.
    """

    name: str
    sha256: str
    dim: int

    def __call__(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor | None]:
        """Return (features (n, dim) float32, logits (n, K) or None) of integer pixel levels."""
        ...


@runtime_checkable
class HasLayers(Protocol):
    """An extractor whose maps can be had on the way, with gradients by the picture."""

    def layers(self, shape: tuple[int, ...]) -> Sequence[nn.Module]:
        """Return the convolutional part of the network in parts, in order, each ending in a rectifier.

        The first takes pictures (n, C, H, W) in [-1, 1], each next one the maps of the one before.

        Args:
            shape: (C, H, W) of the pictures.

        Raises:
            UsageError: where the network can't take such pictures.
        """
        ...
