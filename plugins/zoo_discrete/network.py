"""A network of levels: the backbone of diffusion models with an embedding in front and logits behind."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.nn.backbone import Backbone, build_backbone
from zoo_core.nn.bounding import bounded
from zoo_core.nn.logistic import parameters_of
from zoo_core.types import Cond, DataInfo

LOGIT_MAX = 12.0
"""Greatest size of a logit: no level has a probability below exp(-24) / K."""


class LevelModel(Backbone):
    """The network."""

    features: int = Field(16, ge=2)
    """Size of the embedding of a level, and of the features that the logits of a value are linear in."""


def cosines(levels: int, count: int) -> Tensor:
    """Return cos(pi j (k + 1/2) / K) of level k for j = 1, ..., count, (K, count)."""
    k, j = torch.arange(levels) + 0.5, torch.arange(1, count + 1)
    return torch.cos(math.pi / levels * k[:, None] * j)


class LevelNetwork(nn.Module):
    """Logits (n, *shape, K) of the levels of every value, from states (n, *shape) and times (n,).

    Embedding and logits start as cosines of the level, so that near levels are alike; both are trained.

    Args:
        model: options.
        data: of images or points.
        levels: K.
        states: number of states; states from K on are the mask.
        time_scale: factor on t in sinusoids.
    """

    def __init__(
        self, model: LevelModel, data: DataInfo, levels: int, states: int, *, time_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.size = min(model.features, levels)
        basis = F.pad(cosines(levels, self.size - 1), (0, 1))
        mask = torch.zeros(states - levels, self.size)
        mask[:, -1] = 1
        self.embed = nn.Embedding.from_pretrained(torch.cat((basis, mask)), freeze=False)
        head = basis.clone()
        head[:, -1] = 0.1 * torch.randn(levels)
        self.head = nn.Parameter(head)
        self.bias = nn.Parameter(torch.zeros(levels))
        inner = replace(data, shape=(self.size * data.shape[0], *data.shape[1:]))
        self.net = build_backbone(model, inner, time_scale=time_scale, time_range=1000 / time_scale)

    def forward(self, k: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        h = self.embed(k).movedim(-1, 2)  # the features of a channel are side by side
        h = self.net(h.flatten(1, 2), t, cond)
        h = parameters_of(h.unflatten(1, (k.shape[1], self.size)).movedim(2, -1))
        return bounded(F.linear(h, self.head, self.bias), -LOGIT_MAX, LOGIT_MAX)
