"""Columns of results and their directions, as the registered metrics declare them."""

from __future__ import annotations

from zoo_core.registry.manager import Entry, manager


def base_name(column: str) -> str:
    """Return what is measured: "FD" of `FD[digits]`."""
    return column.partition("[")[0].rstrip()


def kind_of(column: str) -> str:
    """Return what stands in a column's brackets: "elbo" of `bits_per_dim[elbo]`; "" where it has none."""
    return column.partition("[")[2].removesuffix("]")


def optional_metrics() -> frozenset[str]:
    """Return the names of the metrics that are computed only where `eval.metrics` names them."""
    return frozenset(entry.spec.name for entry in manager().entries("metric") if entry.spec.optional)


def declared() -> dict[str, Entry]:
    """Return the metric that declares each base name; of two that declare one, the first registered."""
    found: dict[str, Entry] = {}
    for entry in manager().entries("metric"):
        for base in entry.spec.directions:
            found.setdefault(base, entry)
    return found


def direction(column: str) -> str:
    """Return "lower" or "higher", or "" for a column that is never ranked.

    It comes from the installed metrics alone, never from a result file. A column that no installed metric
    declares is not ranked.
    """
    base = base_name(column)
    entry = declared().get(base)
    return "" if entry is None else str(entry.spec.directions[base])
