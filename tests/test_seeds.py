"""Per-sample randomness: sample k depends on (seed, k) alone."""

from __future__ import annotations

import pytest
import torch

from zoo_core.seeds import Seeds, derive, generator, mix32


def test_no_two_samples_of_a_run_share_a_seed() -> None:
    """Catches a hash with collisions: of 100,000 seeds of 32 bits, a random one would repeat one or two."""
    for seed in (0, 1, 2**40):
        start = derive(seed, "sample")
        assert len({mix32(start + k) for k in range(100_000)}) == 100_000


def test_mix32_is_a_bijection() -> None:
    """Catches a changed constant that loses information: its inverse, step by step, gives the input back."""

    def unshift(x: int, by: int) -> int:
        value = x
        for _ in range(32 // by + 1):
            value = x ^ (value >> by)
        return value

    def inverse(x: int) -> int:
        x = (unshift(x, 16) * pow(0xC2B2AE35, -1, 2**32)) & 0xFFFFFFFF
        x = (unshift(x, 13) * pow(0x85EBCA6B, -1, 2**32)) & 0xFFFFFFFF
        return unshift(x, 16)

    for x in (0, 1, 2**31, 2**32 - 1, *range(7, 2**32, 42_949_673)):
        assert inverse(mix32(x)) == x


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 64, 64)])
def test_a_stream_is_the_same_at_any_split(shape: tuple[int, ...]) -> None:
    """Catches draws that depend on the batch: 25 draws of 7 samples against the same in parts."""
    whole = Seeds(5, range(7))
    parts = [Seeds(5, range(7))[slice(a, b)] for a, b in ((0, 1), (1, 3), (3, 7))]
    for _ in range(25):
        assert torch.equal(whole.randn(shape), torch.cat([part.randn(shape) for part in parts]))


def test_uniforms_and_integers_are_the_same_at_any_split() -> None:
    """Catches the same for the other two kinds of draw."""
    one, two = Seeds(5, range(6)), Seeds(5, (4, 5))
    assert torch.equal(one.rand((3,))[4:], two.rand((3,)))
    assert torch.equal(one.randint(17, (3,))[4:], two.randint(17, (3,)))


def test_samples_seeds_and_calls_differ() -> None:
    """Catches a stream that repeats itself, another sample's, or another seed's."""
    seeds = Seeds(0, range(2))
    first, second = seeds.randn((16,)), seeds.randn((16,))
    other = Seeds(1, range(2)).randn((16,))
    rows = torch.cat((first, second, other))
    assert len(rows.unique(dim=0)) == 6


def test_normals_are_normal_across_samples() -> None:
    """Catches streams that are each random and alike at their starts: the first draw over 20,000 samples."""
    n = 20_000
    first = Seeds(0, range(n)).randn((1,)).flatten().double()
    expected = torch.special.ndtr(first.sort().values)
    gap = (expected - (torch.arange(n) + 0.5) / n).abs().max()
    assert gap < 1.95 / n**0.5  # Kolmogorov-Smirnov at 0.001
    neighbors = (first[1:] * first[:-1]).mean()
    assert abs(neighbors) < 4.5 / n**0.5


def test_integers_are_uniform() -> None:
    """Catches a rounding that makes an end rarer than the rest, or passes it."""
    drawn = Seeds(0, range(2000)).randint(17, (50,)).flatten()
    counts = drawn.bincount(minlength=17)
    assert len(counts) == 17
    expected = 100_000 / 17
    assert ((counts - expected).abs() / expected**0.5).max() < 4.5


def test_purposes_have_seeds_of_their_own() -> None:
    """Catches names that run together: ("a", "bc") and ("ab", "c") are two purposes."""
    derived = [derive(0), derive(1), derive(2**32), derive(0, "a", "bc"), derive(0, "ab", "c"), derive(0, 1)]
    assert len(set(derived)) == len(derived)
    assert torch.equal(
        torch.randn(3, generator=generator(4, "x")), torch.randn(3, generator=generator(4, "x"))
    )
