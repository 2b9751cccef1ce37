"""Densities of points that are known in closed form."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


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
