"""Adaptive instance normalization (Huang and Belongie 2017, arXiv:1703.06868, Eq. 8).

Statistics are those of each channel of each image, over its places: never over the batch, so an image has
the same ones alone and in company. The epsilon is inside the root.
"""

from __future__ import annotations

from torch import Tensor

EPSILON = 1e-5


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, (n, c, 1, 1) each, of maps (n, c, H, W).

    The deviation is sqrt(var + 1e-5), var without Bessel's correction (Eq. 6): a flat channel has a gradient.
    """
    mean = x.mean((2, 3), keepdim=True)
    return mean, ((x - mean).square().mean((2, 3), keepdim=True) + EPSILON).sqrt()


def adain(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return maps whose channels have this mean and standard deviation: std (x - mu(x)) / sigma(x) + mean.

    Args:
        x: maps (n, c, H, W).
        mean, std: of the style, (n, c, 1, 1).
    """
    own_mean, own_std = statistics(x)
    return std * (x - own_mean) / own_std + mean
