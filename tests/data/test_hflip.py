"""data.hflip in the stream of batches."""

from __future__ import annotations

import torch

from zoo_core.data.loading import Resident, TrainData
from zoo_core.data.transforms import HorizontalFlip
from zoo_core.machine.distributed import World
from zoo_core.types import DataInfo

INFO = DataInfo("images", (1, 4, 4), 256)


def stream(hflip: bool) -> TrainData:
    x = torch.arange(32 * 16, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(32, 1, 4, 4)
    table = Resident(x)
    return TrainData(table.then(HorizontalFlip()) if hflip else table, INFO, 0)


def test_training_images_are_mirrored_half_of_the_time_and_repeatably() -> None:
    plain, flipped, again = stream(False), stream(True), stream(True)
    kept = 0
    for _ in range(10):
        x, found = plain.next(32).x, flipped.next(32).x
        assert torch.equal(found, again.next(32).x)
        same = (found == x).flatten(1).all(1)
        assert torch.equal(found[~same], x[~same].flip(3))
        kept += int(same.sum())
    assert 120 < kept < 200


def test_each_process_mirrors_its_own_rows_as_one_process_does() -> None:
    """Catches flips that depend on how many processes there are."""
    whole = stream(True).next(8).x
    parts = [stream(True).next(8, World(rank, 2)).x for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole)
