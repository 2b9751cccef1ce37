"""A network of tokens: a transformer over a caption that may read the caption's image."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.errors import UsageError
from zoo_core.nn.bounding import bounded
from zoo_core.nn.dit import DiTBlock, check_heads
from zoo_core.nn.logistic import parameters_of
from zoo_core.types import Cond, DataInfo
from zoo_discrete.network import LOGIT_MAX, LevelModel

INIT = 0.02
"""Standard deviation of embeddings at the start."""


class ImageReader(nn.Module):
    """Images (n, C, H, W) of any size to vectors (n, width): three convolutions of stride 2, then the mean.

    Args:
        channels: C.
        width: of the vectors, even.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = (channels, width // 2, width, width)
        layers: list[nn.Module] = []
        for inner, outer in pairwise(sizes):
            layers += [nn.Conv2d(inner, outer, 3, stride=2, padding=1), nn.GroupNorm(1, outer), nn.GELU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(width, width)

    def forward(self, image: Tensor) -> Tensor:
        return self.last(self.layers(image).mean((2, 3)))


class TokenNetwork(nn.Module):
    """Logits (n, length, K) of the tokens of every place, from states (n, length).

    The time is not used. The image, or a learned vector in its place where there is none, modulates every
    block as the time does in a diffusion transformer. Input and output share the embedding of a token.

    Args:
        model: options: width, layers, heads.
        data: of captions; with `image_channels` the network reads images.
        levels: K, the size of the vocabulary.
        states: number of states; states from K on are the mask.

    Raises:
        UsageError: for another network than this one, or heads that do not divide the width.
    """

    def __init__(self, model: LevelModel, data: DataInfo, levels: int, states: int) -> None:
        super().__init__()
        if model.net != "auto":
            raise UsageError(
                f"model.net={model.net} was asked for, and the examples are captions",
                "expected: model.net=auto, a transformer over tokens (model.width, layers and heads)",
            )
        check_heads(model.width, model.heads)
        self.levels = levels
        width = model.width
        self.embed = nn.Embedding(states, width)
        nn.init.normal_(self.embed.weight, std=INIT)
        self.position = nn.Parameter(INIT * torch.randn(data.dims, width))
        self.blocks = nn.ModuleList(DiTBlock(width, model.heads) for _ in range(model.layers))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(levels))
        self.alone = nn.Parameter(INIT * torch.randn(width))
        self.reader = ImageReader(data.image_channels, width) if data.image_channels else None

    def given(self, n: int, cond: Cond | None) -> Tensor:
        """Return the vectors that n captions are conditioned on, (n, width)."""
        image = None if cond is None else cond.image
        if self.reader is None or image is None:
            return self.alone.expand(n, -1)
        seen = image.flatten(1).ne(0).any(1, keepdim=True)
        return torch.where(seen, self.reader(image), self.alone)

    def forward(self, k: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        h = self.embed(k) + self.position
        vector = self.given(len(k), cond)
        for block in self.blocks:
            h = block(h, vector)
        h = parameters_of(self.norm(h))
        logits = F.linear(h, self.embed.weight[: self.levels].to(h), self.bias)
        return bounded(logits, -LOGIT_MAX, LOGIT_MAX)
