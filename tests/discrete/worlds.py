"""Discrete models of images that are few enough to enumerate."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import validate
from zoo_core.data.loading import to_unit
from zoo_core.seeds import generator
from zoo_core.types import DataInfo
from zoo_discrete.d3pm import D3PM, D3PMConfig
from zoo_discrete.mdlm import MDLM, MDLMConfig

MODELS: dict[str, Any] = {"d3pm": (D3PM, D3PMConfig), "mdlm": (MDLM, MDLMConfig)}


def made(name: str, shape: tuple[int, ...], levels: int, **options: object) -> Any:
    """Return a model in eval mode whose weights are all random, so that its laws are uneven."""
    kind, config = MODELS[name]
    small = {"model.channels": 8, "model.mult": (1,), "model.features": 4}
    given, mistakes = validate(config, {**small, **options}, name)
    assert not mistakes, mistakes
    recipe = kind(given, DataInfo("images", shape, levels=levels)).eval()
    rng = generator(0, name)
    with torch.no_grad():
        for parameter in recipe.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * fan**-0.5)
        recipe.net.head.mul_(3)
    return recipe


def tabulated(recipe: Any, times: int) -> Any:
    """Return the same model with the logits of every state and time in a float64 table.

    The network computes in float32, and its rounding depends on the batch.

    Args:
        recipe: with few states.
        times: largest time.
    """
    count = recipe.net.embed.num_embeddings
    every = everything(count, recipe.data.dims)
    with torch.no_grad():
        found = [recipe.logits(every, torch.full((len(every),), float(t))) for t in range(times + 1)]
    table = torch.stack(found).double()
    places = count ** torch.arange(recipe.data.dims - 1, -1, -1)
    recipe.logits = lambda k, t, cond=None: table[t.long(), (k * places).sum(1)]
    return recipe


def everything(count: int, dims: int) -> Tensor:
    """Return all states of `dims` values with `count` states each, (count^dims, dims) int64."""
    return torch.tensor(list(itertools.product(range(count), repeat=dims)))


def images(k: Tensor, shape: tuple[int, ...], levels: int) -> Tensor:
    """Return level centers (n, *shape) float64 of levels (n, D)."""
    return to_unit(k, levels).double().unflatten(1, shape)


def agrees(draws: Tensor, expected: float) -> bool:
    """Return whether the mean of independent draws is within 4 standard errors of what is expected."""
    error = float(draws.double().std()) / math.sqrt(len(draws))
    return abs(float(draws.double().mean()) - expected) < 4 * error + 1e-9


def frequencies_agree(drawn: Tensor, every: Tensor, p: Tensor) -> bool:
    """Return whether states (n, D) occur as often as their probabilities say, within 4 standard errors."""
    n = len(drawn)
    found = (drawn[:, None] == every).all(2).double().mean(0)
    return bool(((found - p).abs() < 4 * (p * (1 - p) / n).sqrt() + 1e-9).all())
