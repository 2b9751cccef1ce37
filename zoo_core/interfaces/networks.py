"""Networks that recipes train: a generator and a critic."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from zoo_core.types import Cond


@runtime_checkable
class Generator(Protocol):
    """Latents to data: z of (n, *latent_shape) to x of (n, *data.shape) in [-1, 1]."""

    latent_shape: tuple[int, ...]

    def __call__(self, z: Tensor, cond: Cond | None = None) -> Tensor: ...


@runtime_checkable
class Critic(Protocol):
    """Data to unbounded scores, (n, ...): logits, never after a sigmoid; a PatchGAN keeps its map."""

    def __call__(self, x: Tensor, cond: Cond | None = None) -> Tensor: ...
