"""The generators of StyleGAN (Karras et al. 2019, arXiv:1812.04948) and StyleGAN2 (Karras et al. 2020,
arXiv:1912.04958), at any even size.

A mapping network turns z into the intermediate latent w; a synthesis network paints from a learned constant,
each of its layers under the style that an affine map makes of w, and with its own noise. The papers begin
at 4 x 4; so do these where the side is a power of two above 8, else at a few pixels, like the zoo's other
convolutional nets. Upsampling is bilinear, before the convolution.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.nn.adain import adain
from zoo_core.nn.dcgan import doublings
from zoo_core.types import DataInfo
from zoo_gan.equalized import EqualConv2d, EqualLinear, activate
from zoo_gan.game import GameModel


class StyleNetworksModel(GameModel):
    """Options of the two networks."""

    version: int = Field(2, ge=1, le=2)
    """Version 1: AdaIN after each layer. Version 2: modulated weights, color outputs at every resolution,
    residual critic."""
    latent_dim: int = Field(32, ge=1)
    """Dimensions of z and of w."""
    mapping_layers: int = Field(2, ge=0)
    """Layers of the mapping network from z to w."""
    generator_width: int = Field(32, ge=1)
    """Channels of the generator at the resolution of the image, doubled with each halving of the
    resolution."""
    critic_width: int = Field(32, ge=1)
    """Channels of the critic at the resolution of the image, doubled with each halving of the resolution."""
    max_width: int = Field(64, ge=1)
    """Maximum number of channels of a layer."""


class Mapping(nn.Module):
    """z to w, (n, latent_dim) both: z is brought to the sphere of radius sqrt(latent_dim) first."""

    def __init__(self, latent_dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EqualLinear(latent_dim, latent_dim) for _ in range(layers))

    def forward(self, z: Tensor) -> Tensor:
        w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            w = activate(layer(w))
        return w


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """Return the factor that gives each output's weights unit norm once its inputs are scaled by the style.

    Karras et al. 2020, Eq. 3: 1 / sqrt(sum over i, k of (s_i w_jik)^2 + 1e-8).

    Args:
        weight: (outer, inner, k, k).
        style: s, (n, inner).

    Returns:
        (n, outer).
    """
    return (style.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()


class ModulatedConv2d(nn.Module):
    """A convolution whose weights a style scales (Karras et al. 2020, Eq. 1 and 3).

    Scaling the inputs by the style and the outputs by the demodulation is the same as convolving each image
    with its own weights, without one group per image.

    Args:
        demodulate: give each output's weights unit norm; the layers to colors do without.
    """

    def __init__(self, inner: int, outer: int, size: int, latent_dim: int, demodulate: bool = True) -> None:
        super().__init__()
        self.affine = EqualLinear(latent_dim, inner, bias=1.0)
        self.convolution = EqualConv2d(inner, outer, size, bias=False)
        self.demodulate = demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w)
        x = self.convolution(x * style[:, :, None, None])
        if not self.demodulate:
            return x
        weight = self.convolution.weight * self.convolution.gain
        return x * demodulation(weight, style)[:, :, None, None]


class AdaINLayer(nn.Module):
    """StyleGAN's layer: convolution, noise, bias, rectifier, AdaIN with the style's mean and deviation.

    Args:
        convolve: False for the first, which works on the learned constant as it is.
    """

    def __init__(self, inner: int, outer: int, latent_dim: int, convolve: bool = True) -> None:
        super().__init__()
        self.convolution = EqualConv2d(inner, outer, 3, bias=False) if convolve else nn.Identity()
        self.noise_scale = nn.Parameter(torch.zeros(outer))
        self.bias = nn.Parameter(torch.zeros(outer))
        self.affine_std = EqualLinear(latent_dim, outer, bias=1.0)
        self.affine_mean = EqualLinear(latent_dim, outer)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | float) -> Tensor:
        x = self.convolution(x) + self.noise_scale[:, None, None] * noise
        x = activate(x + self.bias[:, None, None])
        return adain(x, self.affine_mean(w)[:, :, None, None], self.affine_std(w)[:, :, None, None])


class ModulatedLayer(nn.Module):
    """StyleGAN2's layer: modulated convolution, noise, bias, rectifier."""

    def __init__(self, inner: int, outer: int, latent_dim: int) -> None:
        super().__init__()
        self.convolution = ModulatedConv2d(inner, outer, 3, latent_dim)
        self.noise_scale = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outer))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | float) -> Tensor:
        return activate(self.convolution(x, w) + self.noise_scale * noise + self.bias[:, None, None])


def widths(shape: tuple[int, ...], width: int, most: int) -> tuple[list[int], tuple[int, int]]:
    """Return the channels of each resolution, the smallest first, and the smallest's sides (H, W)."""
    _, height, side = shape
    count = min(doublings(height), doublings(side))
    return [min(width * 2**k, most) for k in reversed(range(count + 1))], (height >> count, side >> count)


def up(x: Tensor) -> Tensor:
    """Return maps of twice the sides, bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Synthesis(nn.Module):
    """Styles and noise to images, (n, *shape), unbounded.

    Version 1 has two layers a resolution, the first on the constant alone, and turns the last maps into
    colors; it does not grow in training. Version 2 has one layer at the smallest resolution and two at each
    other, and adds up the colors of every resolution (skip connections).

    Attributes:
        styles: number of layers that take a style, L.
        sides: (H, W) of each layer's noise.
    """

    def __init__(self, model: StyleNetworksModel, data: DataInfo) -> None:
        super().__init__()
        latent_dim, colors = model.latent_dim, data.shape[0]
        channels, (height, side) = widths(data.shape, model.generator_width, model.max_width)
        self.constant = nn.Parameter(torch.randn(1, channels[0], height, side))
        ends = itertools.pairwise([channels[0], *channels])
        self.blocks = nn.ModuleList()
        self.colors = nn.ModuleList()
        self.sides: list[tuple[int, int]] = []
        for k, (inner, outer) in enumerate(ends):
            layers: list[nn.Module]
            if model.version == 1:
                first = AdaINLayer(inner, outer, latent_dim, convolve=k > 0)
                layers = [first, AdaINLayer(outer, outer, latent_dim)]
            elif k == 0:
                layers = [ModulatedLayer(inner, outer, latent_dim)]
            else:
                layers = [ModulatedLayer(inner, outer, latent_dim), ModulatedLayer(outer, outer, latent_dim)]
            self.blocks.append(nn.ModuleList(layers))
            self.sides += [(height << k, side << k)] * len(layers)
            if model.version == 2:
                self.colors.append(Color(outer, colors, latent_dim))
        if model.version == 1:
            self.colors.append(EqualConv2d(channels[-1], colors, 1))
        self.styles = len(self.sides)

    def forward(self, w: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return images.

        Args:
            w: a style for each layer, (n, L, latent_dim).
            noise: for each layer (n, 1, H, W) at its sides; None for none at all.
        """
        x = self.constant.expand(len(w), -1, -1, -1)
        image: Tensor | None = None
        place = 0
        for depth, block in enumerate(self.blocks):
            x = up(x) if depth else x
            for layer in block:  # type: ignore[attr-defined]
                x = layer(x, w[:, place], 0.0 if noise is None else noise[place])
                place += 1
            if len(self.colors) > 1:
                colored = self.colors[depth](x, w[:, place - 1])
                image = colored if image is None else up(image) + colored
        return self.colors[0](x) if image is None else image


class Color(nn.Module):
    """Maps to colors by a modulated 1 x 1 convolution without demodulation."""

    def __init__(self, inner: int, outer: int, latent_dim: int) -> None:
        super().__init__()
        self.convolution = ModulatedConv2d(inner, outer, 1, latent_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(outer))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return self.convolution(x, w) + self.bias[:, None, None]


class StyleGenerator(nn.Module):
    """Mapping and synthesis: z (n, latent_dim) to images.

    Attributes:
        w_mean: running mean of w, where truncation leads to.
    """

    def __init__(self, model: StyleNetworksModel, data: DataInfo) -> None:
        super().__init__()
        self.latent_shape = (model.latent_dim,)
        self.mapping = Mapping(model.latent_dim, model.mapping_layers)
        self.synthesis = Synthesis(model, data)
        self.w_mean: Tensor
        self.register_buffer("w_mean", torch.zeros(model.latent_dim))

    def forward(self, z: Tensor, cond: object = None) -> Tensor:
        """Return images of one style each, without noise."""
        return self.synthesis(self.styled(self.mapping(z)))

    def styled(self, w: Tensor, psi: float = 1.0) -> Tensor:
        """Return w (n, latent_dim) for every layer, (n, L, latent_dim), brought towards its mean by psi."""
        w = torch.lerp(self.w_mean, w.to(self.w_mean.dtype), psi)  # bfloat16 under autocast
        return w[:, None].expand(-1, self.synthesis.styles, -1)

    def noise(self, drawn: Tensor) -> list[Tensor]:
        """Return each layer's noise, (n, 1, H, W), from one draw (n, `noise_size`)."""
        parts = drawn.split([height * side for height, side in self.synthesis.sides], dim=1)
        return [
            part.unflatten(1, (1, *sides)) for part, sides in zip(parts, self.synthesis.sides, strict=True)
        ]

    @property
    def noise_size(self) -> int:
        """Numbers of noise that an image takes."""
        return sum(height * side for height, side in self.synthesis.sides)


def mix(w: Tensor, other: Tensor, first: Tensor) -> Tensor:
    """Return styles of two sources, (n, L, latent_dim): w's below layer `first`, the other's from it on.

    Args:
        w, other: styles for each layer, (n, L, latent_dim).
        first: (n,) int64; 0 for the other alone, L for w alone.
    """
    own = torch.arange(w.shape[1], device=w.device) < first[:, None]
    return torch.where(own[:, :, None], w, other)
