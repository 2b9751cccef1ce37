"""A split of a dataset as a table: named columns of equal length, and the transforms of its rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from zoo_core.data.transforms import RowRandom, Rows, Transform
from zoo_core.types import Cond

T = TypeVar("T")


class Column(ABC):
    """One value a row; `rows` reads some of them.

    Attributes:
        in_memory: whether the values are a tensor, which can be moved to the training device.
    """

    in_memory: ClassVar[bool] = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def rows(self, index: Tensor) -> Tensor:
        """Return the values of these rows, (n, ...)."""

    @abstractmethod
    def take(self, kept: Tensor) -> Column:
        """Return the column of these rows only, in this order."""

    def to(self, device: torch.device | str) -> Column:
        """Return the column on a device; one that is not in memory stays where it is."""
        return self

    def loaded(self) -> Memory:
        """Return the column read into memory."""
        return Memory(self.rows(torch.arange(len(self))))


@dataclass(frozen=True)
class Memory(Column):
    """A column held as one tensor, (N, ...)."""

    values: Tensor
    in_memory: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.values)

    def loaded(self) -> Memory:
        return self

    def rows(self, index: Tensor) -> Tensor:
        return self.values[index.to(self.values.device)]

    def to(self, device: torch.device | str) -> Memory:
        return Memory(self.values.to(device))

    def take(self, kept: Tensor) -> Memory:
        return Memory(self.values[kept.to(self.values.device)])


class Streamed(Column):
    """A column that a function reads as its rows are asked for, e.g. by decoding image files.

    Args:
        read: row numbers to values, (n, ...); called from several threads.
        kept: (N,) int64, the row numbers of the column.
    """

    def __init__(self, read: Callable[[Tensor], Tensor], kept: Tensor) -> None:
        self.read, self.kept = read, kept

    def __len__(self) -> int:
        return len(self.kept)

    def rows(self, index: Tensor) -> Tensor:
        return self.read(self.kept[index.cpu()])

    def take(self, kept: Tensor) -> Streamed:
        return Streamed(self.read, self.kept[kept.cpu()])


def mapped(array: np.ndarray) -> Streamed:
    """Return a memory-mapped array as a column: the system reads pages of its file as rows are asked for."""
    return Streamed(lambda places: torch.from_numpy(array[places.numpy()]), torch.arange(len(array)))


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of equal length, and what is done with their rows.

    Names that the library reads: `image` (uint8, (C, H, W)), `point` (float32, (D,)) or `tokens` (int64,
    (length,)), the examples; `label` (int64); `caption` (int64 tokens); `source` (uint8, the image that an
    example is made from); `second` (uint8, what an example is paired with).

    Attributes:
        columns: by name.
        transforms: applied to rows in this order; a random one in training only.
        digests: sha256 of each row's example, where they are known.
        groups: group of near-duplicates that each row's example is in, where they are known; the parts that a
            split is cut into share none.
    """

    columns: Mapping[str, Column]
    transforms: tuple[Transform, ...] = ()
    digests: Sequence[bytes] = field(default=(), repr=False, compare=False)
    groups: Sequence[int] = field(default=(), repr=False, compare=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __contains__(self, name: str) -> bool:
        """Whether rows have a column of this name."""
        here = set(self.columns)
        for transform in self.transforms:
            here = (here | set(transform.makes)) - set(transform.drops)
        return name in here

    def rows(self, index: Tensor, random: Callable[[str], RowRandom] | None = None) -> Rows:
        """Return these rows, column by column.

        Args:
            index: (n,) int64.
            random: the random numbers of a transform by its name; without it the random transforms are left
                out, and the rows are the same every time.
        """
        rows = {name: column.rows(index) for name, column in self.columns.items()}
        for transform in self.transforms:
            if not transform.random:
                rows = transform(rows, None)
            elif random is not None:
                rows = transform(rows, random(transform.name))
        return rows

    def examples(self, index: Tensor) -> Tensor:
        """Return the examples of these rows: uint8 images (n, C, H, W), float32 points (n, D), or tokens."""
        if self.transforms:
            return example_of(self.rows(index))
        return example_of(self.columns).rows(index)

    def column(self, name: str) -> Tensor | None:
        """Return all values of a column that is held in memory; None where there is none of this name."""
        found = self.columns.get(name)
        return found.values if isinstance(found, Memory) else None

    @property
    def x(self) -> Tensor:
        """All examples, (N, ...): uint8 images or float32 points."""
        return self.examples(torch.arange(len(self)))

    @property
    def label(self) -> Tensor | None:
        """(N,) int64; None for data without classes."""
        return self.column("label")

    @property
    def tokens(self) -> Tensor | None:
        """Captions, (N, length) int64; None for data without captions."""
        return self.column("caption")

    @property
    def in_memory(self) -> bool:
        """Whether all columns are tensors."""
        return all(column.in_memory for column in self.columns.values())

    def to(self, device: torch.device | str) -> Table:
        """Return the table on a device; one that is not all in memory stays on the CPU."""
        if not self.in_memory:
            return self
        columns = {name: column.to(device) for name, column in self.columns.items()}
        return Table(columns, tuple(t.to(device) for t in self.transforms), self.digests, self.groups)

    def take(self, kept: Tensor) -> Table:
        """Return the table of these rows only, in this order."""
        digests = [self.digests[row] for row in kept.tolist()] if self.digests else ()
        groups = [self.groups[row] for row in kept.tolist()] if self.groups else ()
        columns = {name: column.take(kept) for name, column in self.columns.items()}
        return Table(columns, self.transforms, digests, groups)

    def in_groups(self, groups: Sequence[int]) -> Table:
        """Return the table with the group of near-duplicates of each row."""
        return Table(self.columns, self.transforms, self.digests, groups)

    def then(self, *transforms: Transform) -> Table:
        """Return the table with more transforms, after those it has."""
        return Table(self.columns, (*self.transforms, *transforms), self.digests, self.groups)

    def having(self, **columns: Tensor | None) -> Table:
        """Return the table with more columns in memory, or others under their names; None adds none."""
        more = {name: Memory(values) for name, values in columns.items() if values is not None}
        return Table({**self.columns, **more}, self.transforms, self.digests, self.groups)


EXAMPLES = ("image", "point", "tokens")
"""Columns that examples may be in; a table has one of them."""


def example_of(columns: Mapping[str, T]) -> T:
    """Return what stands in the column of the examples.

    Raises:
        KeyError: where there is none.
    """
    return columns[next((name for name in EXAMPLES if name in columns), EXAMPLES[0])]


class Resident(Table):
    """A table of tensors in memory.

    Args:
        x: examples: uint8 images (N, C, H, W), or float32 points (N, D).
        label: (N,) int64, or None.
        tokens: captions (N, length) int64, 0 for padding, or None.
    """

    def __init__(self, x: Tensor, label: Tensor | None = None, tokens: Tensor | None = None) -> None:
        given = {"image" if x.ndim == 4 else "point": x, "label": label, "caption": tokens}
        super().__init__({name: Memory(values) for name, values in given.items() if values is not None})


def conds(table: Table, index: Tensor) -> Cond:
    """Return labels and captions of these rows, as conditions, on whatever device they are."""

    def own(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[index.to(values.device)]

    return Cond(label=own(table.label), tokens=own(table.tokens))
