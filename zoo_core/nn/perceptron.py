"""Fully connected networks: for points of the plane, and the lecture's small nets for images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn


def perceptron(sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.SiLU) -> nn.Sequential:
    """Return linear layers of these sizes with an activation between each two."""
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(sizes):
        layers += [nn.Linear(inner, outer), activation()]
    return nn.Sequential(*layers[:-1])


class PerceptronGenerator(nn.Module):
    """Latents (n, latent_dim) to points (n, *shape), unbounded, or to images in [-1, 1]."""

    def __init__(
        self, latent_dim: int, shape: tuple[int, ...], width: int = 128, bounded: bool = False
    ) -> None:
        super().__init__()
        self.latent_shape = (latent_dim,)
        self.shape = shape
        self.net = perceptron([latent_dim, width, width, width, math.prod(shape)], nn.ReLU)
        if bounded:
            self.net.append(nn.Tanh())

    def forward(self, z: Tensor, cond: object = None) -> Tensor:
        return self.net(z).unflatten(1, self.shape)


class PerceptronCritic(nn.Module):
    """Points (n, *shape) to unbounded scores (n,).

    Attributes:
        feature_dim: D of `features`.
        head: features (n, D) to scores (n, 1).
    """

    def __init__(self, shape: tuple[int, ...], width: int = 128) -> None:
        super().__init__()
        self.net = nn.Sequential(perceptron([math.prod(shape), width, width, width], nn.ReLU), nn.ReLU())
        self.feature_dim = width
        self.head = nn.Linear(width, 1)

    def features(self, x: Tensor) -> Tensor:
        """Return the features that the head maps linearly to scores, (n, D)."""
        return self.net(x.flatten(1))

    def forward(self, x: Tensor, cond: object = None) -> Tensor:
        return self.head(self.features(x)).squeeze(1)
