"""Discrete models of images that are few enough to enumerate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tests.making import settings
from zoo_core.data.loading import to_unit
from zoo_core.seeds import generator
from zoo_core.types import Cond, DataInfo
from zoo_discrete.d3pm import D3PM, D3PMConfig
from zoo_discrete.mdlm import MDLM, MDLMConfig

MODELS: dict[str, Any] = {"d3pm": (D3PM, D3PMConfig), "mdlm": (MDLM, MDLMConfig)}


def made(name: str, shape: tuple[int, ...], levels: int, **options: object) -> Any:
    """Return a model in eval mode whose weights are all random, so that its laws are uneven."""
    kind, config = MODELS[name]
    small = {"model.channels": 8, "model.mult": (1,), "model.features": 4}
    given = settings(config, "", **{**small, **options})
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


def log_prob(recipe: MDLM, x: Tensor, groups: Sequence[tuple[int, ...]], cond: Cond | None = None) -> Tensor:
    """Return log p of levels (n, D) whose values are drawn group by group, independently within a group."""
    total = torch.zeros(len(x), dtype=torch.float64)
    state = torch.full_like(x, recipe.values.count)
    with torch.no_grad():
        for group in groups:
            law = recipe.log_probs(state, cond)
            for i in group:
                total += law[torch.arange(len(x)), i, x[:, i]]
            state[:, group] = x[:, group]
    return total


def by_orders(recipe: MDLM, x: Tensor, cond: Cond | None = None) -> Tensor:
    """Return log p of levels (n, D) as an autoregressive model, in each of the D! orders, (D!, n) nats."""
    orders = itertools.permutations(range(x.shape[1]))
    return torch.stack([log_prob(recipe, x, [(i,) for i in order], cond) for order in orders])


def by_masks(recipe: MDLM, x: Tensor, cond: Cond | None = None) -> Tensor:
    """Return the mean of the model's own terms of its bound over all masks, (n,) nats of log p."""
    dims = x.shape[1]
    total = torch.zeros(len(x), dtype=torch.float64)
    with torch.no_grad():
        for m in range(1, dims + 1):
            masks = list(itertools.combinations(range(dims), m))
            for mask in masks:
                hidden = torch.zeros(x.shape, dtype=torch.bool)
                hidden[:, list(mask)] = True
                total -= recipe.nats(x, hidden, cond) / (dims * len(masks))
    return total


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
