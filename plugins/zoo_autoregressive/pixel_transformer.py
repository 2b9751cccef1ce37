"""A causal transformer over the pixels of an image (after Parmar et al. 2018, "Image Transformer",
arXiv:1802.05751).

Pixel i is predicted from a stream of the pixels before it: a start vector, then the pixels 0 to i - 1, each
with the position of the pixel that follows it. The paper attends to a neighborhood; images here are small
enough to attend to all earlier pixels. With `model.above`, a place is also told the three pixels above the
one that follows: a short training does not find them among a thousand. Keys and values are cached in
sampling.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from zoo_core.config import (
    DEFAULTS,
    EmaConfig,
    NetworkOptim,
    OptimizerConfig,
    Preset,
    TrainConfig,
    later,
)
from zoo_core.errors import UsageError
from zoo_core.nn.mlp import fourier, fourier_width
from zoo_core.types import DataInfo


class PixelTransformerModel(MixtureModel):
    """The network."""

    width: int = Field(48, ge=1)
    """Width of the transformer, a multiple of heads."""
    layers: int = Field(3, ge=1)
    """Number of blocks."""
    heads: int = Field(4, ge=1)
    """Attention heads."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout of each branch of a block."""
    above: bool = later(False, since="0.2.0")
    """Tell each place the three pixels above the one that it predicts."""


class PixelTransformerConfig(AutoregressiveConfig):
    """One run of the transformer over pixels."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {"model.layers": 4, "model.components": 10, "model.dropout": 0.1, "model.above": True}
            | {"train.steps": 1500, "train.batch_size": 8, "optim.net.lr": 2e-3},
            "for 28x28 and 32x32: streams of 1,024 pixels; not tuned",
        ),
    }

    model: PixelTransformerModel = PixelTransformerModel()
    """The network and the distribution of a pixel."""
    optim: NetworkOptim = NetworkOptim(net=OptimizerConfig(lr=5e-3, schedule="cosine", warmup=50))
    """Optimization."""
    train: TrainConfig = TrainConfig(steps=1000, batch_size=64, ema=EmaConfig(decay=0.99))
    """Training."""


class Memory:
    """Keys and values of the pixels seen so far, (n, heads, m, width / heads) each.

    Args:
        shape: (n, heads, places, width / heads), for all places.
        like: a tensor of the device and dtype.
    """

    def __init__(self, shape: tuple[int, ...], like: Tensor) -> None:
        self.keys, self.values, self.seen = like.new_empty(shape), like.new_empty(shape), 0

    def add(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append one place, (n, heads, 1, width / heads), and return all that were seen."""
        self.keys[:, :, self.seen] = key[:, :, 0]
        self.values[:, :, self.seen] = value[:, :, 0]
        self.seen += 1
        return self.keys[:, :, : self.seen], self.values[:, :, : self.seen]


class Block(nn.Module):
    """h + attend(norm(h)), then h + feed(norm(h)); a place attends to itself and the places before it.

    Args:
        width: of the stream.
        heads: of the attention.
        dropout: probability, at the end of each branch.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor, memory: Memory | None = None) -> Tensor:
        """Return the stream, (n, places, width); with a memory h is the next place alone."""
        query, key, value = self.qkv(self.norm1(h)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if memory is not None:
            key, value = memory.add(key, value)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=memory is None)
        h = h + self.drop(self.project(attended.transpose(1, 2).flatten(2)))
        return h + self.drop(self.feed(self.norm2(h)))


class CausalTransformer(nn.Module):
    """Parameters (n, outputs, H, W) of the pixels of images (n, C, H, W), each from the pixels before it.

    Args:
        model: options.
        shape: (C, H, W).
        outputs: numbers for each pixel.
        classes: number of classes of its labels, 0 for none.

    Raises:
        UsageError: where heads do not divide the width.
    """

    def __init__(
        self, model: PixelTransformerModel, shape: tuple[int, ...], outputs: int, classes: int
    ) -> None:
        super().__init__()
        if model.width % model.heads:
            raise UsageError(
                f"{model.heads} heads do not divide a width of {model.width}",
                "expected: a multiple of heads",
                f"next: model.width={model.heads * -(-model.width // model.heads)}",
            )
        channels, height, width = shape
        self.heads = model.heads
        self.start = nn.Parameter(0.02 * torch.randn(model.width))
        self.position = nn.Parameter(0.02 * torch.randn(height * width, model.width))
        self.pixel = nn.Linear(fourier_width(channels), model.width)
        self.blocks = nn.ModuleList(
            Block(model.width, model.heads, model.dropout) for _ in range(model.layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.last = nn.Linear(model.width, outputs)
        self.label = label_embedding(classes, model.width)
        self.above = nn.Linear(fourier_width(3 * channels), model.width) if model.above else None

    def embed(self, pixels: Tensor) -> Tensor:
        """Return vectors (n, m, width) of pixels (n, m, C)."""
        return self.pixel(fourier(pixels.flatten(0, 1))).unflatten(0, pixels.shape[:2])

    def places(self, label: Tensor | None) -> Tensor:
        """Return what each place is told, (1 or n, places, width): its position and the label's vector."""
        if self.label is None:
            return self.position[None]
        return self.position + self.label(label)[:, None]

    def told(self, rows: Tensor) -> Tensor | float:
        """Return what the places of rows are told of the pixels above them, (n, rows * W, width), or 0.

        Args:
            rows: the row above each with a zero at both ends, (n, C, rows, W + 2).
        """
        if self.above is None:
            return 0.0
        width = rows.shape[3] - 2
        three = torch.cat([rows[..., k : k + width] for k in range(3)], 1).flatten(2).transpose(1, 2)
        return self.above(fourier(three.flatten(0, 1))).unflatten(0, three.shape[:2])

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        before = self.embed(x.flatten(2).transpose(1, 2)[:, :-1])
        h = torch.cat((self.start.expand(len(x), 1, -1).to(before.dtype), before), 1) + self.places(label)
        h = h + self.told(F.pad(x, (1, 1, 1, 0))[:, :, :-1])
        for block in self.blocks:
            h = block(h)
        return self.last(self.norm(h)).transpose(1, 2).unflatten(2, x.shape[2:])

    def fill(self, x: Tensor, pick: Pick, label: Tensor | None = None) -> None:
        """Set the pixels of x in reading order; each is one pass of a single place."""
        places, n, added = self.position.shape[0], len(x), self.places(label)
        shape = (n, self.heads, places, self.position.shape[1] // self.heads)
        memories = [Memory(shape, x) for _ in self.blocks]
        flat = x.view(n, x.shape[1], places)
        rows = F.pad(torch.zeros_like(x), (1, 1, 1, 0))  # row r of it is above row r of x
        h = self.start.expand(n, 1, -1)
        for place in range(places):
            row, column = divmod(place, x.shape[3])
            if row and not column:
                rows[:, :, row, 1:-1] = x[:, :, row - 1]
            h = h + added[:, place : place + 1] + self.told(rows[:, :, row : row + 1, column : column + 3])
            for block, memory in zip(self.blocks, memories, strict=True):
                h = block(h, memory)
            flat[:, :, place] = pick(place, self.last(self.norm(h))[:, 0])
            h = self.embed(flat[:, None, :, place])


class PixelTransformer(Autoregressive):
    """A causal transformer and a mixture of logistics for each pixel."""

    def __init__(self, config: PixelTransformerConfig, data: DataInfo) -> None:
        super().__init__("pixel-transformer", config, data, partial(CausalTransformer, config.model))
