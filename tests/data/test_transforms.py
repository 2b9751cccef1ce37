"""Transforms of batches, the validation part, and what training can reach."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data.digits import load as load_digits
from zoo_core.data.loading import Dataset, Resident, TrainData, to_unit
from zoo_core.data.preparation import configured, validation_rows, with_validation
from zoo_core.data.splits import digests, resident, two_parts
from zoo_core.data.table import Streamed, Table
from zoo_core.data.toy import load as load_toy
from zoo_core.data.transforms import HorizontalFlip, RowRandom, Transform, TwoViews
from zoo_core.errors import UsageError
from zoo_core.machine.distributed import World
from zoo_core.seeds import generator
from zoo_core.types import DataInfo

INFO = DataInfo("images", (1, 4, 4), 256)


def images(n: int) -> Tensor:
    return torch.randint(256, (n, 1, 4, 4), generator=generator(0, "images"), dtype=torch.uint8)


def test_half_of_the_images_are_mirrored_and_repeat_with_the_seed() -> None:
    """Catches images mirrored top to bottom, all or none of them, and flips that a resume draws anew."""
    x = images(2000)
    split = Resident(x).then(HorizontalFlip())
    batch = TrainData(split, INFO, 0).next(2000)
    own = to_unit(x[batch.index], 256)
    same = (batch.x == own).flatten(1).all(1)
    mirrored = (batch.x == own.flip(3)).flatten(1).all(1)
    assert bool((same | mirrored).all())
    assert float(mirrored.double().mean()) == pytest.approx(0.5, abs=4.5 * (0.25 / 2000) ** 0.5)
    assert torch.equal(TrainData(split, INFO, 0).next(2000).x, batch.x)
    assert torch.equal(split.examples(torch.arange(2000)), x)


def test_a_source_is_mirrored_with_its_image() -> None:
    data = configured(load_digits(DataConfig()), DataConfig(hflip=True)).for_task("paired", "itself")
    batch = TrainData(data.training, data.info, 0).next(300)
    assert torch.equal(batch.x, batch.cond.image)  # type: ignore[arg-type]
    plain = to_unit(data.train.examples(batch.index), 17)
    assert 0.3 < float((batch.x != plain).flatten(1).any(1).double().mean()) < 0.7
    assert torch.equal(data.train.x, load_digits(DataConfig()).train.x)


def test_points_are_not_flipped() -> None:
    with pytest.raises(UsageError, match=r"data\.hflip=true"):
        configured(load_toy(DataConfig(name="ring")), DataConfig(name="ring", hflip=True))


class Offset(Transform):
    """Add a random number to each point."""

    name = "offset"
    random = True

    def __call__(self, rows: dict[str, Tensor], rng: RowRandom | None) -> dict[str, Tensor]:
        assert rng is not None
        return {**rows, "image": rows["image"] + rng.randint(100)[:, None, None, None].to(torch.uint8)}


@pytest.mark.parametrize("size", [7, 8])
def test_processes_draw_together_what_one_draws(size: int) -> None:
    """Catches random numbers that depend on how many processes share a batch."""
    split = Resident(images(20)).then(HorizontalFlip(), Offset(), TwoViews())
    whole = TrainData(split, INFO, 3)
    parts = [TrainData(split, INFO, 3) for _ in range(3)]
    for _ in range(4):
        one, shares = whole.next(size), [part.next(size, World(k, 3)) for k, part in enumerate(parts)]
        assert torch.equal(torch.cat([share.x for share in shares]), one.x)
        assert torch.equal(torch.cat([share.second for share in shares]), one.second)  # type: ignore[misc, arg-type]


def test_another_transform_leaves_the_numbers_of_the_others() -> None:
    split = Resident(images(20))
    tables = (split.then(Offset()), split.then(HorizontalFlip(), Offset()))
    one, two = (TrainData(table, INFO, 3).next(8) for table in tables)
    assert torch.equal(one.x.flatten(1).sort().values, two.x.flatten(1).sort().values)


def test_a_process_reads_its_own_rows_only() -> None:
    """Catches a batch that every process reads whole."""
    x, asked = images(20), []

    def read(rows: Tensor) -> Tensor:
        asked.append(rows.tolist())
        return x[rows]

    split = Table({"image": Streamed(read, torch.arange(20))}).then(HorizontalFlip())
    for k in range(3):
        stream = TrainData(split, INFO, 0)
        own = [stream.next(8, World(k, 3)) for _ in range(4)]
        assert [batch.index.tolist() for batch in own] == asked[:4]
        assert {len(rows) for rows in asked} <= {2, 3}
        stream.close()
        asked.clear()


# -- validation


def repeated() -> Dataset:
    """Return a data set of 40 different images, image k repeated k % 3 + 1 times, of two classes."""
    times = torch.arange(40) % 3 + 1
    x, label = images(40).repeat_interleave(times, 0), (torch.arange(40) % 2).repeat_interleave(times)
    order = torch.randperm(len(x), generator=generator(1, "order"))
    info = DataInfo("repeated", (1, 4, 4), 256, 2)
    return resident(info, Resident(x[order], label[order]), Resident(images(50)[40:], torch.arange(10) % 2))


def keys(table: Table) -> set[bytes]:
    return set(digests(table.x))


def test_equal_images_are_on_one_side() -> None:
    """Catches a copy of a training image in the validation part, on which memorizing would be selected."""
    data = repeated()
    held = with_validation(data, 0.25)
    assert held.validation is not None
    assert keys(held.train) & keys(held.validation) == set()
    assert len(keys(held.validation)) == 10
    assert len(held.train) + len(held.validation) == len(data.train)
    assert torch.equal(held.test.x, data.test.x)
    assert held.sha256 == data.sha256
    classes = held.validation.label
    assert classes is not None
    assert set(classes.tolist()) == {0, 1}
    for table in (held.train, held.validation):
        for x, label in zip(table.x, table.label, strict=True):
            rows = (data.train.x == x).flatten(1).all(1)
            assert bool((data.train.label[rows] == label).all())


def test_the_part_is_the_same_for_every_run() -> None:
    """Catches a part that moves with the global generator, or with the fraction of another class."""
    torch.manual_seed(1)
    first = with_validation(repeated(), 0.2).validation
    torch.manual_seed(2)
    assert torch.equal(first.x, with_validation(repeated(), 0.2).validation.x)
    _, small = validation_rows(repeated().train.digests, None, 0.1)
    _, large = validation_rows(repeated().train.digests, None, 0.3)
    assert set(small.tolist()) <= set(large.tolist())


def test_near_duplicates_are_on_one_side_whatever_is_done_with_the_table() -> None:
    """Catches a step that forgets groups, and a part that is cut by equal examples alone."""
    groups = [k // 3 for k in range(60)]
    x = torch.arange(60, dtype=torch.uint8)[:, None, None, None].expand(60, 1, 4, 4).contiguous()
    label = torch.zeros(60, dtype=torch.int64)
    table = Resident(x, label).in_groups(groups).to("cpu").then().having(label=label)
    held = with_validation(resident(INFO, table, Resident(x[:2] + 100)), 0.2)
    assert held.validation is not None
    assert set(held.train.groups) & set(held.validation.groups) == set()
    assert len(held.validation) == 12  # a fifth of the groups, each of three rows
    for part in (held.train, held.validation):
        assert [int(value) // 3 for value in part.x[:, 0, 0, 0]] == list(part.groups)


def test_two_parts_share_no_group_and_follow_the_order_where_each_row_is_one() -> None:
    order = torch.randperm(31, generator=torch.Generator().manual_seed(0))
    alone = two_parts(order, range(31), 12)
    assert torch.equal(torch.cat(alone), order[:24])
    sizes = torch.tensor([1, 9, 2, 1, 5, 1, 3, 2, 4, 1, 1, 1])
    groups = torch.repeat_interleave(torch.arange(12), sizes).tolist()
    for seed in range(40):
        order = torch.randperm(31, generator=torch.Generator().manual_seed(seed))
        first, second = two_parts(order, groups, 15)
        assert len(first) == len(second) >= 6  # the largest group, of nine, may lie between them
        assert len(set(first.tolist()) | set(second.tolist())) == 2 * len(first)
        assert {groups[row] for row in first} & {groups[row] for row in second} == set()
    assert [len(part) for part in two_parts(order, [0] * 31, 15)] == [0, 0]


def test_a_validation_part_of_nothing_or_of_everything_is_refused() -> None:
    one = resident(INFO, Resident(images(1)), Resident(images(2)))
    with pytest.raises(UsageError, match=r"data\.validation=0\.5 of 1 training examples"):
        with_validation(one, 0.5)
    held = with_validation(repeated(), 0.2)
    with pytest.raises(UsageError, match="have a validation split of their own"):
        with_validation(held, 0.2)


def reachable(start: Any, limit: int = 200_000) -> list[Tensor]:
    """Return every tensor that can be reached from an object, modules and classes left out."""
    seen, todo, found = {id(start)}, [start], []
    while todo and len(seen) < limit:
        one = todo.pop()
        if isinstance(one, Tensor):
            found.append(one)
        for other in gc.get_referents(one):
            if id(other) not in seen and not isinstance(other, type) and type(other).__name__ != "module":
                if callable(other) and not isinstance(other, Transform):
                    continue  # functions lead to the globals of their modules
                seen.add(id(other))
                todo.append(other)
    assert len(seen) < limit
    return found


@pytest.mark.parametrize("task", ["unconditional", "class", "text", "paired", "unpaired", "views"])
@pytest.mark.parametrize("held", [0.0, 0.1])
def test_no_training_hook_can_reach_held_out_rows(task: Any, held: float) -> None:
    """What recipes and their hooks are given leads to no test or validation row."""
    config = DataConfig(validation=held)
    data = configured(load_digits(config), config).for_task(task, "mask")
    given = TrainData(data.training, data.info, 0)
    given.next(8)
    hidden = keys(data.test) | (keys(data.validation) if data.validation is not None else set())
    hidden -= keys(data.train)
    rows = stored([given, data.info])
    assert sum(len(x) for x in rows) >= 600
    assert not any(hidden & set(digests(x)) for x in rows)
    # The search finds what is there: the data set itself leads to them.
    assert any(hidden & set(digests(x)) for x in stored([data]))


def stored(start: Any) -> list[Tensor]:
    """Return the tensors of digits that can be reached."""
    return [x for x in reachable(start) if x.dtype == torch.uint8 and tuple(x.shape[1:]) == (1, 8, 8)]
