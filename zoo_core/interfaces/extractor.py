"""Feature networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from zoo_core.types import DataInfo


@runtime_checkable
class Extractor(Protocol):
    """A frozen feature network that images are compared in.

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
class HasNetworks(Protocol):
    """An extractor whose networks may be compiled.

    Attributes:
        networks: that it calls, once a batch or for equal parts of it. Blocks of one class and shape share
            code, which calls no hooks: a network with a hook on one of them is left out.
    """

    networks: Sequence[nn.Module]


@runtime_checkable
class HasLayers(Protocol):
    """An extractor whose maps can be had on the way, with gradients by the image."""

    def layers(self, shape: tuple[int, ...]) -> Sequence[nn.Module]:
        """Return the convolutional part of the network in parts, in order, each ending in a rectifier.

        The first takes images (n, C, H, W) in [-1, 1], each next one the maps of the one before.

        Args:
            shape: (C, H, W) of the images.

        Raises:
            UsageError: where the network can't take such images.
        """
        ...
