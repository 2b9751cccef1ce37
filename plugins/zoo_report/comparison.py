"""What a comparison of models says: facts about the rows of one table, read from their result files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy import special

from zoo_core.errors import UsageError
from zoo_core.results import Result, read_result
from zoo_eval.leaderboard.ranks import Ranked, noise_floor
from zoo_eval.leaderboard.table import Table
from zoo_eval.statistics import ranking

LEFT_OUT = ("below", "memorizes", "unchecked", "unranked")
"""Marks of rows whose scores may not be ranked: see `ranks.MARKS`."""


@dataclass(frozen=True)
class Compared:
    """One row of the comparison.

    Attributes:
        name: the plugin, with the beginning of the configuration's hash where the plugin has several rows.
        ranked: its place on the board, where better verified rows stand first whatever their scores.
        place: among all rows of the comparison, by their scores alone.
        interval: 95 % interval over training seeds, with the variance shrunk to the table's; of a row with
            one seed, over the samples of its run; None where there is neither.
        results: its files, ascending by seed.
    """

    name: str
    ranked: Ranked
    place: ranking.Place
    interval: tuple[float, float] | None
    results: tuple[Result, ...]

    @property
    def tested(self) -> bool:
        """Whether the row takes part in the tests over training seeds."""
        return self.place.rank is not None


@dataclass(frozen=True)
class Comparison:
    """A table with everything that a reader needs to assess it.

    Attributes:
        table: rows of one dataset, task and protocol, ranked by one column.
        rows: by their scores, best first, without those that have no value in the column; rows that may not
            be ranked stand last.
        pairs: number of pairs that were tested.
        threshold: largest p-value that is significant after the correction for all pairs.
        separable: smallest significant ratio or difference; None for fewer than two tested rows.
        floor: expected score of as many new real examples; None where it is unknown.
    """

    table: Table
    rows: tuple[Compared, ...]
    pairs: int
    threshold: float
    separable: float | None
    floor: float | None

    @property
    def results(self) -> list[Result]:
        """All files."""
        return [result for row in self.rows for result in row.results]


def compare(table: Table) -> Comparison:
    """Return the comparison of a table's rows.

    Raises:
        UsageError: where no row has a value in the column, or a file can't be read any more.
    """
    column = table.column
    ranked = [one for one in table.rows if column.name in one.row.scores]
    if not ranked:
        raise UsageError(f"no result has {column.name}", "next: --metric COLUMN")
    scale = column.scale
    found = ranking.rank(
        [one.row.scores[column.name] for one in ranked],
        better="lower" if column.better == "lower" else "higher",
        testable=[not (one.row.deterministic or one.mark in LEFT_OUT) for one in ranked],
        scale=scale,
    )
    plugins = Counter(one.row.plugin for one in ranked)
    rows = []
    for index in sorted(found.order, key=lambda k: ranked[k].mark in LEFT_OUT):
        one, place = ranked[index], found.places[index]
        row = one.row
        several = plugins[row.plugin] > 1
        rows.append(
            Compared(
                f"{row.plugin}/{row.config_hash[:6]}" if several else row.plugin,
                one,
                place,
                place.interval or row.within.get(column.name),
                tuple(read_result(entry.path) for entry in row.entries),
            )
        )
    floor = noise_floor([one.row for one in ranked], column.name) if column.better == "lower" else None
    return Comparison(table, tuple(rows), found.pairs, found.threshold, found.separable, floor)


def different(compared: Comparison, one: Compared, other: Compared) -> bool:
    """Return whether two rows differ significantly; False where one of them is not tested.

    Rows of different ranks may not: a row starts a new rank where it differs from any row of the rank above.
    """
    first, second = one.place, other.place
    if first.error is None or second.error is None or first.df is None or second.df is None:
        return False
    log = compared.table.column.scale == "log"
    a, b = (math.log(place.center) if log else place.center for place in (first, second))
    t = abs(a - b) / math.hypot(first.error, second.error)
    return bool(2 * special.stdtr(min(first.df, second.df), -t) <= compared.threshold)


def mean_cost(row: Compared, name: str) -> float | None:
    """Return the mean of a field of `Cost` over seeds; None where a seed has none."""
    found = [getattr(result.cost, name) for result in row.results]
    return None if None in found else fmean(found)


def common(values: Sequence[str]) -> str:
    """Return the different texts in order of their first occurrence, joined: "a", "a and b", "a, b and c"."""
    names = list(dict.fromkeys(value for value in values if value))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
