"""PixelCNN++ (Salimans, Karpathy, Chen and Kingma 2017, arXiv:1701.05517).

Two streams of features: the vertical one sees all rows above a pixel, the horizontal one sees what is on its
left in its row, and the vertical stream of its row. Together they see every earlier pixel, so there is no
blind spot (van den Oord et al. 2016, arXiv:1606.05328, section 2.2). Convolutions are made causal by shifts
and one-sided padding, as the paper has them. Dilations 1, 2, 4, ... take the place of the paper's lower
resolutions: after one cycle every earlier pixel is seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_autoregressive.recipe import (
    TINY,
    Autoregressive,
    AutoregressiveConfig,
    MixtureModel,
    Pick,
    label_embedding,
)
from zoo_core.config import DEFAULTS, EmaConfig, Preset, TrainConfig
from zoo_core.types import DataInfo


class PixelCNNModel(MixtureModel):
    """The network."""

    width: int = Field(32, ge=1)
    """Channels of each stream."""
    blocks: int = Field(6, ge=1)
    """Residual blocks of each stream; dilations 1, 2, 4, ... repeat once half a side is reached. With fewer
    blocks than a cycle has, distant pixels are not seen."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout in each residual block."""


class PixelCNNConfig(AutoregressiveConfig):
    """One run of PixelCNN++."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {"model.width": 48, "model.blocks": 5, "model.components": 10, "model.dropout": 0.1}
            | {"train.steps": 2000, "train.batch_size": 16},
            "for 28x28 and 32x32: one cycle of dilations; not tuned",
        ),
    }

    model: PixelCNNModel = PixelCNNModel()
    """The network and the distribution of a pixel."""
    train: TrainConfig = TrainConfig(steps=700, batch_size=64, ema=EmaConfig(decay=0.99))
    """Training."""


class Gated(nn.Module):
    """h + a sigmoid(b) with (a, b) = W dropout(silu(branch)), a gated residual branch.

    Args:
        width: channels.
        dropout: probability.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.mix = nn.Conv2d(width, 2 * width, 1)

    def forward(self, h: Tensor, branch: Tensor) -> Tensor:
        value, gate = self.mix(self.drop(F.silu(branch))).chunk(2, 1)
        return h + value * torch.sigmoid(gate)


class Block(nn.Module):
    """A residual block of both streams.

    Args:
        width: channels of a stream.
        dilation: of its convolutions.
        dropout: probability.
    """

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.down = nn.Conv2d(width, width, (2, 3), dilation=dilation)
        self.right = nn.Conv2d(width, width, (1, 2), dilation=dilation)
        self.link = nn.Conv2d(width, width, 1)
        self.gate_down = Gated(width, dropout)
        self.gate_right = Gated(width, dropout)

    def vertical(self, v: Tensor) -> Tensor:
        """Return (n, width, h, W) from this row and the one `dilation` above, three columns each."""
        d = self.dilation
        return self.gate_down(v, self.down(F.pad(F.silu(v), (d, d, d, 0))))

    def horizontal(self, h: Tensor, v: Tensor) -> Tensor:
        """Return (n, width, r, w) from this column, the one `dilation` to the left, and the other stream."""
        branch = self.right(F.pad(F.silu(h), (self.dilation, 0))) + self.link(F.silu(v))
        return self.gate_right(h, branch)


def dilations(blocks: int, height: int, width: int) -> list[int]:
    """Return the dilation of each block: powers of two that repeat once their sum spans the image."""
    cycle = max(1, math.ceil(math.log2(max(height, width))))
    return [2 ** (b % cycle) for b in range(blocks)]


class MaskedResidualNetwork(nn.Module):
    """Parameters (n, outputs, H, W) of the pixels of images (n, C, H, W), each from the pixels before it.

    A channel of ones tells an image from its padding.

    Args:
        model: options.
        shape: (C, H, W).
        outputs: numbers for each pixel.
        classes: number of classes of its labels, 0 for none.
    """

    def __init__(self, model: PixelCNNModel, shape: tuple[int, ...], outputs: int, classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.first_down = nn.Conv2d(channels + 1, model.width, (2, 3))
        self.first_right = nn.Conv2d(channels + 1, model.width, (1, 2))
        self.position = nn.Parameter(torch.zeros(model.width, height, width))
        self.blocks = nn.ModuleList(
            Block(model.width, dilation, model.dropout) for dilation in dilations(model.blocks, height, width)
        )
        self.last = nn.Conv2d(model.width, outputs, 1)
        self.label = label_embedding(classes, model.width)

    def vertical(self, above: Tensor, label: Tensor | None = None) -> list[Tensor]:
        """Return the vertical stream after each block, (n, width, h + 1, W), of h rows from the top.

        Row i of the result is a function of rows 0 to i - 1 and of the label.
        """
        v = self.first_down(F.pad(_with_ones(above), (1, 1, 2, 0)))
        v = v + self.position[:, : v.shape[2]]
        if self.label is not None:
            v = v + self.label(label)[:, :, None, None]
        found = []
        for block in self.blocks:
            assert isinstance(block, Block)
            v = block.vertical(v)
            found.append(v)
        return found

    def horizontal(self, left: Tensor, streams: Sequence[Tensor]) -> Tensor:
        """Return parameters (n, outputs, r, w + 1) of rows whose first w columns are given.

        Args:
            left: (n, C, r, w).
            streams: the vertical stream of these rows after each block, (n, width, r, w + 1).
        """
        h = self.first_right(F.pad(_with_ones(left), (2, 0)))
        for block, v in zip(self.blocks, streams, strict=True):
            assert isinstance(block, Block)
            h = block.horizontal(h, v)
        return self.last(F.silu(h))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.horizontal(x[..., :-1], self.vertical(x[:, :, :-1], label))

    def fill(self, x: Tensor, pick: Pick, label: Tensor | None = None) -> None:
        """Set the pixels of x in reading order; the vertical stream is computed once for each row."""
        height, width = x.shape[2:]
        for i in range(height):
            streams = [v[:, :, i : i + 1] for v in self.vertical(x[:, :, :i], label)]
            for j in range(width):
                seen = [v[..., : j + 1] for v in streams]
                out = self.horizontal(x[:, :, i : i + 1, :j], seen)[:, :, 0, j]
                x[:, :, i, j] = pick(i * width + j, out)


def _with_ones(x: Tensor) -> Tensor:
    return torch.cat((x, torch.ones_like(x[:, :1])), 1)


class PixelCNN(Autoregressive):
    """A masked residual network and a mixture of logistics for each pixel."""

    def __init__(self, config: PixelCNNConfig, data: DataInfo) -> None:
        super().__init__("pixelcnn", config, data, partial(MaskedResidualNetwork, config.model))
