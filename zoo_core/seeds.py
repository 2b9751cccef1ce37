"""Per-sample random numbers: those of sample k depend on (seed, k, name, step) alone.

They are Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a function of a
key and a counter. Integers and uniforms are the same bits on every device, at any batch size and over any
split of the samples; normals agree to one unit in the last place of float32.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

VERSION = 2
"""Of the random numbers: results of another version were sampled from other noise."""

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
MASK = 0xFFFFFFFF

_CHUNK = 1 << 15
"""Counters computed at a time on a CPU, so that the ten rounds stay in its cache."""
_BLOCK_NUMBERS = 4096
_BLOCK_STEPS = 64
"""Steps of small samples are computed together, up to this many; the numbers do not depend on it."""

Words = tuple[Tensor, Tensor, Tensor, Tensor]


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


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Return the four 32-bit words of Philox4x32-10 for each counter, int64 in [0, 2^32).

    The products wrap in int64, which keeps all their 64 bits.

    Args:
        counter: four words of 32 bits, int64 tensors of one shape.
        key: two words of 32 bits.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0 = (second >> 32).bitwise_and_(MASK).bitwise_xor_(c1).bitwise_xor_(k0)
        c1 = second.bitwise_and_(MASK)
        c2 = (first >> 32).bitwise_and_(MASK).bitwise_xor_(c3).bitwise_xor_(k1)
        c3 = first.bitwise_and_(MASK)
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


def purpose_key(seed: int, name: str) -> tuple[int, int]:
    """Return the key of a named purpose: two words of a 64-bit hash of (seed, name)."""
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def _uniforms(words: Words) -> Tensor:
    """Return uniforms in [0, 1), (..., 4) float32, of the upper 24 bits of each word."""
    return torch.stack([(word >> 8).float().mul_(2**-24) for word in words], -1)


def _normals(words: Words) -> Tensor:
    """Return standard normals, (..., 4) float32, by Box and Muller's transform in float64."""
    found = []
    for one, two in (words[:2], words[2:]):
        radius = one.double().add_(0.5).mul_(2**-32).log_().mul_(-2).sqrt_()
        angle = two.double().add_(0.5).mul_(2 * math.pi * 2**-32)
        found += [radius * angle.cos(), radius.mul_(angle.sin_())]
    return torch.stack(found, -1).float()


def _integers(words: Words) -> Tensor:
    return torch.stack(words, -1)


class Seeds:
    """The random numbers of some samples of a run.

    A draw is addressed by (name, step): the numbers of one name do not move when draws of another are added.
    Without a step, a call takes the next step of its name.

    Args:
        seed: of the run.
        indices: which samples; `range(2000)` for the first 2,000.
        device: where draws are computed.
    """

    version = VERSION

    def __init__(self, seed: int, indices: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.indices = tuple(indices)
        self.device = torch.device(device)
        samples = torch.tensor(self.indices, dtype=torch.int64)
        self._low = samples.bitwise_and(MASK).to(self.device)
        self._high = (samples >> 32).bitwise_and_(MASK).to(self.device)
        self._next: dict[str, int] = {}
        self._blocks: dict[tuple[Callable[[Words], Tensor], str, tuple[int, ...]], tuple[int, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: slice) -> Seeds:
        """Return fresh streams, from their start, for a slice of the samples."""
        return Seeds(self.seed, self.indices[rows], self.device)

    def randn(self, shape: Sequence[int], *, name: str = "", step: int | None = None) -> Tensor:
        """Return standard normals, (n, *shape) float32.

        Args:
            shape: of one sample's numbers.
            name: of the purpose.
            step: which draw of that purpose; None for the next one.
        """
        return self._drawn(_normals, tuple(shape), name, step)

    def rand(self, shape: Sequence[int], *, name: str = "", step: int | None = None) -> Tensor:
        """Return uniforms in [0, 1), (n, *shape) float32; arguments as of `randn`."""
        return self._drawn(_uniforms, tuple(shape), name, step)

    def randint(
        self, high: int, shape: Sequence[int] = (), *, name: str = "", step: int | None = None
    ) -> Tensor:
        """Return integers in [0, high), (n, *shape) int64; other arguments as of `randn`.

        Raises:
            ValueError: for high outside [1, 2^31].
        """
        if not 0 < high <= 1 << 31:
            raise ValueError(f"high={high}: expected 1 to 2^31")
        return (self._drawn(_integers, tuple(shape), name, step) * high) >> 32

    def _drawn(
        self, convert: Callable[[Words], Tensor], shape: tuple[int, ...], name: str, step: int | None
    ) -> Tensor:
        if step is None:
            step = self._next.get(name, 0)
            self._next[name] = step + 1
        first, block = self._blocks.get((convert, name, shape), (0, None))
        if block is None or not first <= step < first + block.shape[1]:
            steps = max(1, min(_BLOCK_STEPS, _BLOCK_NUMBERS // max(1, math.prod(shape))))
            first, block = step, self._block(convert, shape, name, step, steps)
            self._blocks[convert, name, shape] = first, block
        return block[:, step - first]

    def _block(
        self, convert: Callable[[Words], Tensor], shape: tuple[int, ...], name: str, first: int, steps: int
    ) -> Tensor:
        """Return the numbers of steps `first` to `first + steps` - 1, (n, steps, *shape)."""
        numbers = math.prod(shape)
        blocks = -(-numbers // 4)
        key = purpose_key(self.seed, name)
        element = torch.arange(blocks, device=self.device)
        draw = torch.arange(first, first + steps, device=self.device)
        rows = max(1, _CHUNK // max(1, steps * blocks)) if self.device.type == "cpu" else max(1, len(self))
        parts = []
        for low, high in zip(self._low.split(rows), self._high.split(rows), strict=True):
            grid = (len(low), steps, blocks)
            counter = (
                element.expand(grid),
                draw[:, None].expand(grid),
                low[:, None, None].expand(grid),
                high[:, None, None].expand(grid),
            )
            words = convert(philox(counter, key)).reshape(len(low), steps, 4 * blocks)
            parts.append(words[:, :, :numbers])
        whole = torch.cat(parts) if parts else torch.empty(0, steps, numbers, device=self.device)
        return whole.reshape(len(self), steps, *shape)
