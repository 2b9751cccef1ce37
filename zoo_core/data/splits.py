"""Which rows are held out, and the fingerprint of what is in a split."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from zoo_core.data.captions import Tokenizer
from zoo_core.data.dataset import Dataset
from zoo_core.data.table import Table
from zoo_core.interfaces import Law
from zoo_core.seeds import derive, mix32
from zoo_core.types import DataInfo


def stratified(label: Tensor, test: int, *, keep: int = 0, purpose: str = "split") -> tuple[Tensor, Tensor]:
    """Return the rows that are kept and those that are held out, ascending, with each class in proportion.

    Which rows go where depends on the row numbers and labels alone: rows are shuffled by integer arithmetic
    written here, so that no release of any library moves a row across the split.

    Args:
        label: (n,) int64; all zero where there are no classes.
        test: number of rows held out, distributed over classes by largest remainder.
        keep: rows of each class that are not held out, where others have rows to hold out instead.
        purpose: of the split; another one shuffles differently.
    """
    counts = torch.bincount(label).tolist()
    quota = [count * test / len(label) for count in counts]
    share = [int(q) for q in quota]
    by_remainder = sorted(range(len(counts)), key=lambda c: (share[c] - quota[c], c))
    for c in by_remainder[: test - sum(share)]:
        share[c] += 1
    _keep_some(share, counts, keep)
    start = derive(0, purpose)
    held: list[int] = []
    for c, take in enumerate(share):
        rows = torch.nonzero(label == c).flatten().tolist()
        held += sorted(rows, key=lambda row: mix32(start + row))[:take]
    is_test = torch.zeros(len(label), dtype=torch.bool)
    is_test[held] = True
    return torch.nonzero(~is_test).flatten(), torch.nonzero(is_test).flatten()


def held_out(label: Tensor | None, total: int, fraction: float) -> tuple[Tensor, Tensor]:
    """Return the rows that are kept and those that are held out for testing, ascending.

    At least one row is held out and one kept, where there are two. Each class keeps a row, unless all classes
    have a single one.

    Args:
        label: (total,) int64, by which the part is stratified, or None.
        total: number of rows.
        fraction: of the rows to hold out.
    """
    test = max(0, min(max(1, round(fraction * total)), total - 1))
    alike = torch.zeros(total, dtype=torch.int64)
    kept, held = stratified(alike if label is None else label, test, keep=1)
    return (kept, held) if len(held) or not test else stratified(alike, test)


def _keep_some(share: list[int], counts: Sequence[int], keep: int) -> None:
    """Lower the shares of classes that would keep fewer than `keep` rows; raise those with most left."""
    missing = 0
    for c, count in enumerate(counts):
        excess = min(share[c], max(0, share[c] - max(0, count - keep)))
        share[c] -= excess
        missing += excess
    while missing:
        c = max(range(len(counts)), key=lambda c: (counts[c] - share[c], -c))
        if counts[c] - share[c] <= keep:
            return
        share[c] += 1
        missing -= 1


def numbered(groups: Sequence[Hashable]) -> tuple[Tensor, Tensor]:
    """Return the number of each row's group, in order of appearance, and the first row of each group."""
    number: dict[Hashable, int] = {}
    of_row = torch.tensor([number.setdefault(group, len(number)) for group in groups])
    first = torch.full((len(number),), len(groups), dtype=torch.int64)
    return of_row, first.scatter_reduce_(0, of_row, torch.arange(len(groups)), "amin")


def two_parts(order: Tensor, groups: Sequence[Hashable], most: int) -> tuple[Tensor, Tensor]:
    """Return two parts of equal size that share no group.

    Args:
        order: (N,) every row, shuffled; a group stands at the place of its first row, whatever its size, so
            that where each row is a group the parts are `order[:n]` and `order[n : 2 * n]`.
        groups: of the N rows.
        most: rows a part; there are fewer where groups leave fewer.
    """
    of_row, first = numbered(groups)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    rows = torch.argsort(place[first][of_row] * len(order) + place)
    n = min(most, len(order) // 2)
    apart = torch.nonzero(of_row[rows[n:]] != of_row[rows[n - 1]]).flatten()
    start = n + int(apart[0]) if len(apart) else len(order)
    n = min(n, len(order) - start)
    return rows[:n], rows[start : start + n]


def digests(rows: Tensor) -> list[bytes]:
    """Return the sha256 digest of each example's bytes."""
    return [hashlib.sha256(row.tobytes()).digest() for row in rows.contiguous().numpy()]


def fingerprint(*splits: Table) -> str:
    """Return one sha256, in hex, of splits whose digests are known: of examples and labels, in order."""
    whole = hashlib.sha256()
    for table in splits:
        one = hashlib.sha256(b"".join(table.digests))
        if table.label is not None:
            one.update(table.label.to(torch.int64).contiguous().numpy().tobytes())
        whole.update(one.digest())
    return whole.hexdigest()


def resident(
    info: DataInfo,
    train: Table,
    test: Table,
    *,
    density: Law | None = None,
    class_names: Sequence[str] = (),
    report: Sequence[str] = (),
    tokenizer: Tokenizer | None = None,
) -> Dataset:
    """Return the Dataset of two splits in memory, fingerprinted."""
    train, test = (replace_digests(table, all_digests(table)) for table in (train, test))
    return Dataset(info, train, test, fingerprint(train, test), density, class_names, report, tokenizer)


def replace_digests(table: Table, digests: Sequence[bytes]) -> Table:
    """Return the table with the sha256 of each row's example."""
    return Table(table.columns, table.transforms, digests, table.groups)


def all_digests(table: Table) -> Sequence[bytes]:
    """Return the sha256 of each row's example: those the table knows, or computed from its rows."""
    if table.digests:
        return table.digests
    return [one for part in torch.arange(len(table)).split(4096) for one in digests(table.examples(part))]
