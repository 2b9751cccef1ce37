"""The stream of batches, and the one map between levels and floats."""

from __future__ import annotations

import pytest
import torch

from zoo_core.data.loading import Resident, TrainData, dequantize, quantize, to_unit
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo

LEVELS = (2, 17, 256)


def _stream(n: int, seed: int = 0) -> TrainData:
    x = torch.arange(n, dtype=torch.float32)[:, None]
    return TrainData(Resident(x, torch.arange(n) % 3), DataInfo("points", (1,), None, classes=3), seed)


@pytest.mark.parametrize(("n", "size"), [(10, 3), (10, 10), (3, 7), (1, 4), (64, 1)])
def test_every_epoch_sees_every_row_once(n: int, size: int) -> None:
    """Catches a dropped last batch, and rows that repeat within an epoch."""
    stream = _stream(n)
    batches = [stream.next(size) for _ in range(4 * n)]
    assert all(len(batch) == size for batch in batches)
    order = torch.cat([batch.index for batch in batches])
    for epoch in order[: 4 * n * size // n * n].split(n):
        assert torch.equal(epoch.sort().values, torch.arange(n))


def test_a_row_keeps_its_label() -> None:
    """Catches labels indexed by another order than the examples."""
    batch = _stream(20).next(50)
    assert batch.cond.label is not None
    assert torch.equal(batch.x[:, 0].long(), batch.index)
    assert torch.equal(batch.cond.label, batch.index % 3)


@pytest.mark.parametrize("drawn", [0, 1, 9, 10, 11, 35])
def test_a_resume_needs_only_how_many_were_drawn(drawn: int) -> None:
    """Catches a stream that starts over, or repeats the broken epoch, after a resume."""
    whole, resumed = _stream(10), _stream(10)
    whole.next(drawn)
    resumed.drawn = drawn
    for size in (4, 7, 25):
        assert torch.equal(whole.next(size).index, resumed.next(size).index)


def test_the_order_depends_on_the_seed_only() -> None:
    """Catches an order that moves with the batch size or the global generator, or not with the seed."""
    torch.manual_seed(1)
    one = torch.cat([_.index for stream in [_stream(50)] for _ in (stream.next(20), stream.next(80))])
    torch.manual_seed(2)
    two = _stream(50).next(100).index
    assert torch.equal(one, two)
    assert not torch.equal(two, _stream(50, seed=1).next(100).index)
    assert not torch.equal(two[:50], two[50:])  # the second epoch has an order of its own


def test_no_examples_is_a_mistake() -> None:
    """Catches an endless loop over nothing."""
    with pytest.raises(UsageError, match="has no training examples"):
        _stream(0)


@pytest.mark.parametrize("count", LEVELS)
def test_levels_survive_the_round_trip(count: int) -> None:
    """Catches a map that is off by half a level at either end."""
    levels = torch.arange(count, dtype=torch.uint8)[:, None]
    x = to_unit(levels, count)
    assert x[0] == -1
    assert x[-1] == pytest.approx(1)
    assert torch.equal(quantize(x, count), levels)


@pytest.mark.parametrize("count", LEVELS)
def test_quantize_takes_the_nearest_level(count: int) -> None:
    """Catches truncation, which darkens, and values outside the range that wrap around."""
    x = torch.linspace(-1.5, 1.5, 4001)[:, None]
    centers = to_unit(torch.arange(count, dtype=torch.uint8), count)
    chosen = centers[quantize(x, count).long()]
    best = (x - centers).abs().amin(1, keepdim=True)
    assert torch.allclose((x - chosen).abs(), best, atol=1e-6)
    assert quantize(torch.tensor([[-1e30], [1e30]]), count).flatten().tolist() == [0, count - 1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_quantize_refuses_what_is_not_finite(bad: float) -> None:
    """Catches NaN, which the conversion to integers turns into a image without a word."""
    x = torch.zeros(5, 1, 2, 2)
    x[3, 0, 1, 1] = bad
    with pytest.raises(UsageError, match="1 of 5 samples"):
        quantize(x, 256)


@pytest.mark.parametrize("count", LEVELS)
def test_dequantized_values_stay_in_their_bin(count: int) -> None:
    """Catches noise of the wrong width or place: each value must round back to its level."""
    levels = torch.arange(count, dtype=torch.uint8)[:, None].repeat(1, 3)
    noise = torch.tensor([1e-3, 0.5, 1 - 1e-3], dtype=torch.float64).expand(count, 3)
    spread = dequantize(to_unit(levels, count).double(), count, noise)
    assert torch.equal(quantize(spread, count), levels)
    assert (spread[:, 2] - spread[:, 0]).mean().item() == pytest.approx(2 / (count - 1) * 0.998, rel=1e-5)
