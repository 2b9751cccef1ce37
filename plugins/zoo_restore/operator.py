"""The base class of operators: what a degradation is to a method that inverts it."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from zoo_core.config import Config
from zoo_core.types import DataInfo
from zoo_restore.spectrum import DenseSpectrum, Spectrum


class Operator:
    """A degradation y = A(x0) of images (n, *shape) in [-1, 1]; a subclass defines `__call__`.

    An operator whose spec says `mask` also has the attribute `kept`, (C, H, W) bool.

    Args:
        config: its options.
        data: of the run; `data.shape` is the shape of an image.
    """

    kept: Tensor

    def __init__(self, config: Config, data: DataInfo) -> None:
        self.config = config
        self.data = data

    def __call__(self, x: Tensor) -> Tensor:
        """Return the measurements of images, (n, *measured)."""
        raise NotImplementedError(f"{type(self).__name__}.__call__")

    @cached_property
    def spectrum(self) -> Spectrum:
        """The singular value decomposition of a linear operator; by default from its matrix."""
        return DenseSpectrum(self, self.data.shape)

    def inverse(self, y: Tensor) -> Tensor:
        """Return an image of each measurement, (n, *shape); by default the pseudo-inverse V S^+ U^T y."""
        singular = self.spectrum.singular.to(y)
        inverted = torch.where(singular > 0, 1 / singular.clamp_min(1e-30), 0.0)
        return self.spectrum.to_image(self.spectrum.measured(y) * inverted)

    def view(self, y: Tensor) -> Tensor:
        """Return measurements as images to look at, (n, C', H', W') in [-1, 1]; by default `inverse`."""
        return self.inverse(y)

    def read(self, image: Tensor) -> Tensor:
        """Return the measurement that a degraded image (n, *shape) stands for.

        By default the degradation of that image: to hide hidden pixels again, or to average blocks of equal
        pixels again, changes nothing.
        """
        return self(image)
