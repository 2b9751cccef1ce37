"""Networks between examples and grids of vectors: the places that discrete latents stand at.

Convolutions give images a grid (h, w) of places; a fully connected network gives any example a row (1, M).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.errors import UsageError
from zoo_core.types import DataInfo
from zoo_vae.autoencoder import ACTIVATIONS, HiddenModel, between_layers
from zoo_vae.networks import mlp_decoder, mlp_encoder


class GridModel(HiddenModel):
    """The codes, the networks and the decoder's distribution."""

    codes: int = Field(32, ge=2)
    """Number of vectors in the codebook, K."""
    dim: int = Field(32, ge=1)
    """Dimensions of a codebook vector."""
    net: Literal["mlp", "conv"] = "mlp"
    """Networks: fully connected, or convolutional (images only)."""
    halvings: int = Field(1, ge=1, le=6)
    """conv: how often the side is halved; an image of 8x8 halved once has 4x4 codes."""
    width: int = Field(64, ge=1)
    """conv: channels."""
    blocks: int = Field(2, ge=0)
    """conv: residual blocks at the resolution of the codes, in the encoder and in the decoder."""
    places: int = Field(8, ge=2)
    """mlp: number of codes of an example."""
    hidden: tuple[int, ...] = (256, 256)
    """mlp: widths of the encoder's hidden layers, reversed in the decoder."""


class Residual(nn.Module):
    """h + W2 act(W1 act(h)) of 3x3 and 1x1 convolutions (van den Oord et al. 2017, section 4.1)."""

    def __init__(self, model: GridModel, dropout: bool) -> None:
        super().__init__()
        activation = partial(between_layers, model) if dropout else ACTIVATIONS[model.activation]
        self.layers = nn.Sequential(
            activation(),
            nn.Conv2d(model.width, model.width, 3, padding=1),
            activation(),
            nn.Conv2d(model.width, model.width, 1),
        )

    def forward(self, h: Tensor) -> Tensor:
        return h + self.layers(h)


class PadTo(nn.Module):
    """Images (n, C, H, W) continued by their last row and column to (n, C, height, width)."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = height, width

    def forward(self, x: Tensor) -> Tensor:
        below, right = self.size[0] - x.shape[2], self.size[1] - x.shape[3]
        return F.pad(x, (0, right, 0, below), mode="replicate")


class CropTo(nn.Module):
    """The upper left (height, width) of images (n, C, H, W)."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = height, width

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.size[0], : self.size[1]]


class ToPlaces(nn.Module):
    """Channels of a grid, (n, features, h, w), to vectors at its places, (n, h w, features)."""

    def forward(self, h: Tensor) -> Tensor:
        return h.flatten(2).transpose(1, 2)


class FromPlaces(nn.Module):
    """The inverse of `ToPlaces`."""

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, v: Tensor) -> Tensor:
        return v.transpose(1, 2).unflatten(2, self.grid)


def uses_convolutions(model: GridModel, data: DataInfo) -> bool:
    """Return whether the networks are convolutional.

    Raises:
        UsageError: for convolutions over points.
    """
    if model.net == "conv" and not data.is_image:
        raise UsageError(
            f"model.net=conv was asked for and an example of {data.name!r} has shape {data.shape}",
            "expected: images, (C, H, W)",
            "next: model.net=mlp",
        )
    return model.net == "conv"


def grid_of(model: GridModel, data: DataInfo) -> tuple[int, int]:
    """Return the grid of places, (h, w); a side that can't be halved so often is padded until it can.

    Raises:
        UsageError: where one place would be left.
    """
    if not uses_convolutions(model, data):
        return 1, model.places
    height, width = data.shape[1:]
    factor = 2**model.halvings
    grid = math.ceil(height / factor), math.ceil(width / factor)
    if math.prod(grid) < 2:
        raise UsageError(
            f"model.halvings={model.halvings} was asked for and the images are {height}x{width}",
            f"expected: a side above {factor}, so that at least two places are left",
            "next: a lower model.halvings, or model.net=mlp",
        )
    return grid


def grid_networks(
    model: GridModel, data: DataInfo, features: int, outputs: int
) -> tuple[nn.Module, nn.Module]:
    """Return an encoder, (n, *shape) to (n, M, features), and a decoder, (n, M, dim) to (n, outputs, *shape).

    The encoder has no dropout: what it says of an example never changes while it is not trained.

    Raises:
        UsageError: as `grid_of`.
    """
    grid, act = grid_of(model, data), ACTIVATIONS[model.activation]
    places, dropped = math.prod(grid), partial(between_layers, model)
    if not uses_convolutions(model, data):
        encoder = mlp_encoder(data.shape, model.hidden, places * features, act)
        decoder = mlp_decoder(data.shape, model.hidden, places * model.dim, outputs, dropped)
        return (
            nn.Sequential(encoder, nn.Unflatten(1, (places, features))),
            nn.Sequential(nn.Flatten(), decoder),
        )
    channels, width = data.shape[0], model.width
    whole = tuple(side * 2**model.halvings for side in grid)
    fits = whole == tuple(data.shape[1:])
    down: list[nn.Module] = [] if fits else [PadTo(*whole)]
    down += [nn.Conv2d(channels, width, 3, padding=1)]
    up: list[nn.Module] = []
    for _ in range(model.halvings):
        down += [act(), nn.Conv2d(width, width, 4, 2, 1)]
        up += [dropped(), nn.ConvTranspose2d(width, width, 4, 2, 1)]
    return (
        nn.Sequential(
            *down,
            *(Residual(model, dropout=False) for _ in range(model.blocks)),
            act(),
            nn.Conv2d(width, features, 1),
            ToPlaces(),
        ),
        nn.Sequential(
            FromPlaces(grid),
            nn.Conv2d(model.dim, width, 3, padding=1),
            *(Residual(model, dropout=True) for _ in range(model.blocks)),
            *up,
            dropped(),
            nn.Conv2d(width, outputs * channels, 3, padding=1),
            *([] if fits else [CropTo(*data.shape[1:])]),
            nn.Unflatten(1, (outputs, channels)),
        ),
    )
