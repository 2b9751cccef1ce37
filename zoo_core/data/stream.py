"""The endless, resumable stream of batches that training draws from a table."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from zoo_core.data.levels import to_unit
from zoo_core.data.table import Table, conds, example_of
from zoo_core.data.transforms import RowRandom, Rows, stretches
from zoo_core.errors import UsageError
from zoo_core.machine.distributed import ALONE, World, shares
from zoo_core.seeds import derive, generator
from zoo_core.types import Batch, Cond, DataInfo

AHEAD = 3
"""Batches that are read before they are asked for, where a table is not in memory."""

Key = tuple[int, int, tuple[range, ...]]
"""Examples drawn before a batch, its size, and which stretches of it are read."""


class TrainData:
    """An endless stream of batches: one seeded permutation after another, nothing dropped.

    Batch number b is a function of (seed, b) only, so a resume needs one integer, `drawn`. A batch may span
    two epochs; a split smaller than a batch is drawn more than once in it. Rows of a table that is not in
    memory are read by a worker thread ahead of the step, on CUDA into pinned memory.

    Args:
        split: the training examples.
        info: of the data set.
        seed: of the order and of the random transforms.
        device: where batches are delivered.
    """

    def __init__(self, split: Table, info: DataInfo, seed: int, device: torch.device | str = "cpu") -> None:
        if len(split) == 0:
            raise UsageError(f"dataset {info.name!r} has no training examples", "expected: at least 1")
        self.info = info
        self.seed = seed
        self.device = torch.device(device)
        self.split = split.to(self.device)
        self.drawn = 0
        self._index_device = self.device if self.split.in_memory else torch.device("cpu")
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)
        self._ahead: deque[tuple[Key, Future[tuple[Tensor, Rows]]]] = deque()
        self._worker: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self.split)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            rng = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
            self._order = torch.randperm(len(self), generator=rng).to(self._index_device)
            self._epoch = epoch
        return self._order

    def next(self, size: int, of: World = ALONE, parts: Sequence[range] = ()) -> Batch:
        """Return the next `size` examples as a Batch: of several processes, this one's share of them.

        Args:
            size: of the whole batch.
            of: this process's place.
            parts: of the batch, in order, each of which is shared; none for the whole of it.
        """
        key = (self.drawn, size, tuple(shares(parts or (range(size),), of)))
        index, rows = self._read(key) if self.split.in_memory else self._taken(key)
        self.drawn += size
        return self._as_batch(rows, index)

    def _read(self, key: Key) -> tuple[Tensor, Rows]:
        """Return the row numbers and rows of a batch that are this process's."""
        drawn, size, own = key
        epoch, start = divmod(drawn, len(self))
        index = self._permutation(epoch)[start : start + size]
        while len(index) < size:
            epoch += 1
            index = torch.cat((index, self._permutation(epoch)[: size - len(index)]))

        def random(name: str) -> RowRandom:
            rng = generator(self.seed, name, drawn + size, device=self._index_device)
            return RowRandom(rng, size, own)

        index = stretches(index, own)
        return index, self.split.rows(index, random)

    def _taken(self, key: Key) -> tuple[Tensor, Rows]:
        """Return what `_read` does, from the worker, which goes on with the batches that follow."""
        if self._worker is None:
            # One thread reads whole batches in order; decoding uses threads of its own below it.
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="zoo-data")
        while (
            self._ahead and self._ahead[0][0] != key
        ):  # after a resume, or another size: not what was foreseen
            self._ahead.popleft()[1].cancel()
        drawn, size, own = key
        while len(self._ahead) <= AHEAD:
            later = (drawn + size * len(self._ahead), size, own)
            self._ahead.append((later, self._worker.submit(self._read_pinned, later)))
        return self._ahead.popleft()[1].result()

    def _read_pinned(self, key: Key) -> tuple[Tensor, Rows]:
        index, rows = self._read(key)
        if self.device.type == "cuda":
            rows = {name: values.pin_memory() for name, values in rows.items()}
        return index, rows

    def batch(self, index: Tensor) -> Batch:
        """Return the examples of these rows as a Batch, without the random transforms."""
        return self._as_batch(self.split.rows(index), index)

    def _as_batch(self, rows: Rows, index: Tensor) -> Batch:
        source, second = rows.get("source"), rows.get("second")
        label, caption = rows.get("label"), rows.get("caption")
        cond = Cond(
            label=None if label is None else label.to(self.device, non_blocking=True),
            tokens=None if caption is None else caption.to(self.device, non_blocking=True),
            image=None if source is None else self._seen(source, self.info.image_levels or self.info.levels),
        )
        other = None if second is None else self.to_model(second)
        return Batch(self.to_model(example_of(rows)), cond, index.to(self.device), other)

    def close(self) -> None:
        """Wait for the batches that are being read ahead, and forget them."""
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)
        self._worker = None
        self._ahead.clear()

    def conditions(self) -> Cond:
        """Return labels and captions of all training examples, in order."""
        return conds(self.split, torch.arange(len(self)))

    def restarted(self, seed: int = 0) -> TrainData:
        """Return a stream of the same examples from its first batch on."""
        return TrainData(self.split, self.info, seed, self.device)

    def to_model(self, rows: Tensor) -> Tensor:
        """Return stored examples as a model sees them: floats on the device, images in [-1, 1]."""
        return self._seen(rows, self.info.levels)

    def _seen(self, rows: Tensor, levels: int | None) -> Tensor:
        rows = rows.to(self.device, non_blocking=True)
        return rows if levels is None else to_unit(rows, levels)
