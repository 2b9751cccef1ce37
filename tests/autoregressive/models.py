"""Small autoregressive models whose weights are all random."""

from __future__ import annotations

import itertools
import math

import torch

from tests.making import settings
from zoo_autoregressive.pixel_transformer import PixelTransformer, PixelTransformerConfig
from zoo_autoregressive.pixelcnn import PixelCNN, PixelCNNConfig
from zoo_autoregressive.recipe import Autoregressive
from zoo_core.data.loading import to_unit
from zoo_core.seeds import generator
from zoo_core.types import DataInfo

MODELS = {
    "pixelcnn": (PixelCNN, PixelCNNConfig),
    "pixel-transformer": (PixelTransformer, PixelTransformerConfig),
}
VARIANTS = {name: (name, {}) for name in MODELS} | {
    "pixel-transformer, above": ("pixel-transformer", {"model.above": True})
}
"""Name of a model and the options that change which pixels its network reads."""


def made(
    name: str, shape: tuple[int, ...], levels: int = 17, *, classes: int = 0, **options: object
) -> Autoregressive:
    """Return a model in eval mode whose weights are all random: no head or position is zero.

    Args:
        name: of the model.
        shape: (C, H, W).
        levels: of a pixel.
        classes: of the labels that it is conditioned on, 0 for none.
        options: of the model: {"model.order": "columns"}.
    """
    kind, config = MODELS[name]
    sizes = {"model.width": 12, "model.components": 3}
    given = settings(config, "", **{**sizes, **options})
    info = DataInfo("images", shape, levels, classes, task="class" if classes else "unconditional")
    recipe = kind(given, info).double().eval()
    rng = generator(0, name)
    with torch.no_grad():
        for parameter in recipe.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64) * fan**-0.5)
    return recipe


def every_image(shape: tuple[int, ...], levels: int) -> torch.Tensor:
    """Return all images of a shape, (levels^D, *shape) level centers."""
    values = torch.tensor(list(itertools.product(range(levels), repeat=math.prod(shape))))
    return to_unit(values.view(-1, *shape), levels)
