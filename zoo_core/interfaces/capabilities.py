"""What a recipe may be able to do beside sampling; the harness and the evaluator ask by `isinstance`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from zoo_core.seeds import Seeds
from zoo_core.types import Cond, Likelihood, SampleRequest


@runtime_checkable
class HasLikelihood(Protocol):
    """A recipe with a likelihood of data, or a bound on it."""

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return every kind of likelihood the model has for a batch.

        Args:
            x: (n, *shape) at the data's level centers (`2k / (L - 1) - 1`), or points.
            noise: per-example randomness.
            k: importance samples, for the kinds that use them.
        """
        ...


@runtime_checkable
class HasConditionalLikelihood(Protocol):
    """A recipe with a likelihood of data given what they are conditioned on, or a bound on it."""

    def likelihoods_given(self, x: Tensor, cond: Cond, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return every kind of likelihood that the model has for a batch given its conditions.

        With equal noise a bound differs from that of `likelihoods` by the condition alone.

        Args:
            x: as in `likelihoods`.
            cond: one row an example.
            noise: per-example randomness.
            k: importance samples, for the kinds that use them.

        Returns:
            Empty for a model that reads no condition.
        """
        ...


@runtime_checkable
class HasCritic(Protocol):
    """A recipe with a network that scores how real an example is."""

    def critic_scores(self, x: Tensor, cond: Cond | None) -> Tensor:
        """Return scores of examples (n, *shape) under their conditions, (n,): higher is more real."""
        ...


@runtime_checkable
class HasUnits(Protocol):
    """A recipe that states the units of what its losses log.

    Attributes:
        units: name of a logged value, without its phase -> unit, e.g. {"loss": "nats"}.
    """

    @property
    def units(self) -> Mapping[str, str]: ...


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
        """Return images (n, C, H, W) with z's styles below layer `first`, and the other's from it on."""
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
    """A recipe that maps an image to an image."""

    def translate(self, x: Tensor, *, noise: Seeds) -> Tensor: ...


@runtime_checkable
class TwoWay(Translator, Protocol):
    """A translator that also knows the way back, from what it makes to what that is made from."""

    def translate_back(self, x: Tensor, *, noise: Seeds) -> Tensor: ...


@runtime_checkable
class Stylist(Protocol):
    """A recipe that paints one image in the style of another."""

    def stylize(self, content: Tensor, style: Tensor) -> Tensor:
        """Return images (n, C, H, W) with the content of the first and the style of the second."""
        ...
