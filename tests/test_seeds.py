"""Per-sample randomness: sample k depends on (seed, k) alone."""

from __future__ import annotations

import math

import pytest
import torch

from zoo_core.seeds import Seeds, derive, generator, mix32, philox, purpose_key

KNOWN = [
    # counter, key, output: the known-answer vectors of Random123 for philox4x32-10
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_known_answers(counter: str, key: str, output: str) -> None:
    """Catches a wrong multiplier, key schedule, round count or word order."""
    first, second = (int(word, 16) for word in key.split())
    words = philox(tuple(torch.tensor([int(word, 16)]) for word in counter.split()), (first, second))
    assert [int(word) for word in words] == [int(word, 16) for word in output.split()]


def reference_words(seed: int, name: str, sample: int, step: int, block: int) -> list[int]:
    """Philox in Python's integers, with the counter that the documentation states."""
    c, k = [block, step, sample & 0xFFFFFFFF, sample >> 32], list(purpose_key(seed, name))
    for _ in range(10):
        first, second = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        low, high = (lambda x: x & 0xFFFFFFFF), (lambda x: x >> 32)
        c = [high(second) ^ c[1] ^ k[0], low(second), high(first) ^ c[3] ^ k[1], low(first)]
        k = [low(k[0] + 0x9E3779B9), low(k[1] + 0xBB67AE85)]
    return c


def test_draws_are_those_of_the_stated_counter() -> None:
    """Catches a counter whose words are swapped: samples beyond 2^32, several blocks, a named step."""
    sample, step = 5 * 2**32 + 7, 3
    seeds = Seeds(11, (2, sample))
    words = [word for block in range(3) for word in reference_words(11, "probe", sample, step, block)][:10]
    drawn = seeds.rand((2, 5), name="probe", step=step)[1].flatten()
    assert drawn.tolist() == [(word >> 8) / 2**24 for word in words]
    drawn = seeds.randint(1000, (10,), name="probe", step=step)[1]
    assert drawn.tolist() == [word * 1000 >> 32 for word in words]
    drawn = seeds.randn((10,), name="probe", step=step)[1]
    for pair in range(5):
        a, b = ((word + 0.5) / 2**32 for word in words[2 * pair : 2 * pair + 2])
        radius = math.sqrt(-2 * math.log(a))
        expected = [radius * math.cos(2 * math.pi * b), radius * math.sin(2 * math.pi * b)]
        assert drawn[2 * pair : 2 * pair + 2].tolist() == pytest.approx(expected, rel=2**-23)


def test_a_draw_is_addressed_by_name_and_step() -> None:
    """Catches an address that depends on the order of calls, or on what else was drawn."""
    plain, other = Seeds(0, range(3)), Seeds(0, range(3))
    first, second = plain.randn((4,), name="a"), plain.randn((4,), name="a")
    other.randn((4,), name="b")
    other.rand((9,))
    assert torch.equal(other.randn((4,), name="a", step=1), second)
    assert torch.equal(other.randn((4,), name="a", step=0), first)
    assert torch.equal(other.randn((4,), name="a"), first)
    assert not torch.equal(other.randn((4,), name="b", step=0), first)
    late = Seeds(0, range(3)).randn((4,), name="a", step=1000)
    for _ in range(1000):
        other.randn((4,), name="a")
    assert not torch.equal(late, first)
    ordered = Seeds(0, range(3))
    for _ in range(1000):
        ordered.randn((4,), name="a")
    assert torch.equal(ordered.randn((4,), name="a"), late)


def test_batches_of_1_3_and_500_draw_the_same_bits() -> None:
    """Catches noise that depends on the batch: 500 samples in batches of 500, 3 and 1."""
    shape = (3, 8, 8)
    whole = Seeds(1, range(500)).randn(shape, name="step", step=4)
    for size in (1, 3):
        starts = range(0, 500, size)
        parts = [Seeds(1, range(500)[k : k + size]).randn(shape, name="step", step=4) for k in starts]
        assert torch.equal(whole, torch.cat(parts))


def test_an_integer_needs_31_bits() -> None:
    """Catches a product that leaves int64 silently."""
    assert int(Seeds(0, range(50)).randint(1 << 31, (50,)).max()) < 1 << 31
    with pytest.raises(ValueError, match="2\\^31"):
        Seeds(0, range(1)).randint((1 << 31) + 1)


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
