"""The networks of R3GAN (Huang et al. 2024, arXiv:2501.05441, config E): residual, without normalization.

A block is x + f(x), f a 1 x 1 convolution to more channels, a grouped 3 x 3 convolution and a 1 x 1
convolution back, with leaky rectifiers between them. The last convolution of each f starts at zero, and the
others are scaled down by the number of blocks (Fixup, Zhang et al. 2019, arXiv:1901.09321): a deep network
starts as a shallow one and needs no normalization. Sides change by a filter, not by a strided convolution.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.nn.resampling import FIR, Resampler
from zoo_gan.game import GameModel
from zoo_gan.stylegan_networks import widths

SLOPE = 0.2
"""Of the leaky rectifiers."""


class ResidualModel(GameModel):
    """Both networks and their game."""

    generator_width: int = Field(24, ge=1)
    """Channels of the generator at the image, doubled each time that the side is halved; of points: width of
    every layer."""
    critic_width: int = Field(24, ge=1)
    """The same, of the critic."""
    max_width: int = Field(96, ge=1)
    """Largest number of channels of both networks."""
    blocks: int = Field(1, ge=1)
    """Residual blocks at each side."""
    expansion: int = Field(2, ge=1)
    """Channels inside a block for each of its outer channels."""
    group_width: int = Field(16, ge=1)
    """Channels of a group of the grouped convolution, as far as it divides them."""


def scaled(layer: nn.Conv2d | nn.Linear, gain: float) -> nn.Module:
    """Return a layer with weights N(0, gain^2 / fan-in) and biases of zero."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(fan_in)) if gain else nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def residual_branch(channels: int, model: ResidualModel, total: int) -> nn.Sequential:
    """Return f of a block, (n, channels, H, W) to the same; 0 at the start of training.

    Args:
        total: blocks of the network, by whose number the first two layers are scaled: total^(-1/4), which
            is Fixup's rule for three layers.
    """
    inner = channels * model.expansion
    gain = math.sqrt(2 / (1 + SLOPE**2)) * total**-0.25
    return nn.Sequential(
        scaled(nn.Conv2d(channels, inner, 1), gain),
        nn.LeakyReLU(SLOPE),
        scaled(nn.Conv2d(inner, inner, 3, padding=1, groups=groups(inner, model.group_width)), gain),
        nn.LeakyReLU(SLOPE),
        scaled(nn.Conv2d(inner, channels, 1, bias=False), 0.0),
    )


def groups(channels: int, width: int) -> int:
    """Return how many groups of `width` channels there are; of the largest smaller width that divides."""
    return channels // math.gcd(channels, width)


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, channels: int, model: ResidualModel, total: int) -> None:
        super().__init__()
        self.branch = residual_branch(channels, model, total)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Transition(nn.Module):
    """Maps of `inner` channels to `outer` channels at twice or half the side."""

    def __init__(self, inner: int, outer: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.resample = Resampler(FIR)
        self.channels: nn.Module = nn.Identity()
        if inner != outer:
            self.channels = scaled(nn.Conv2d(inner, outer, 1, bias=False), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        if self.up:  # channels first where the maps are small
            x = self.channels(x)
            return self.resample.up(x, torch.Size((2 * x.shape[2], 2 * x.shape[3])))
        return self.channels(self.resample.down(x))


def _body(channels: Sequence[int], model: ResidualModel, *, up: bool) -> nn.Sequential:
    """Return the blocks at each side with the transitions between them."""
    total = model.blocks * len(channels)
    layers: list[nn.Module] = [Residual(channels[0], model, total) for _ in range(model.blocks)]
    for inner, outer in itertools.pairwise(channels):
        layers.append(Transition(inner, outer, up=up))
        layers += [Residual(outer, model, total) for _ in range(model.blocks)]
    return nn.Sequential(*layers)


class ResidualGenerator(nn.Module):
    """z (n, latent_dim) to images (n, *shape), unbounded.

    Learned maps of the smallest side, one a channel, are weighted by a linear function of z.

    Raises:
        UsageError: for images of an odd side.
    """

    def __init__(self, model: ResidualModel, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, (height, side) = widths(shape, model.generator_width, model.max_width)
        self.basis = nn.Parameter(torch.randn(channels[0], height, side))
        self.weights = scaled(nn.Linear(model.latent_dim, channels[0], bias=False), 1.0)
        self.body = _body(channels, model, up=True)
        self.colors = scaled(nn.Conv2d(channels[-1], shape[0], 1), 1.0)

    def forward(self, z: Tensor, cond: object = None) -> Tensor:
        return self.colors(self.body(self.basis * self.weights(z)[:, :, None, None]))


class ResidualCritic(nn.Module):
    """Images (n, *shape) to unbounded scores (n,): the generator's mirror image.

    Raises:
        UsageError: for images of an odd side.
    """

    def __init__(self, model: ResidualModel, shape: tuple[int, ...]) -> None:
        super().__init__()
        small_first, sides = widths(shape, model.critic_width, model.max_width)
        channels = small_first[::-1]
        last = channels[-1]
        self.colors = scaled(nn.Conv2d(shape[0], channels[0], 1), 1.0)
        self.body = _body(channels, model, up=False)
        self.basis = scaled(nn.Conv2d(last, last, sides, groups=last, bias=False), 1.0)
        self.head = scaled(nn.Linear(last, 1, bias=False), 1.0)

    def forward(self, x: Tensor, cond: object = None) -> Tensor:
        return self.head(self.basis(self.body(self.colors(x))).flatten(1)).squeeze(1)
