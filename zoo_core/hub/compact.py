"""Weights in half their size: float16 where nothing that matters is lost, and only what is needed.

Parameters are stored in float16. Buffers (statistics, noise levels, counts, tables) stay as they are, and so
does a tensor with values that float16 does not reach, or rounds by more than a thousandth of its norm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Kind = Literal["float16", "float32"]
"""Type of the parameters in a compact bundle."""


class Compaction(NamedTuple):
    """What a compact bundle keeps of a run.

    Attributes:
        kind: type of the parameters.
        left_out: parts of the recipe that are left out.
        parameters: names of the recipe's parameters; all else in its state are buffers.
    """

    kind: Kind
    left_out: tuple[str, ...]
    parameters: frozenset[str]


LARGEST = 6e4
"""Magnitude that float16 still holds."""
ERROR = 1e-3
"""Largest norm of the rounding, by the norm of the tensor."""


def halved(weights: Mapping[str, Tensor], parameters: Collection[str]) -> dict[str, Tensor]:
    """Return weights with those parameters in float16 that it can hold.

    Args:
        weights: by name.
        parameters: names of those that are not buffers.
    """
    return {name: _half(tensor) if name in parameters else tensor for name, tensor in weights.items()}


def _half(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float32 or not tensor.numel() or float(tensor.abs().max()) > LARGEST:
        return tensor
    half = tensor.half()
    lost, norm = float((half.float() - tensor).norm()), float(tensor.norm())
    return half if lost <= ERROR * norm else tensor


def whole(weights: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Return weights with those of these names in float32: the inverse of `halved`, to its rounding.

    Raises:
        KeyError: where a name is not there.
    """
    return {**weights, **{name: weights[name].float() for name in names}}
