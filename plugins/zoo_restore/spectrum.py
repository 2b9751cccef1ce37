"""Singular value decompositions of linear operators: y = U S V^T x, one row per image.

Coefficients are (n, d) with d the number of values of an image; those with a singular value of 0 are not
measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from zoo_core.errors import UsageError

MAX_DENSE = 4096
"""Values of an image: the decomposition of a matrix of that size takes about a minute."""


class Spectrum(Protocol):
    """The decomposition of an operator from images (n, *shape) to measurements (n, *measured).

    Attributes:
        singular: (d,) float64, at least 0.
    """

    singular: Tensor

    def to_coefficients(self, x: Tensor) -> Tensor:
        """Return V^T x, (n, d)."""
        ...

    def to_image(self, c: Tensor) -> Tensor:
        """Return V c, (n, *shape), for coefficients (n, d)."""
        ...

    def measured(self, y: Tensor) -> Tensor:
        """Return U^T y, (n, d), 0 where the singular value is 0."""
        ...

    def to_measurement(self, c: Tensor) -> Tensor:
        """Return U c, (n, *measured), for coefficients (n, d)."""
        ...


class MaskSpectrum:
    """Of a mask: pixels are the coefficients, with singular values of 0 and 1.

    Args:
        kept: (C, H, W) bool.
    """

    def __init__(self, kept: Tensor) -> None:
        self.shape = kept.shape
        self.singular = kept.flatten().double()

    def to_coefficients(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def to_image(self, c: Tensor) -> Tensor:
        return c.reshape(-1, *self.shape)

    def measured(self, y: Tensor) -> Tensor:
        return y.flatten(1) * self.singular.to(y)

    def to_measurement(self, c: Tensor) -> Tensor:
        return (c * self.singular.to(c)).reshape(-1, *self.shape)


class KroneckerSpectrum:
    """Of a matrix for each axis of an image, A = A_C x A_H x A_W: decomposed axis by axis.

    Args:
        matrices: (C', C), (H', H) and (W', W), float64, none with more rows than columns.
        threshold: singular values below this fraction of the largest are set to 0.
    """

    def __init__(self, matrices: Sequence[Tensor], threshold: float = 1e-9) -> None:
        parts = [torch.linalg.svd(matrix.double(), full_matrices=True) for matrix in matrices]
        self.left = [u for u, _, _ in parts]
        self.right = [vh.T for _, _, vh in parts]
        self.shape = tuple(matrix.shape[1] for matrix in matrices)
        self.small = tuple(matrix.shape[0] for matrix in matrices)
        padded = [
            torch.cat((s, s.new_zeros(n - len(s)))) for (_, s, _), n in zip(parts, self.shape, strict=True)
        ]
        singular = torch.einsum("c,h,w->chw", *padded).flatten()
        self.singular = torch.where(singular < threshold * singular.max(), 0.0, singular)

    def to_coefficients(self, x: Tensor) -> Tensor:
        return _along(x, [v.T for v in self.right]).flatten(1)

    def to_image(self, c: Tensor) -> Tensor:
        return _along(c.reshape(-1, *self.shape), self.right)

    def measured(self, y: Tensor) -> Tensor:
        c, h, w = self.small
        found = y.new_zeros(len(y), *self.shape)
        found[:, :c, :h, :w] = _along(y, [u.T for u in self.left])
        return found.flatten(1) * (self.singular > 0).to(y)

    def to_measurement(self, c: Tensor) -> Tensor:
        channels, height, width = self.small
        kept = (c * (self.singular > 0).to(c)).reshape(-1, *self.shape)[:, :channels, :height, :width]
        return _along(kept, self.left)


def _along(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Return the product of a matrix with each axis of (n, C, H, W)."""
    a, b, c = (matrix.to(x) for matrix in matrices)
    return torch.einsum("ic,jh,kw,nchw->nijk", a, b, c, x)


class DenseSpectrum:
    """Of any linear function, from its matrix.

    Args:
        function: of images (n, *shape).
        shape: of an image.
        threshold: singular values below this fraction of the largest are set to 0.

    Raises:
        UsageError: for images with more than `MAX_DENSE` values.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], shape: Sequence[int], threshold: float = 1e-9
    ) -> None:
        d = math.prod(shape)
        if d > MAX_DENSE:
            raise UsageError(
                f"the operator has no decomposition of its own, and an image has {d:,} values",
                f"expected: at most {MAX_DENSE:,}",
                "next: smaller images, or an operator that overrides `spectrum`",
            )
        self.shape = tuple(shape)
        rows = function(torch.eye(d, dtype=torch.float64).reshape(d, *shape))
        self.small = tuple(rows.shape[1:])
        u, s, vh = torch.linalg.svd(rows.flatten(1).T, full_matrices=True)
        singular = torch.cat((s, s.new_zeros(d - len(s))))
        self.singular = torch.where(singular < threshold * singular.max(), 0.0, singular)
        self.rank = len(s)
        self.left, self.right = u[:, : self.rank], vh.T

    def to_coefficients(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.right.to(x)

    def to_image(self, c: Tensor) -> Tensor:
        return (c @ self.right.T.to(c)).reshape(-1, *self.shape)

    def measured(self, y: Tensor) -> Tensor:
        found = y.new_zeros(len(y), len(self.singular))
        found[:, : self.rank] = y.flatten(1) @ self.left.to(y)
        return found * (self.singular > 0).to(y)

    def to_measurement(self, c: Tensor) -> Tensor:
        kept = (c * (self.singular > 0).to(c))[:, : self.rank]
        return (kept @ self.left.T.to(c)).reshape(-1, *self.small)
