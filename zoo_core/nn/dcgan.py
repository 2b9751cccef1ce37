"""Convolutional generator and critic in the shape of DCGAN (Radford et al. 2015), for any even image size.

The paper's table is for 64 x 64: a latent is projected to 4 x 4 and doubled by stride-2 transposed
convolutions of 4 x 4 to the image; the critic mirrors it. Smaller images take fewer doublings.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from zoo_core.errors import UsageError

Norm = Literal["batch", "layer", "none"]


def doublings(size: int) -> int:
    """Return how often a side is halved on the way down: to 4, or twice where the image is small.

    Raises:
        UsageError: for a side that can't be halved even once.
    """
    count = 0
    while size % 2 == 0 and (size > 4 or count < 2) and size > 2:
        size //= 2
        count += 1
    if count == 0:
        raise UsageError(
            f"a convolutional generator can't make images of side {size}", "expected: an even side"
        )
    return count


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """Return the normalization of (n, channels, H, W): over the batch, over each example, or none."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(1, channels) if kind == "layer" else nn.Identity()


def init_weights(module: nn.Module) -> None:
    """Initialize one module as the paper does: weights N(0, 0.02), batch norm's scale N(1, 0.02), biases 0.

    For a whole network: `net.apply(init_weights)`.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class DCGANGenerator(nn.Module):
    """Latents (n, latent_dim) to images (n, *shape) in [-1, 1].

    Args:
        latent_dim: of z, standard normal.
        shape: (C, H, W) of an image.
        width: channels before the last layer; each layer before has twice as many.
        norm: after each hidden layer; the output has none, as in the paper.
        hidden: width of a fully connected layer before the projection; 0 for none, as in the paper.
    """

    def __init__(
        self,
        latent_dim: int,
        shape: tuple[int, ...],
        width: int = 64,
        norm: Norm = "batch",
        hidden: int = 0,
    ) -> None:
        super().__init__()
        channels, height, side = shape
        count = min(doublings(height), doublings(side))
        self.latent_shape = (latent_dim,)
        self._bottom = (width * 2 ** (count - 1), height >> count, side >> count)
        mapping: list[nn.Module] = []
        if hidden:
            mapping = [nn.Linear(latent_dim, hidden, bias=norm == "none")]
            mapping += [nn.BatchNorm1d(hidden) if norm == "batch" else nn.Identity(), nn.ReLU(inplace=True)]
        last = nn.Linear(hidden or latent_dim, math.prod(self._bottom), bias=norm == "none")
        self.project = nn.Sequential(*mapping, last)
        layers: list[nn.Module] = [make_norm(norm, self._bottom[0]), nn.ReLU(inplace=True)]
        for depth in reversed(range(1, count)):
            wide, narrow = width * 2**depth, width * 2 ** (depth - 1)
            layers += [
                nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=norm == "none"),
                make_norm(norm, narrow),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()]
        self.net = nn.Sequential(*layers)

    def forward(self, z: Tensor, cond: object = None) -> Tensor:
        return self.net(self.project(z).unflatten(1, self._bottom))


class DCGANCritic(nn.Module):
    """Images (n, *shape) to unbounded scores (n,).

    Args:
        shape: (C, H, W) of an image.
        width: channels after the first layer; each layer after has twice as many.
        norm: after each hidden layer but the first, as in the paper.

    Attributes:
        feature_dim: D of `features`.
        head: features (n, D) to scores (n, 1).
    """

    def __init__(self, shape: tuple[int, ...], width: int = 64, norm: Norm = "batch") -> None:
        super().__init__()
        channels, height, side = shape
        count = min(doublings(height), doublings(side))
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for depth in range(1, count):
            narrow, wide = width * 2 ** (depth - 1), width * 2**depth
            layers += [
                nn.Conv2d(narrow, wide, 4, 2, 1, bias=norm == "none"),
                make_norm(norm, wide),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.net = nn.Sequential(*layers, nn.Flatten())
        self.feature_dim = width * 2 ** (count - 1) * (height >> count) * (side >> count)
        self.head = nn.Linear(self.feature_dim, 1)

    def features(self, x: Tensor) -> Tensor:
        """Return the features that the head maps linearly to scores, (n, D)."""
        return self.net(x)

    def forward(self, x: Tensor, cond: object = None) -> Tensor:
        return self.head(self.features(x)).squeeze(1)
