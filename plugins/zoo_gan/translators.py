"""Networks from image to image of the same size: a U-Net, and one of residual blocks.

A translation keeps where things are. The U-Net (Isola et al. 2016, arXiv:1611.07004, section 3.2.1) hands
each layer's map to the layer of its size on the way up; the residual one (Johnson et al. 2016,
arXiv:1603.08155, as in Zhu et al. 2017) works on a map that is hardly smaller than the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.errors import UsageError
from zoo_gan.patches import Norm, TranslationModel, normalization

Uniforms = Callable[[Sequence[int]], Tensor]
"""Shape of an example to uniforms in [0, 1), (n, *shape): what dropout is drawn from."""

MOST_HALVINGS = 8
"""Of the U-Net: 256 pixels come down to one."""
DROPPED = 3
"""Layers of the decoder, from its bottom, that have dropout."""
REACH = 3
"""Pixels to each side that the first and last layer of a translator see."""


class UNetModel(TranslationModel):
    """Options of the U-Net."""

    norm: Literal["instance", "batch"] = "batch"
    """Normalization layers: over each image (as in the paper, whose batches are single images), or over the
    batch."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Probability of dropping a value in the first layers of the decoder: the translator's only noise."""


class ResNetModel(TranslationModel):
    """Options of the translator of residual blocks."""

    generator_width: int = Field(24, ge=1)
    """Channels of a translator at the resolution of the image, doubled with each halving."""
    halvings: int = Field(1, ge=0)
    """Number of times a translator halves the resolution before its residual blocks."""
    blocks: int = Field(3, ge=0)
    """Number of residual blocks of a translator."""


class UNet(nn.Module):
    """Images to images of the same size in [-1, 1], by halving and doubling with skip connections.

    Each layer is a 4x4 convolution of stride 2 on the way down, to one pixel or as far as the sides are even,
    and a transposed one on the way up, where it is joined by the layer of its size on the way down (section
    3.2.1).

    Args:
        model: options; neither the first layer nor the bottom is normalized.
        channels: (of the source, of the output).
        size: (H, W).

    Raises:
        UsageError: for an odd side.
    """

    def __init__(self, model: UNetModel, channels: tuple[int, int], size: tuple[int, int]) -> None:
        super().__init__()
        depth = halvings(*size)
        if depth == 0:
            raise UsageError(f"images of {size[0]}x{size[1]} can't be halved", "expected: even sides")
        self.dropout, norm = model.dropout, model.norm
        widths = [model.generator_width * min(2**place, 8) for place in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for place, (narrow, wide) in enumerate(pairwise([channels[0], *widths])):
            inner = 0 < place < depth - 1
            self.down.append(
                nn.Sequential(
                    nn.LeakyReLU(0.2) if place else nn.Identity(),
                    nn.Conv2d(narrow, wide, 4, 2, 1),
                    normalization(norm if inner else "none", wide),
                )
            )
        for place in reversed(range(depth)):
            wide = widths[place] * (1 if place == depth - 1 else 2)
            narrow = widths[place - 1] if place else channels[1]
            last = nn.Tanh() if place == 0 else normalization(norm, narrow)
            self.up.append(nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(wide, narrow, 4, 2, 1), last))

    def forward(self, source: Tensor, uniforms: Uniforms) -> Tensor:
        """Return the translations of sources (n, C', H, W), (n, C, H, W).

        Args:
            source: in [-1, 1].
            uniforms: what dropout is drawn from.
        """
        skips = [source]
        for layer in self.down:
            skips.append(layer(skips[-1]))
        x = skips.pop()
        for place, layer in enumerate(self.up):
            x = layer(x)
            if place == len(self.up) - 1:
                break
            if place < DROPPED and self.dropout:
                kept = uniforms(x.shape[1:]) >= self.dropout
                x = x * kept / (1 - self.dropout)
            x = torch.cat((x, skips.pop()), 1)
        return x


def halvings(height: int, width: int) -> int:
    """Return how often both sides can be halved, at most MOST_HALVINGS times."""
    count = 0
    while count < MOST_HALVINGS and height % 2 == 0 and width % 2 == 0:
        height, width, count = height // 2, width // 2, count + 1
    return count


class Residual(nn.Module):
    """x + two 3x3 convolutions of x, reflected at the border."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"),
            normalization(norm, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"),
            normalization(norm, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


class ResNetTranslator(nn.Module):
    """Images to images of the same size in [-1, 1]: c7s1, halvings, residual blocks, doublings, c7s1.

    Args:
        model: options; every layer but the last is normalized.
        channels: (of the source, of the output).
        size: (H, W), for the check.

    Raises:
        UsageError: for sides that can't be halved so often.
    """

    def __init__(self, model: ResNetModel, channels: tuple[int, int], size: tuple[int, int]) -> None:
        super().__init__()
        width, halvings, norm = model.generator_width, model.halvings, model.norm
        if any(side % 2**halvings or side >> halvings < 2 or side <= REACH for side in size):
            raise UsageError(
                f"model.halvings={halvings} does not fit images of {size[0]}x{size[1]}",
                f"expected: sides that {2**halvings} divides, of at least 2 pixels after it",
            )

        def layer(module: nn.Module, out: int) -> list[nn.Module]:
            return [module, normalization(norm, out), nn.ReLU()]

        side = 2 * REACH + 1
        first = nn.Conv2d(channels[0], width, side, padding=REACH, padding_mode="reflect")
        stack = layer(first, width)
        for place in range(halvings):
            wide = width * 2 ** (place + 1)
            stack += layer(nn.Conv2d(wide // 2, wide, 3, 2, 1), wide)
        stack += [Residual(width * 2**halvings, norm) for _ in range(model.blocks)]
        for place in reversed(range(halvings)):
            narrow = width * 2**place
            stack += layer(nn.ConvTranspose2d(2 * narrow, narrow, 3, 2, 1, output_padding=1), narrow)
        last = nn.Conv2d(width, channels[1], side, padding=REACH, padding_mode="reflect")
        self.net = nn.Sequential(*stack, last, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
