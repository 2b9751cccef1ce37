"""Laws of data that are known."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Law(Protocol):
    """The known law of data: a density of points, or probabilities of images' levels."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (n,) for points (n, D), or levels 0 to L - 1 of images (n, C, H, W)."""
        ...


@runtime_checkable
class Density(Law, Protocol):
    """A closed-form density of points."""

    def score(self, x: Tensor) -> Tensor:
        """Return the gradient of log p at x, like x."""
        ...


@runtime_checkable
class Smoothable(Protocol):
    """A density whose convolution with a normal is known too."""

    def smoothed(self, sigma: float) -> Density:
        """Return the density of x + sigma eps."""
        ...
