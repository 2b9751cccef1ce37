"""Per-sample randomness: sample k depends on (seed, k) alone, whatever the batch it is drawn in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# A block of draws holds about this many numbers a sample: a large share of a trajectory's noise in one call
# for small images, little memory for large ones. It depends on the shape only, so batches do not matter.
_BLOCK_NUMBERS = 4096
_BLOCK_STEPS = 64


def mix32(x: int) -> int:
    """Scramble 32 bits; a bijection (the finalizer of MurmurHash3), so distinct inputs stay distinct."""
    x &= 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return x ^ (x >> 16)


def derive(seed: int, *names: int | str) -> int:
    """Return a 32-bit seed for a named purpose: the same names, the same seed."""
    state = mix32(seed ^ 0x9E3779B9) ^ mix32(seed >> 32)
    for name in names:
        for byte in str(name).encode() + b"\x00":
            state = mix32(state * 31 + byte + 1)
    return state


def generator(seed: int, *names: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh torch.Generator seeded for a named purpose."""
    return torch.Generator(device=device).manual_seed(derive(seed, *names))


class Seeds:
    """One random stream a sample, on the CPU so that every device draws the same images.

    torch's CPU generator keeps 32 bits of its seed, so sample k of `seed` gets mix32(a(seed) + k):
    no two samples of a run share a stream.

    Args:
        seed: of the run.
        indices: which samples; `range(2000)` for the first 2,000.
        device: where draws are delivered.
    """

    def __init__(self, seed: int, indices: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.indices = tuple(indices)
        self.device = torch.device(device)
        start = derive(seed, "sample")
        self._streams = [torch.Generator().manual_seed(mix32(start + k)) for k in self.indices]
        self._blocks: dict[tuple[int, ...], tuple[Tensor, int]] = {}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: slice) -> Seeds:
        """Return fresh streams, from their start, for a slice of the samples."""
        return Seeds(self.seed, self.indices[rows], self.device)

    def randn(self, shape: Sequence[int]) -> Tensor:
        """Return standard normals, (n, *shape) float32; the next ones at each call."""
        key = tuple(shape)
        block, used = self._blocks.get(key, (None, 0))
        if block is None or used == block.shape[1]:
            steps = max(1, min(_BLOCK_STEPS, _BLOCK_NUMBERS // max(1, math.prod(key))))
            drawn = torch.empty(len(self), steps, *key)
            for row, stream in zip(drawn, self._streams, strict=True):
                torch.randn((steps, *key), generator=stream, out=row)
            block, used = drawn.to(self.device), 0
        self._blocks[key] = (block, used + 1)
        return block[:, used]

    def rand(self, shape: Sequence[int]) -> Tensor:
        """Return uniforms in [0, 1), (n, *shape) float32."""
        drawn = torch.empty(len(self), *shape)
        for row, stream in zip(drawn, self._streams, strict=True):
            torch.rand(tuple(shape), generator=stream, out=row)
        return drawn.to(self.device)

    def randint(self, high: int, shape: Sequence[int] = ()) -> Tensor:
        """Return integers in [0, high), (n, *shape) int64."""
        return (self.rand(shape).double() * high).long().clamp_(max=high - 1)
