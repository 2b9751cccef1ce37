"""The U-Net of DDPM: residual blocks, group norm, attention at chosen sizes, time in every block.

Source: Ho et al. 2020, arXiv:2006.11239, appendix B. With channels=128, mult=(1, 2, 2, 2), blocks=2 and
attention at 16 it is their CIFAR-10 network of 35.7 M parameters. With `resample`, `skip_scale`, `pyramid`
and `attend_up` it is DDPM++ and NCSN++ of Song et al. 2021, arXiv:2011.13456, appendix H.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.errors import UsageError
from zoo_core.nn.conditioning import ConditionEmbedding, CrossAttention, with_image
from zoo_core.nn.embedding import TimeEmbedding
from zoo_core.nn.resampling import BOX, FIR, Resampler
from zoo_core.types import Cond

M = TypeVar("M", nn.Conv2d, nn.Linear)
Resampling = Literal["conv", "box", "fir"]
"""How a side is halved and doubled: by a convolution, or in a residual block with a filter."""


def zeroed(module: M) -> M:
    """Set a layer's weights to zero: what it adds to starts as the identity."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


def group_norm(channels: int) -> nn.GroupNorm:
    """Return GroupNorm of 32 groups, or of fewer where they would have less than 4 channels each.

    A group of one channel would take away the time that was added to it, a constant over the image.
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
    """(n, C, H, W) to itself: each pixel looks at all others, in one head."""

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
    """A residual block, with attention after it where asked for: to all pixels, and to a caption's words."""

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
    """(n, C, H, W) to the size of the skip that is met next: an odd side was rounded up on its way down."""

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
    """A residual block whose two branches are doubled by a filter, to the size of the skip met next."""

    def __init__(self, block: ResidualBlock, resampler: Resampler) -> None:
        super().__init__()
        self.block = block
        self.resampler = resampler

    def forward(self, x: Tensor, time: Tensor, size: torch.Size) -> Tensor:
        return self.block(x, time, lambda h: self.resampler.up(h, size))


class Pyramid(nn.Module):
    """The input at every size: each level's is made of the last one's, and joins the level (appendix H)."""

    def __init__(self, in_channels: int, out_channels: int, resampler: Resampler, scale: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.resampler = resampler
        self.scale = scale

    def forward(self, image: Tensor, h: Tensor) -> Tensor:
        return (self.resampler.down(self.conv(image)) + h) * self.scale


class UNet(nn.Module):
    """Images and times to images: (n, C, H, W) and (n,) to (n, C, H, W), for any H and W.

    Args:
        in_channels: C of the data.
        size: H of the data, by which `attention` finds its place; a side is halved (rounding up) at each
            level but the last.
        channels: of the first level, even.
        mult: factor on channels, a level each.
        blocks: residual blocks a level on the way down; one more on the way up.
        attention: sides at which there is attention; the bottom always has it.
        dropout: in each residual block.
        time_scale: factor on t: 1 for steps of a chain, 1000 for times in [0, 1].
        classes, vocabulary: of the labels and captions it is conditioned on, 0 for none: both are added to
            the time, and attention looks at a caption's words.
        image_channels: of the image it is conditioned on, laid over its input; 0 for none.
        outputs: images it returns, one after another in its channels.
        fourier: spread of the rates of random Fourier features, periods a unit of time; 0 for sinusoids.
        resample: how sides are halved and doubled.
        skip_scale: factor on the sum of a block's two branches; sqrt(1/2) keeps its variance.
        pyramid: feed the input, halved along, to every level.
        attend_up: on the way up, attention after each block of a level or after its last.
        augment: numbers of the augmentation label that it is conditioned on, 0 for none.

    Raises:
        UsageError: where the image is too small for so many levels.
    """

    def __init__(
        self,
        in_channels: int,
        size: int,
        channels: int = 128,
        mult: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (16,),
        dropout: float = 0.0,
        time_scale: float = 1.0,
        classes: int = 0,
        vocabulary: int = 0,
        image_channels: int = 0,
        outputs: int = 1,
        fourier: float = 0.0,
        resample: Resampling = "conv",
        skip_scale: float = 1.0,
        pyramid: bool = False,
        attend_up: Literal["each", "last"] = "each",
        augment: int = 0,
    ) -> None:
        super().__init__()
        most = 1 + math.ceil(math.log2(size))
        if not 1 <= len(mult) <= most:
            raise UsageError(
                f"a U-Net of {len(mult)} levels, mult {list(mult)}, for images of side {size}",
                f"expected: 1 to {most} levels",
            )
        sides = [math.ceil(size / 2**level) for level in range(len(mult))]
        time = 4 * channels
        self.time = TimeEmbedding(channels, time, time_scale, fourier)
        self.condition = ConditionEmbedding(classes, vocabulary, time, augment=augment)
        self.image_channels = image_channels
        self.first = nn.Conv2d(in_channels + image_channels, channels, 3, padding=1)
        resampler = Resampler(FIR if resample == "fir" else BOX)

        def block(width: int, out: int, attend: bool) -> Block:
            return Block(width, out, time, dropout, attend, vocabulary > 0, skip_scale)

        def resizing(width: int) -> ResidualBlock:
            return ResidualBlock(width, width, time, dropout, skip_scale, resizes=True)

        width, seen = channels, in_channels + image_channels
        skips = [width]
        self.down = nn.ModuleList()
        self.pyramid = nn.ModuleList()
        for level, side in enumerate(sides):
            for _ in range(blocks):
                out = channels * mult[level]
                self.down.append(block(width, out, side in attention))
                skips.append(width := out)
            if level < len(sides) - 1:
                self.down.append(
                    Shrink(width) if resample == "conv" else ResidualShrink(resizing(width), resampler)
                )
                skips.append(width)
                if pyramid:
                    self.pyramid.append(Pyramid(seen, width, resampler, skip_scale))
                    seen = width

        self.middle = nn.ModuleList(block(width, width, attend) for attend in (True, False))

        self.up = nn.ModuleList()
        for level, side in reversed(list(enumerate(sides))):
            for place in range(blocks + 1):
                out = channels * mult[level]
                here = attend_up == "each" or place == blocks
                self.up.append(block(width + skips.pop(), out, side in attention and here))
                width = out
            if level > 0:
                self.up.append(
                    Grow(width) if resample == "conv" else ResidualGrow(resizing(width), resampler)
                )

        self.norm = group_norm(width)
        self.last = zeroed(nn.Conv2d(width, outputs * in_channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        time, context = self.condition(cond, self.time(t))
        image = with_image(x, cond, self.image_channels)
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
        return self.last(F.silu(self.norm(h)))
