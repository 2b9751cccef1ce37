"""Encoders, data to (n, outputs), and decoders, latents to (n, outputs, *shape)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import nn

from zoo_core.nn.dcgan import doublings
from zoo_core.nn.perceptron import perceptron

Activation = Callable[[], nn.Module]


def mlp_encoder(
    shape: Sequence[int], hidden: Sequence[int], outputs: int, activation: Activation
) -> nn.Module:
    """Return a network from (n, *shape) to (n, outputs); without hidden layers it is linear."""
    return nn.Sequential(nn.Flatten(), perceptron([math.prod(shape), *hidden, outputs], activation))


def mlp_decoder(
    shape: Sequence[int], hidden: Sequence[int], latent_dim: int, outputs: int, activation: Activation
) -> nn.Module:
    """Return a network from (n, latent_dim) to (n, outputs, *shape); `hidden` is read backwards."""
    sizes = [latent_dim, *reversed(hidden), outputs * math.prod(shape)]
    return nn.Sequential(perceptron(sizes, activation), nn.Unflatten(1, (outputs, *shape)))


def conv_encoder(shape: Sequence[int], width: int, outputs: int, activation: Activation) -> nn.Module:
    """Return convolutions that halve the side as often as DCGAN does, (n, C, H, W) to (n, outputs).

    Args:
        shape: (C, H, W).
        width: channels beside the image; each halving doubles them.

    Raises:
        UsageError: for an odd side.
    """
    channels, height, side = shape
    count = min(doublings(height), doublings(side))
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), activation()]
    for depth in range(count):
        layers += [nn.Conv2d(width << depth, width << depth + 1, 4, 2, 1), activation()]
    last = (width << count) * (height >> count) * (side >> count)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(last, outputs))


def conv_decoder(
    shape: Sequence[int], width: int, latent_dim: int, outputs: int, activation: Activation
) -> nn.Module:
    """Return the mirror of `conv_encoder`, (n, latent_dim) to (n, outputs, C, H, W)."""
    channels, height, side = shape
    count = min(doublings(height), doublings(side))
    bottom = (width << count, height >> count, side >> count)
    layers: list[nn.Module] = [
        nn.Linear(latent_dim, math.prod(bottom)),
        activation(),
        nn.Unflatten(1, bottom),
    ]
    for depth in reversed(range(count)):
        layers += [nn.ConvTranspose2d(width << depth + 1, width << depth, 4, 2, 1), activation()]
    layers += [nn.Conv2d(width, outputs * channels, 3, padding=1), nn.Unflatten(1, (outputs, channels))]
    return nn.Sequential(*layers)
