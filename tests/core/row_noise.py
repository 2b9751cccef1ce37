"""Noise that belongs to an example and not to a process: what one process and several are compared with."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from zoo_core.types import Batch, Context, Loss

FLOATS: dict[Any, Callable[..., Tensor]] = {torch.randn: torch.randn, torch.rand: torch.rand}
LIKE: dict[Any, Any] = {torch.randn_like: torch.randn, torch.rand_like: torch.rand}
REFUSED = {torch.bernoulli, torch.multinomial, torch.normal, torch.randperm, Tensor.uniform_, Tensor.normal_}
"""Randomness that no model of these tests is to draw unseen."""


class RowNoise(TorchFunctionMode):
    """Within the block draws of a number for each row are functions of (key, number of the draw, example).

    Draws of another length are functions of (key, number of the draw) alone.

    Args:
        index: (n,) the examples of a batch.
        key: of the update.
    """

    def __init__(self, index: Tensor, key: str) -> None:
        super().__init__()
        self.index, self.key, self.draws = index.tolist(), key, 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        assert func not in REFUSED, func
        if func in FLOATS:
            given = args if isinstance(args[0], int) else args[0]
            return self._drawn(given, partial(FLOATS[func], dtype=torch.float64))
        if func in LIKE:
            return self._drawn(args[0].shape, partial(FLOATS[LIKE[func]], dtype=torch.float64))
        if func is F.dropout:
            return self._dropout(args[0], **kwargs)
        if func is torch.randint:
            *ends, size = args
            return self._drawn(size, partial(torch.randint, *ends))
        return func(*args, **kwargs)

    def _dropout(self, x: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
        assert not inplace
        return x * (self._drawn(x.shape, torch.rand) >= p) / (1 - p) if training else x

    def _drawn(self, size: Sequence[int], draw: Callable[..., Tensor]) -> Tensor:
        self.draws += 1
        shape, n = tuple(size), len(self.index)
        if not shape or shape[0] % n:
            found = draw(shape, generator=self._rng())
        else:
            of = [self._rng(self.index[i % n], i // n) for i in range(shape[0])]
            found = torch.stack([draw(shape[1:], generator=rng) for rng in of])
        return found.to(torch.get_default_dtype()) if found.is_floating_point() else found

    def _rng(self, *of: int) -> torch.Generator:
        digest = hashlib.sha256(repr((self.key, self.draws, *of)).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))


def rowwise(
    loss: Callable[[Batch, Context], Loss], key: Callable[[], str]
) -> Callable[[Batch, Context], Loss]:
    """Return a loss in torch's default dtype, whose noise belongs to its examples."""

    def told(batch: Batch, context: Context) -> Loss:
        dtype = torch.get_default_dtype()
        typed = Batch(batch.x.to(dtype), batch.cond, batch.index)
        with RowNoise(batch.index, key()):
            return loss(typed, context)

    return told


def largest_gap(one: list[dict[str, float]], other: list[dict[str, float]]) -> float:
    """Return the largest relative difference of two runs' values, relative to at least 1.

    Fractions of right answers are left out: models count them in float32.
    """
    assert len(one) == len(other)
    gaps = [
        abs(a[name] - b[name]) / max(1.0, abs(a[name]))
        for a, b in zip(one, other, strict=True)
        for name in a
        if not name.endswith("accuracy")
    ]
    assert all(math.isfinite(gap) for gap in gaps)
    return max(gaps)
