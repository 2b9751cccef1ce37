"""Splits that never move, and the fingerprint of what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from zoo_core.data.captions import Tokenizer
from zoo_core.data.loading import Dataset, Resident
from zoo_core.interfaces import Density
from zoo_core.seeds import derive, mix32
from zoo_core.types import DataInfo


def stratified(label: Tensor, test: int) -> tuple[Tensor, Tensor]:
    """Return the rows of the training and the test split, ascending, with each class in proportion.

    Which rows go where depends on the row numbers and labels alone: rows are shuffled by integer
    arithmetic of our own, so no release of any library can move a picture across the split.

    Args:
        label: (n,) int64; all zero where there are no classes.
        test: rows of the test split in all, shared out by largest remainder.
    """
    counts = torch.bincount(label).tolist()
    quota = [count * test / len(label) for count in counts]
    share = [int(q) for q in quota]
    by_remainder = sorted(range(len(counts)), key=lambda c: (share[c] - quota[c], c))
    for c in by_remainder[: test - sum(share)]:
        share[c] += 1
    start = derive(0, "split")
    held: list[int] = []
    for c, take in enumerate(share):
        rows = torch.nonzero(label == c).flatten().tolist()
        held += sorted(rows, key=lambda row: mix32(start + row))[:take]
    is_test = torch.zeros(len(label), dtype=torch.bool)
    is_test[held] = True
    return torch.nonzero(~is_test).flatten(), torch.nonzero(is_test).flatten()


def digests(rows: Tensor) -> list[bytes]:
    """Return the sha256 digest of each example's bytes."""
    return [hashlib.sha256(row.tobytes()).digest() for row in rows.contiguous().numpy()]


def fingerprint(*splits: tuple[Iterable[bytes], Tensor | None]) -> str:
    """Return one sha256, in hex, of splits given as (digests of the examples in order, labels or None)."""
    whole = hashlib.sha256()
    for examples, label in splits:
        one = hashlib.sha256()
        for digest in examples:
            one.update(digest)
        if label is not None:
            one.update(label.to(torch.int64).contiguous().numpy().tobytes())
        whole.update(one.digest())
    return whole.hexdigest()


def resident(
    info: DataInfo,
    train: Resident,
    test: Resident,
    *,
    density: Density | None = None,
    class_names: Sequence[str] = (),
    report: Sequence[str] = (),
    tokenizer: Tokenizer | None = None,
) -> Dataset:
    """Return the Dataset of two splits in memory, fingerprinted."""
    sha256 = fingerprint(*((digests(split.x), split.label) for split in (train, test)))
    return Dataset(info, train, test, sha256, density, class_names, report, tokenizer)
