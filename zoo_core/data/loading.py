"""A dataset in memory or on disk, and the endless, resumable stream of batches that training draws from it.

Pictures are stored as integer levels (uint8) and turned into floats by one map: level k of L is
x = 2k / (L - 1) - 1, in a bin of width 2 / (L - 1). Points are stored as float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.data.augment import mirrored_where
from zoo_core.data.captions import Tokenizer
from zoo_core.distributed import ALONE, World, share
from zoo_core.errors import UsageError
from zoo_core.interfaces import Density
from zoo_core.registry.spec import load_target
from zoo_core.seeds import derive, generator
from zoo_core.types import Batch, Cond, DataInfo, Task


def to_unit(levels: Tensor, count: int) -> Tensor:
    """Return level centres in [-1, 1], float32, for integer levels in [0, count)."""
    return levels.to(torch.float32).mul_(2 / (count - 1)).sub_(1)


def quantise(x: Tensor, count: int) -> Tensor:
    """Return the nearest integer level, uint8: clamp to [-1, 1], then round; the one conversion there is.

    Raises:
        UsageError: where x is not finite.
    """
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
        raise UsageError(f"{bad} of {len(x)} samples hold a NaN or an infinity", "expected: finite pictures")
    return x.float().clamp(-1, 1).add(1).mul((count - 1) / 2).round_().to(torch.uint8)


def dequantise(x: Tensor, count: int, noise: Tensor) -> Tensor:
    """Spread level centres uniformly over their bins: x = 2(k + u - 1/2) / (L - 1) - 1.

    Args:
        x: level centres.
        count: L.
        noise: u, uniform in [0, 1), like x.
    """
    return x + (noise - 0.5) * (2 / (count - 1))


class Split(Protocol):
    """Examples by row; `label` is None where the data have none.

    A split with captions has `tokens` beside it, (N, length) int64; one without need not say so.
    """

    label: Tensor | None

    def __len__(self) -> int: ...

    def rows(self, index: Tensor) -> Tensor:
        """Return the examples of these rows: uint8 levels (n, C, H, W), or float32 points (n, D)."""
        ...


@runtime_checkable
class Movable(Protocol):
    """A split that can be moved to the training device, where its rows are indexed."""

    def to(self, device: torch.device | str) -> Split: ...


@runtime_checkable
class Redrawn(Protocol):
    """A split whose examples are random: training draws them anew at every step, `rows` are one draw."""

    def redraw(self, index: Tensor, u: Tensor) -> Tensor:
        """Return the examples of these rows drawn with the uniforms u, (n, *shape) in [0, 1)."""
        ...


@runtime_checkable
class Paired(Protocol):
    """A split whose examples are each conditioned on a picture of their own."""

    def sources(self, index: Tensor) -> Tensor:
        """Return the pictures that these rows are conditioned on: uint8 levels (n, C', H, W)."""
        ...


@runtime_checkable
class Coupled(Protocol):
    """A split learnt from in couples: two views of one thing, or an example of each of two domains."""

    def couples(self, index: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the couples that these rows begin, (first, second), each stored like `rows(index)`."""
        ...


@runtime_checkable
class Retold(Protocol):
    """A split whose examples have several captions each: training draws one of them at every step."""

    def retold(self, index: Tensor, rng: torch.Generator) -> Tensor:
        """Return a caption of each of these rows, (n, length) int64."""
        ...


@dataclass
class Resident:
    """A split that fits in memory; `to` moves it to the training device, where it is indexed without a copy.

    Attributes:
        x: uint8 levels (N, C, H, W), or float32 points (N, D).
        label: (N,) int64, or None.
        tokens: captions (N, length) int64, 0 for padding, or None.
    """

    x: Tensor
    label: Tensor | None = None
    tokens: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index: Tensor) -> Tensor:
        return self.x[index]

    def to(self, device: torch.device | str) -> Resident:
        return Resident(
            self.x.to(device),
            None if self.label is None else self.label.to(device),
            None if self.tokens is None else self.tokens.to(device),
        )


def rows_of(values: Tensor | None, index: Tensor) -> Tensor | None:
    """Return the rows of labels or captions, wherever they are stored; None where there are none."""
    return None if values is None else values[index.to(values.device)]


def conds(split: Split, index: Tensor) -> Cond:
    """Return all that a split says of these rows beside the examples: labels and captions."""
    return Cond(label=rows_of(split.label, index), tokens=rows_of(getattr(split, "tokens", None), index))


@dataclass(frozen=True)
class Domain:
    """Pictures that others are made from.

    Attributes:
        name: what they are: "edges".
        train: what a translation is learnt from.
        test: held-out ones, which samples and scores are made from.
    """

    name: str
    train: Split
    test: Split


PREPARED: Mapping[str, str] = {
    "paired": "zoo_core.data.pairs:paired",
    "unpaired": "zoo_core.data.pairs:unpaired",
    "views": "zoo_core.data.views:views",
}
"""Task -> "module:function" that prepares a dataset for it, called with (dataset, data.source)."""


@dataclass(frozen=True)
class Dataset:
    """What `DatasetSpec.target` returns.

    Attributes:
        info: what recipes may know.
        train, test: the splits.
        sha256: of all examples and labels, in order.
        density: the truth, where it has a closed form.
        class_names: by label, where known.
        report: what was left out or changed while reading, one line each.
        tokenizer: of its captions, where it has some.
        origin: the domain that its pictures are made from, where it brings one or the task has one.
        learnt: what training draws from, where that is not `train`, with which samples are compared.
        stack_of: the dataset whose pictures its channels are, where each shows one: its classes are theirs,
            read as the digits of a number.
    """

    info: DataInfo
    train: Split
    test: Split
    sha256: str
    density: Density | None = None
    class_names: Sequence[str] = ()
    report: Sequence[str] = ()
    tokenizer: Tokenizer | None = None
    origin: Domain | None = None
    learnt: Split | None = None
    stack_of: str = ""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What can be modelled of it: what its loader says, x alone, x given labels, captions or pictures."""
        labelled: tuple[Task, ...] = ("class",) if self.train.label is not None and self.info.classes else ()
        captioned: tuple[Task, ...] = ("text",) if self.tokenizer is not None else ()
        pictured: tuple[Task, ...] = ()
        if self.info.is_image and not isinstance(self.train, Redrawn):
            apart = self.origin is not None and not isinstance(self.train, Paired)
            pictured = ("unpaired",) if apart else ("paired", "unpaired")
            if self.origin is None:
                pictured = (*pictured, "views")
        every = (self.info.task, "unconditional", *labelled, *captioned, *pictured)
        return tuple(dict.fromkeys(every))

    def for_task(self, task: Task, source: str = "edges") -> Dataset:
        """Return the same data for a run that models `task`.

        Args:
            task: one of `tasks`.
            source: `data.source`, the pictures that pairs and second domains are made from.

        Raises:
            UsageError: where the data have no such source.
        """
        chosen = replace(self, info=replace(self.info, task=task))
        if task not in PREPARED:
            return chosen
        prepared: Dataset = load_target(PREPARED[task])(chosen, source)
        return prepared


class TrainData:
    """An endless stream of batches: one seeded permutation after another, nothing dropped.

    Batch number b is a function of (seed, b) only, so a resume needs one integer, `drawn`. A batch may span
    two epochs; a split smaller than a batch is drawn more than once in it.

    Args:
        split: the training examples.
        info: of the dataset.
        seed: of the order.
        device: where batches are delivered.
        hflip: mirror each image with probability 1/2, together with the other image of its pair.

    Raises:
        UsageError: for a split without examples, or flips of points.
    """

    def __init__(
        self,
        split: Split,
        info: DataInfo,
        seed: int,
        device: torch.device | str = "cpu",
        *,
        hflip: bool = False,
    ) -> None:
        if hflip and not info.is_image:
            raise UsageError(
                f"data.hflip=true mirrors images, and {info.name!r} has points", "expected: data.hflip=false"
            )
        self.hflip = hflip
        if len(split) == 0:
            raise UsageError(f"dataset {info.name!r} has no training examples", "expected: at least 1")
        self.info = info
        self.seed = seed
        self.device = torch.device(device)
        self.split = split.to(self.device) if isinstance(split, Movable) else split
        self.drawn = 0
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.split)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            rng = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
            order = torch.randperm(len(self), generator=rng)
            self._order = order.to(self.device) if isinstance(self.split, Movable) else order
            self._epoch = epoch
        return self._order

    def next(self, size: int, of: World = ALONE) -> Batch:
        """Return the next `size` examples as a Batch: of several processes, this one's share of them."""
        epoch, start = divmod(self.drawn, len(self))
        index = self._permutation(epoch)[start : start + size]
        while len(index) < size:
            epoch += 1
            index = torch.cat((index, self._permutation(epoch)[: size - len(index)]))
        self.drawn += size
        own = share(size, of)
        return self._flipped(self._told(self._batch(index, own), index, own), size, own)

    def _flipped(self, batch: Batch, size: int, own: range) -> Batch:
        """Return this process's share of a batch with the images of each row mirrored at random."""
        if not self.hflip:
            return batch
        rng = generator(self.seed, "hflip", self.drawn)
        mask = (torch.rand(size, generator=rng) < 0.5)[own.start : own.stop].to(self.device)
        source, second = batch.cond.image, batch.second
        return replace(
            batch,
            x=mirrored_where(batch.x, mask),
            cond=replace(batch.cond, image=None if source is None else mirrored_where(source, mask)),
            second=None if second is None else mirrored_where(second, mask),
        )

    def _told(self, batch: Batch, index: Tensor, own: range) -> Batch:
        """Return this process's share of a batch with the captions that are drawn for it, where there are
        several."""
        if not isinstance(self.split, Retold):
            return batch
        rng = generator(self.seed, "retell", self.drawn, device=index.device)
        tokens = self.split.retold(index, rng)[own.start : own.stop].to(self.device)
        return replace(batch, cond=replace(batch.cond, tokens=tokens))

    def _batch(self, index: Tensor, own: range) -> Batch:
        """Return this process's own share of the last batch, whose rows are `index`.

        What is random is drawn for the whole batch: no example depends on how many processes there are.
        """
        rows = slice(own.start, own.stop)
        if isinstance(self.split, Redrawn):
            rng = generator(self.seed, "redraw", self.drawn, device=index.device)
            u = torch.rand((len(index), *self.info.shape), generator=rng, device=index.device)
            return self._as_batch(self.split.redraw(index[rows], u[rows]), index[rows])
        if isinstance(self.split, Coupled):
            rng = generator(self.seed, "couple", self.drawn, device=index.device)
            first, second = self.split.couples(index, rng)
            return self._as_batch(first[rows], index[rows], second[rows])
        return self.batch(index[rows])

    def batch(self, index: Tensor) -> Batch:
        """Return the examples of these rows as a Batch; of couples, each row's first."""
        return self._as_batch(self.split.rows(index), index)

    def _as_batch(self, rows: Tensor, index: Tensor, second: Tensor | None = None) -> Batch:
        cond = conds(self.split, index).to(self.device)
        if isinstance(self.split, Paired):
            cond = replace(cond, image=self.to_model(self.split.sources(index)))
        other = None if second is None else self.to_model(second)
        return Batch(self.to_model(rows), cond, index.to(self.device), other)

    def to_model(self, rows: Tensor) -> Tensor:
        """Return stored rows as a model sees them: floats on the device, pictures in [-1, 1]."""
        rows = rows.to(self.device, non_blocking=True)
        return rows if self.info.levels is None else to_unit(rows, self.info.levels)
