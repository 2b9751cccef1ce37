"""Class labels that come with data: checked, and counted over the splits."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_core.errors import UsageError

MAX_CLASSES = 100_000
"""Most classes: networks and counts take memory for each number up to the largest label."""
NAMED = 5
"""Classes that a line names."""


def checked_labels(values: Iterable[Any], where: str, *fix: str) -> Tensor:
    """Return the labels of a split, (n,) int64.

    Args:
        values: one label for each example: integers of Python, numpy or torch.
        where: what the labels belong to, for the message, e.g. "the test split".
        fix: further lines of the message.

    Raises:
        UsageError: for a label that is missing, not an integer, negative or too large; names the first row.
    """
    labels = []
    for row, value in enumerate(values):
        try:
            label = operator.index(value.item() if hasattr(value, "item") else value)
        except (TypeError, ValueError, RuntimeError):
            label = -1
        if not 0 <= label < MAX_CLASSES:
            raise UsageError(
                f"the label of row {row} of {where} is {value!r:.60}",
                f"expected: one integer from 0 to {MAX_CLASSES - 1:,} for each example",
                *fix,
            )
        labels.append(label)
    return torch.tensor(labels, dtype=torch.int64)


def count_classes(
    labels: Mapping[str, Tensor | None], names: Sequence[str]
) -> tuple[int, tuple[str, ...], list[str]]:
    """Return (number of classes, their names, what to report).

    There are as many classes as names, or one more than the largest label of any split, if that is more.
    Names are dropped, and reported, where there are fewer of them than classes.

    Args:
        labels: of each split, (n,) int64, or None for data without labels.
        names: of the classes in the order of the labels; empty where they are unknown.
    """
    found = {split: label for split, label in labels.items() if label is not None and len(label)}
    if not found:
        return 0, (), [f"{len(names)} class names are not used: there are no labels"] if names else []
    used = 1 + max(int(label.max()) for label in found.values())
    report = []
    if names and len(names) < used:
        report.append(f"{len(names)} class names are not used: the labels are of {used} classes")
        names = ()
    classes = max(used, len(names))
    shown = list(names) or [str(k) for k in range(classes)]
    for split, label in found.items():
        without = [shown[k] for k in torch.nonzero(label.bincount(minlength=classes) == 0).flatten().tolist()]
        if without:
            named = ", ".join(without[:NAMED]) + (", ..." if len(without) > NAMED else "")
            report.append(f"{len(without)} classes have no example in the {split} split: {named}")
    return classes, tuple(names), report
