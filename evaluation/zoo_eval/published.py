"""Figures that others published, beside ours: reference rows with their source and protocol, never ranked.

A published figure corresponds to a column only where it is of the same data and the same quantity: `fid` to
`FID`, which is the published Inception's alone, never to a distance in another network's features.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from zoo_core.registry.index import Index, load_index

COLUMNS = {"fid": "FID", "kid": "KID", "is": "IS"}
"""registry.yaml's name of a metric -> our column; its bits_per_dim and nats are units of a likelihood."""


class Reference(NamedTuple):
    """A published figure.

    Attributes:
        plugin: registered name of the model it is of.
        metric: as registry.yaml calls it: "fid", "is", "bits_per_dim", "nats".
        value: the figure.
        protocol: how it was measured, in words.
        source: where it stands.
        read: whether the source itself was read; a figure passed on is unverified.
    """

    plugin: str
    metric: str
    value: float
    protocol: str
    source: str
    read: bool


@cache
def _index() -> Index:
    return load_index()


def references(data: str, column: str, unit: str = "", index: Index | None = None) -> list[Reference]:
    """Return what was published of the quantity in a column on a dataset, in the index's order.

    Args:
        data: name of the dataset.
        column: of a leaderboard: "FID", or a likelihood's name.
        unit: "bits_per_dim" or "nats" where the column is a likelihood.
        index: registry.yaml; None for the one that is installed.
    """
    return [
        Reference(entry.name, one.metric, one.value, one.protocol, one.source, one.read)
        for entry in (index or _index()).plugins
        for one in entry.published
        if one.data == data and (one.metric == unit or (not unit and COLUMNS.get(one.metric) == column))
    ]
