"""Dynamic binarization: the law of a draw, what stays and what is drawn anew, on one process or several."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from zoo_core.config import DataConfig
from zoo_core.data.binarized import drawn, load
from zoo_core.data.loading import Resident, Table, TrainData
from zoo_core.data.transforms import binarize
from zoo_core.machine.distributed import World
from zoo_core.seeds import generator
from zoo_core.types import DataInfo

SHARED = Path(__file__).parents[3] / "shared" / "data"
INFO = DataInfo("gray", (1, 4, 4), 2, classes=2)


def split(n: int = 20) -> Table:
    gray = torch.randint(256, (n, 1, 4, 4), generator=generator(0, "gray"), dtype=torch.uint8)
    return drawn(Resident(gray, torch.arange(n) % 2), 256, generator(1, "draw"))


def test_a_value_is_one_as_often_as_its_gray_level_says() -> None:
    """Catches a threshold, an off-by-one level (k / 256), and black or white that is not kept."""
    n = 200_000
    for level in (0, 1, 64, 254, 255):
        gray = torch.full((n,), level, dtype=torch.uint8)
        share = float(binarize(gray, 256, torch.rand(n, generator=generator(level, "u"))).double().mean())
        p = level / 255
        assert abs(share - p) <= 4.5 * math.sqrt(p * (1 - p) / n)


def test_training_draws_anew_and_rows_stay() -> None:
    """Catches one draw of the training split for good (an easier data set), and a reference that moves."""
    kept = split()
    data = TrainData(kept, INFO, seed=0)
    first, again = data.next(20), data.next(20)
    order, other = first.index.argsort(), again.index.argsort()
    assert not torch.equal(first.x[order], again.x[other])
    assert torch.equal(first.cond.label[order], again.cond.label[other])  # type: ignore[index]
    assert set(first.x.unique().tolist()) == {-1.0, 1.0}
    rows = torch.arange(20)
    assert torch.equal(data.batch(rows).x, data.batch(rows).x)
    assert torch.equal(data.batch(rows).x, kept.examples(rows).float() * 2 - 1)


def test_many_draws_have_the_grays_mean() -> None:
    """Catches noise that meets another row's gray levels."""
    kept = split()
    data = TrainData(kept, INFO, seed=0)
    total = torch.zeros(20, 1, 4, 4, dtype=torch.float64)
    for _ in range(400):
        batch = data.next(20)
        total[batch.index] += (batch.x + 1) / 2
    p = kept.column("gray").double() / 255
    error = (p * (1 - p) / 400).sqrt() + 1e-9
    assert float(((total / 400 - p) / error).abs().max()) < 4.5


def test_a_batch_depends_on_the_seed_and_its_number_alone() -> None:
    """Catches a resume that draws other images, and processes that together see another batch than one."""
    whole = TrainData(split(), INFO, seed=3)
    batches = [whole.next(7) for _ in range(5)]
    resumed = TrainData(split(), INFO, seed=3)
    resumed.drawn = 3 * 7
    assert torch.equal(resumed.next(7).x, batches[3].x)
    parts = []
    for rank in range(3):
        mine = TrainData(split(), INFO, seed=3)
        mine.next(7, World(rank, 3))
        parts.append(mine.next(7, World(rank, 3)).x)
    assert torch.equal(torch.cat(parts), batches[1].x)
    assert not torch.equal(TrainData(split(), INFO, seed=4).next(7).x, batches[0].x)


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="needs ../shared/data/mnist")
def test_the_binarized_mnist() -> None:
    """Catches a test split that is thresholded or drawn anew at each load, and grays that reach a model."""
    data = load(DataConfig(name="mnist-binarized", root=str(SHARED / "mnist")))
    assert (data.info.name, data.info.levels, data.info.shape) == ("mnist-binarized", 2, (1, 28, 28))
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    test = data.test
    again = drawn(Resident(test.column("gray")), 256, generator(0, "mnist-binarized", "test"))
    assert torch.equal(test.examples(torch.arange(10_000)), again.column("image"))
    assert test.column("image").unique().tolist() == [0, 1]
    p = test.column("gray").double() / 255
    error = math.sqrt(float((p * (1 - p)).sum()))
    assert abs(float(test.column("image").double().sum() - p.sum())) < 4.5 * error
    assert float((test.column("image") != (test.column("gray") > 127)).double().mean()) > 0.01
