"""The U-Net of DDPM: residual blocks, group norm, attention at chosen sizes, time in every block.

Source: Ho et al. 2020, arXiv:2006.11239, appendix B. With channels=128, mult=(1, 2, 2, 2), blocks=2 and
attention at 16 it is their CIFAR-10 network of 35.7 M parameters. With `resample`, `skip_scale`, `pyramid`
and `attend_up` it is DDPM++ and NCSN++ of Song et al. 2021, arXiv:2011.13456, appendix H.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Config, later
from zoo_core.errors import UsageError
from zoo_core.nn.conditioning import CrossAttention, condition_embedding, source_channels, with_image
from zoo_core.nn.embedding import TimeEmbedding
from zoo_core.nn.resampling import BOX, FIR, Resampler
from zoo_core.types import Cond, DataInfo

M = TypeVar("M", nn.Conv2d, nn.Linear)
Resampling = Literal["conv", "box", "fir"]
"""How a side is halved and doubled: by a convolution, or in a residual block with a filter."""


class UNetConfig(Config):
    """Options of the U-Net."""

    channels: int = Field(32, ge=2, multiple_of=2)
    """U-Net: channels at the highest resolution."""
    mult: tuple[int, ...] = Field((1, 2), min_length=1)
    """U-Net: factors on the channels, one per resolution; each halves the previous resolution."""
    blocks: int = Field(1, ge=1)
    """U-Net: residual blocks per resolution."""
    attention: tuple[int, ...] = ()
    """U-Net: resolutions (side in pixels) with attention; the lowest resolution always has it."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """U-Net: dropout probability in each residual block."""
    time: Literal["sinusoidal", "fourier"] = later("sinusoidal", since="0.1.0")
    """U-Net: embedding of the time: fixed sinusoids, or Fourier features of random rates."""
    fourier_scale: float = later(16.0, since="0.1.0", gt=0)
    """U-Net: standard deviation of those rates, in periods over the whole range of times."""
    resample: Resampling = later("conv", since="0.1.0")
    """U-Net: resampling by a convolution (conv), or in a residual block by a filter: the mean of four pixels
    (box), or a smoother filter with less aliasing (fir)."""
    skip_scale: float = later(1.0, since="0.1.0", gt=0, le=1)
    """U-Net: factor on the sum of a block's two branches; 0.7071 keeps the variance."""
    pyramid: bool = later(False, since="0.1.0")
    """U-Net: feed the input, downsampled, to every level."""
    attend_up: Literal["each", "last"] = later("each", since="0.1.0")
    """U-Net: on the way up, attention after each block of a resolution, or after the last."""
    fold: int = later(1, since="0.2.0", ge=1, le=8)
    """U-Net: side of the pixel blocks that are folded into channels at the input and unfolded at the output;
    2 computes at half the resolution, for a quarter of the FLOPs (Hoogeboom et al. 2023,
    arXiv:2301.11093)."""
    refine: int = later(0, since="0.2.0", ge=0)
    """U-Net: channels of the convolutions at full resolution after the unfolding, which see the input again;
    0 for none. Folded pixels share few channels, so that without them noise is left in smooth areas."""


def zeroed(module: M) -> M:
    """Set a layer's weights to zero, so that its residual block starts as the identity."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


def folded(x: Tensor, side: int) -> Tensor:
    """Return (n, C, H, W) as (n, C side^2, ceil(H / side), ceil(W / side)); zeros complete a block."""
    below, right = -x.shape[2] % side, -x.shape[3] % side
    return F.pixel_unshuffle(F.pad(x, (0, right, 0, below)) if below or right else x, side)


def group_norm(channels: int) -> nn.GroupNorm:
    """Return GroupNorm of 32 groups, or of fewer where they would have less than 4 channels each.

    The norm of a group of one channel would remove the time embedding, a constant over the image.
    """
    most = min(32, max(1, channels // 4))
    groups = next(count for count in range(most, 0, -1) if channels % count == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """(n, C, H, W) to (n, C', H, W): two convolutions, time added between them.

    Args:
        scale: factor on the sum of both branches: sqrt(1/2) keeps its variance.
        resizes: the block may be given another size in `forward`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_width: int,
        dropout: float,
        scale: float = 1.0,
        resizes: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_width, out_channels)
        self.norm2 = group_norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        same = in_channels == out_channels and not resizes
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)
        self.scale = scale

    def forward(self, x: Tensor, time: Tensor, resize: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        h = F.silu(self.norm1(x))
        if resize is not None:
            h, x = resize(h), resize(x)
        h = self.conv1(h)
        h = h + self.time(F.silu(time))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        h = self.shortcut(x) + h
        return h if self.scale == 1 else h * self.scale


class SelfAttention(nn.Module):
    """(n, C, H, W) to itself: each pixel attends to all others, with one head."""

    def __init__(self, channels: int, scale: float = 1.0) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = zeroed(nn.Conv2d(channels, channels, 1))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        tokens = self.qkv(self.norm(x)).reshape(n, 3, 1, c, height * width).transpose(-1, -2)
        q, k, v = tokens.unbind(1)
        h = F.scaled_dot_product_attention(q, k, v)
        h = x + self.project(h.transpose(-1, -2).reshape(n, c, height, width))
        return h if self.scale == 1 else h * self.scale


class Block(nn.Module):
    """A residual block, with optional attention after it: to all pixels, and to a caption's tokens."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time: int,
        dropout: float,
        attend: bool,
        read: bool,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.residual = ResidualBlock(in_channels, out_channels, time, dropout, scale)
        self.attention = SelfAttention(out_channels, scale) if attend else nn.Identity()
        self.words = CrossAttention(out_channels, time, group_norm(out_channels)) if attend and read else None

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None) -> Tensor:
        h = self.attention(self.residual(x, time))
        return h if self.words is None or context is None else self.words(h, context)


class Shrink(nn.Module):
    """(n, C, H, W) to half the side, rounded up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.conv(x)


class Grow(nn.Module):
    """(n, C, H, W) to the size of the next skip connection: an odd side was rounded up on the way down."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor, size: torch.Size) -> Tensor:
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class ResidualShrink(nn.Module):
    """A residual block whose two branches are halved by a filter (Brock et al. 2019, arXiv:1809.11096)."""

    def __init__(self, block: ResidualBlock, resampler: Resampler) -> None:
        super().__init__()
        self.block = block
        self.resampler = resampler

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.block(x, time, self.resampler.down)


class ResidualGrow(nn.Module):
    """A residual block whose two branches are doubled by a filter, to the next skip connection's size."""

    def __init__(self, block: ResidualBlock, resampler: Resampler) -> None:
        super().__init__()
        self.block = block
        self.resampler = resampler

    def forward(self, x: Tensor, time: Tensor, size: torch.Size) -> Tensor:
        return self.block(x, time, lambda h: self.resampler.up(h, size))


class Pyramid(nn.Module):
    """Downsampled input of a level, from the previous level's, added to the features (appendix H)."""

    def __init__(self, in_channels: int, out_channels: int, resampler: Resampler, scale: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.resampler = resampler
        self.scale = scale

    def forward(self, image: Tensor, h: Tensor) -> Tensor:
        return (self.resampler.down(self.conv(image)) + h) * self.scale


class Refinement(nn.Module):
    """Features (n, width, H, W) and the network's input (n, seen, H, W) to (n, out, H, W), from 0.

    A residual block without a norm, because features carry the noise level and the input its amplitude.
    """

    def __init__(self, width: int, seen: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width + seen, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.last = zeroed(nn.Conv2d(width, out, 3, padding=1))

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        h = self.first(torch.cat((features, image), dim=1))
        h = h + self.second(F.silu(h))
        return self.last(F.silu(h))


class UNet(nn.Module):
    """Images and times to images: (n, C, H, W) and (n,) to (n, C, H, W), for any H and W.

    Args:
        config: options of the network.
        data: (C, H, W), and what its task conditions the network on: labels and captions are added to the
            time, attention reads a caption's tokens, and an image is concatenated to the input. `attention`
            counts H at each level; a side is divided by `fold`, then halved at each level but the last,
            rounding up.
        time_range: greatest time minus the least: `fourier_scale` is periods over the whole of it.
        time_scale: factor on t in sinusoids: 1 for steps of a chain, 1000 for times in [0, 1].
        outputs: number of images returned, side by side along axis 1.
        augment: dimensions of the augmentation label that the network is conditioned on; 0 for none.
        times: number of times of an example: with several, t is (n, times).

    Raises:
        UsageError: where the image is too small for so many levels.
    """

    def __init__(
        self,
        config: UNetConfig,
        data: DataInfo,
        *,
        time_range: float = 1000.0,
        time_scale: float = 1.0,
        outputs: int = 1,
        augment: int = 0,
        times: int = 1,
    ) -> None:
        super().__init__()
        in_channels, size = data.shape[0] * config.fold**2, math.ceil(data.shape[1] / config.fold)
        channels, mult = config.channels, config.mult
        most = 1 + math.ceil(math.log2(size))
        if not 1 <= len(mult) <= most:
            raise UsageError(
                f"a U-Net of {len(mult)} levels, mult {list(mult)}, for images of side {size}",
                f"expected: 1 to {most} levels",
            )
        sides = [math.ceil(size / 2**level) for level in range(len(mult))]
        time = 4 * channels
        fourier = config.fourier_scale / time_range if config.time == "fourier" else 0.0
        self.time = TimeEmbedding(channels, time, time_scale, fourier, times)
        self.condition = condition_embedding(data, time, augment)
        self.image_channels = source_channels(data)
        self.fold = config.fold
        seen = in_channels + self.image_channels * config.fold**2
        self.first = nn.Conv2d(seen, channels, 3, padding=1)
        resampler = Resampler(FIR if config.resample == "fir" else BOX)
        reads = self.condition.vocabulary > 0

        def block(width: int, out: int, attend: bool) -> Block:
            return Block(width, out, time, config.dropout, attend, reads, config.skip_scale)

        def resizing(width: int) -> ResidualBlock:
            return ResidualBlock(width, width, time, config.dropout, config.skip_scale, resizes=True)

        convolves = config.resample == "conv"
        width = channels
        skips = [width]
        self.down = nn.ModuleList()
        self.pyramid = nn.ModuleList()
        for level, side in enumerate(sides):
            for _ in range(config.blocks):
                out = channels * mult[level]
                self.down.append(block(width, out, side in config.attention))
                skips.append(width := out)
            if level < len(sides) - 1:
                self.down.append(Shrink(width) if convolves else ResidualShrink(resizing(width), resampler))
                skips.append(width)
                if config.pyramid:
                    self.pyramid.append(Pyramid(seen, width, resampler, config.skip_scale))
                    seen = width

        self.middle = nn.ModuleList(block(width, width, attend) for attend in (True, False))

        self.up = nn.ModuleList()
        for level, side in reversed(list(enumerate(sides))):
            for place in range(config.blocks + 1):
                out = channels * mult[level]
                here = config.attend_up == "each" or place == config.blocks
                self.up.append(block(width + skips.pop(), out, side in config.attention and here))
                width = out
            if level > 0:
                self.up.append(Grow(width) if convolves else ResidualGrow(resizing(width), resampler))

        self.norm = group_norm(width)
        self.refinement: Refinement | None = None
        if config.refine:
            self.last = nn.Conv2d(width, config.refine * config.fold**2, 1)
            seen = data.shape[0] + self.image_channels
            self.refinement = Refinement(config.refine, seen, outputs * data.shape[0])
        else:
            self.last = zeroed(nn.Conv2d(width, outputs * in_channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        time, context = self.condition(cond, self.time(t))
        whole = with_image(x, cond, self.image_channels)
        image = folded(whole, self.fold)
        h = self.first(image)
        skips = [h]
        pyramid = iter(self.pyramid)
        for layer in self.down:
            if isinstance(layer, Block):
                h = layer(h, time, context)
            else:
                h = layer(h, time)
                join = next(pyramid, None)
                if join is not None:
                    h = image = join(image, h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, time, context)
        for layer in self.up:
            if isinstance(layer, Block):
                h = layer(torch.cat((h, skips.pop()), dim=1), time, context)
            else:
                h = layer(h, time, skips[-1].shape[-2:])
        out = F.pixel_shuffle(self.last(F.silu(self.norm(h))), self.fold)[..., : x.shape[2], : x.shape[3]]
        return out if self.refinement is None else self.refinement(out, whole)
