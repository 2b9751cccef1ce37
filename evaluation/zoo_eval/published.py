"""Scores that papers report, as reference rows with their source and protocol, never ranked.

A published score corresponds to a column only where it is of the same data and the same quantity: `fid` to
`FID`, which is the published Inception's alone, never to a distance in another network's features.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from zoo_core.registry.index import Index, load_index
from zoo_core.registry.ledger import Published
from zoo_core.registry.metrics import base_name

COLUMNS = {"fid": "FID", "kid": "KID", "is": "IS"}
"""Name of a metric in registry.yaml -> our column; bits_per_dim and nats are base names of likelihoods."""

Reference = tuple[str, Published]
"""Registered name of a model, and a score that is published of it."""


@cache
def _index() -> Index:
    return load_index()


def references(data: str, column: str, index: Index | None = None) -> list[Reference]:
    """Return what was published of the quantity in a column on a dataset, in the index's order.

    Args:
        data: name of the dataset.
        column: of a leaderboard: "FID", "bits_per_dim[elbo]".
        index: registry.yaml; None for the one that is installed.
    """
    base = base_name(column)
    return [
        (name, one)
        for name, one in (index or _index()).scores
        if one.data == data and (COLUMNS.get(one.metric) == column or one.metric == base)
    ]


def headlines(found: Iterable[Reference]) -> list[Reference]:
    """Return the first reference of each model; the index begins with what its paper is known for."""
    first: dict[str, Published] = {}
    for name, one in found:
        first.setdefault(name, one)
    return list(first.items())
