"""Recipes as their tests make them, and what a phase's loss is called with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.config import validate
from zoo_core.types import Batch, Cond, Context, DataInfo


def settings(config: Any, preset: str = "tiny", **options: Any) -> Any:
    """Return a model's config: options, and below them those of a preset; "" for none."""
    base = config.PRESETS[preset].overrides if preset else {}
    made, mistakes = validate(config, {**base, **options}, config.__name__)
    assert not mistakes, mistakes
    return made


def made_of(kind: Any, config: Any, data: DataInfo, preset: str = "tiny", **options: Any) -> Any:
    """Return a recipe of `settings`, with the initial weights of seed 0."""
    given = settings(config, preset, **options)
    torch.manual_seed(0)
    return kind(given, data)


def randomized(net: Any, std: float = 0.1) -> Any:
    """Return a network with other weights, of seed 0: behind those that start at zero a fault would hide."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=std)
    return net


def context(seed: int = 0, progress: float = 0.0) -> Context:
    return Context(step=0, progress=progress, images=0, rng=torch.Generator().manual_seed(seed))


def batch(x: Tensor) -> Batch:
    """Return a batch without conditions."""
    return Batch(x, Cond(), torch.arange(len(x)))
