"""Real NVP (Dinh, Sohl-Dickstein and Bengio 2017, arXiv:1605.08803).

An affine coupling layer leaves a part of its input as it is and transforms the rest,

    y = b x + (1 - b) (x exp(s(b x)) + t(b x)),    log |det| = sum (1 - b) s(b x)         (Eqs. 6 and 9)

for a mask b. Images: at every scale three layers with checkerboard masks, then each block of 2x2 pixels
becomes channels, three layers with masks over channels, and half of the channels are done (section 3.6).
Points: masks of every second coordinate in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import UNTUNED, Preset
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo
from zoo_normalizing_flow.recipe import POINTS, TINY, Bijection, Flow, FlowConfig, FlowModel

LOG_SCALE = 2.0
"""Greatest |s| of a layer: its inverse loses at most this factor's digits."""
MASKS = 3
"""Layers with checkerboard masks, and with masks over channels, at each scale."""


class RealNVPModel(FlowModel):
    """The coupling layers."""

    scales: int = Field(2, ge=0)
    """Images: number of scales; each halves the side and finishes half of the values. Fewer where a side is
    odd."""
    width: int = Field(32, ge=1)
    """Images: channels of the network of each layer."""
    blocks: int = Field(2, ge=1)
    """Images: residual blocks of the network of each layer."""
    layers: int = Field(10, ge=2)
    """Points: number of coupling layers."""
    hidden: int = Field(64, ge=1)
    """Points: width of the network of each layer."""


class RealNVPConfig(FlowConfig):
    """One run of Real NVP."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            {**TINY, "model.width": 8, "model.blocks": 1, "model.layers": 4, "model.hidden": 32},
            "for tests: seconds on one core",
        ),
        "default@image<=16": UNTUNED,
        "default@image<=48": Preset(
            {"model.scales": 3, "model.width": 32, "model.blocks": 2, "train.batch_size": 32},
            "for 28x28 and 32x32: one scale more; not tuned",
        ),
        "default@points": Preset(POINTS, "for points; not tuned"),
    }

    model: RealNVPModel = RealNVPModel()
    """The coupling layers."""


def _start_at_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class ResidualConv(nn.Module):
    """(n, inner, H, W) to (n, outer, H, W) by residual blocks of convolutions; the last layer starts at zero.

    Args:
        inner, outer: channels.
        width: channels of the blocks.
        blocks: their number.
    """

    def __init__(self, inner: int, outer: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 1)
            )
            for _ in range(blocks)
        )
        self.last = nn.Conv2d(width, outer, 3, padding=1)
        _start_at_zero(self.last)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        return self.last(F.silu(h))


def perceptron(dims: int, hidden: int) -> nn.Module:
    """Return a network of points, (n, dims) to (n, 2 dims), whose last layer starts at zero."""
    last = nn.Linear(hidden, 2 * dims)
    _start_at_zero(last)
    return nn.Sequential(nn.Linear(dims, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)


class AffineCoupling(nn.Module):
    """x where the mask is 1, an affine map of x where it is 0.

    Args:
        mask: b, of one example: 0 or 1.
        net: (n, C, ...) to (n, 2 C, ...): s and t.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, net: nn.Module) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)
        self.net = net

    def _affine(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self.net(kept).chunk(2, 1)
        change = 1 - self.mask
        return change * LOG_SCALE * torch.tanh(s / LOG_SCALE), change * t

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y, like x, and the log-determinant, (n,)."""
        s, t = self._affine(self.mask * x)
        return x * torch.exp(s) + t, s.flatten(1).sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        s, t = self._affine(self.mask * y)
        return (y - t) * torch.exp(-s)


def checkerboard(height: int, width: int, odd: bool) -> Tensor:
    """Return (1, height, width): 1 where row + column is even, or odd."""
    return ((torch.arange(height)[:, None] + torch.arange(width)) % 2 == int(odd)).float()[None]


def half(channels: int, second: bool) -> Tensor:
    """Return (channels, 1, 1): 1 for the first half of the channels, or for the second."""
    return ((torch.arange(channels) < channels // 2) != second).float()[:, None, None]


class Scale(nn.Module):
    """Couplings at one scale; the last scale has one checkerboard layer more and no masks over channels.

    Args:
        shape: (C, H, W) of its input.
        model: options.
        last: whether nothing follows.
    """

    def __init__(self, shape: tuple[int, ...], model: RealNVPModel, last: bool) -> None:
        super().__init__()
        channels, height, width = shape
        self.last = last

        def coupling(mask: Tensor, count: int) -> AffineCoupling:
            return AffineCoupling(mask, ResidualConv(count, 2 * count, model.width, model.blocks))

        boards = [checkerboard(height, width, bool(k % 2)) for k in range(MASKS + last)]
        self.spatial = nn.ModuleList(coupling(board, channels) for board in boards)
        halves = [] if last else [half(4 * channels, bool(k % 2)) for k in range(MASKS)]
        self.channel = nn.ModuleList(coupling(mask, 4 * channels) for mask in halves)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is done, (n, values), what the next scale gets, (n, C', H', W'), and log |det|."""
        log_det = x.new_zeros(len(x))
        for layer in self.spatial:
            x, more = layer(x)
            log_det = log_det + more
        if self.last:
            return x.flatten(1), x[:, :0], log_det
        x = F.pixel_unshuffle(x, 2)
        for layer in self.channel:
            x, more = layer(x)
            log_det = log_det + more
        onward, done = x.chunk(2, 1)
        return done.flatten(1), onward, log_det

    def inverse(self, done: Tensor, onward: Tensor) -> Tensor:
        """Return the input from what is done, (n, C, H, W), and what came back from the next scale."""
        x = done
        if not self.last:
            x = torch.cat((onward, done), 1)
            for layer in reversed(self.channel):
                x = layer.inverse(x)  # type: ignore[operator]
            x = F.pixel_shuffle(x, 2)
        for layer in reversed(self.spatial):
            x = layer.inverse(x)  # type: ignore[operator]
        return x


class MultiScale(Bijection):
    """Couplings of images at several scales.

    Args:
        model: options.
        shape: (C, H, W).
    """

    def __init__(self, model: RealNVPModel, shape: tuple[int, ...]) -> None:
        super().__init__()
        scales: list[Scale] = []
        self.done: list[tuple[int, ...]] = []
        channels, height, width = shape
        for _ in range(model.scales):
            if height % 2 or width % 2:
                break
            scales.append(Scale((channels, height, width), model, last=False))
            channels, height, width = 2 * channels, height // 2, width // 2
            self.done.append((channels, height, width))
        scales.append(Scale((channels, height, width), model, last=True))
        self.done.append((channels, height, width))
        self.scales = nn.ModuleList(scales)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        log_det, latents = y.new_zeros(len(y)), []
        for scale in self.scales:
            done, y, more = scale(y)
            latents.append(done)
            log_det = log_det + more
        return torch.cat(latents, 1), log_det

    def inverse(self, z: Tensor) -> Tensor:
        parts = z.split([torch.Size(shape).numel() for shape in self.done], 1)
        y = z[:, :0]
        for scale, part, shape in zip(reversed(self.scales), parts[::-1], self.done[::-1], strict=True):
            y = scale.inverse(part.unflatten(1, shape), y)  # type: ignore[operator]
        return y


class Couplings(Bijection):
    """Couplings of points: masks of every second coordinate in turn.

    Args:
        model: options.
        dims: D.
    """

    def __init__(self, model: RealNVPModel, dims: int) -> None:
        super().__init__()
        masks = [(torch.arange(dims) % 2 == k % 2).float() for k in range(model.layers)]
        self.layers = nn.ModuleList(AffineCoupling(mask, perceptron(dims, model.hidden)) for mask in masks)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        log_det = y.new_zeros(len(y))
        for layer in self.layers:
            y, more = layer(y)
            log_det = log_det + more
        return y, log_det

    def inverse(self, z: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            z = layer.inverse(z)  # type: ignore[operator]
        return z


class RealNVP(Flow):
    """A flow of affine couplings."""

    def __init__(self, config: RealNVPConfig, data: DataInfo) -> None:
        if data.dims < 2:
            raise UsageError(
                f"plugin 'realnvp' transforms halves of an example; {data.name!r} has 1 value",
                "expected: at least 2",
            )
        model = config.model
        net = MultiScale(model, data.shape) if data.is_image else Couplings(model, data.dims)
        super().__init__(config, data, net)
