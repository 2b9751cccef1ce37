"""Ranks of rows by one column: as fine as the differences are significant, better verified rows first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from zoo_eval.leaderboard.facts import Column, noise_floor_of
from zoo_eval.leaderboard.rows import Row
from zoo_eval.statistics import ranking
from zoo_eval.store import TIERS, tier_of

MARKS = ("", "=", "?", "floor", "below", "memorizes", "unchecked", "unranked", "n/a")
"""See `Ranked.mark`."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A row with its place.

    Attributes:
        rank: 1 for the best; None for a row that is not ranked.
        mark: "" for a rank of its own, "=" for one that is shared, "floor" within twice the noise floor. Not
            ranked: "?" where the row can't be tested (one seed, a baseline, no other row to test against) and
            stands where its score puts it; "below" half the noise floor, which new real data do not reach;
            "memorizes"; "unchecked" where that is not known of every seed; "unranked" where the value is
            shown only; "n/a" where it has none.
        p: uncorrected p-value against the next tested row of its tier above.
        center, error, df: mean on the column's scale, its standard error and that one's degrees of freedom,
            from which two rows of a tier are tested; error and df are None where the row is not tested.
    """

    row: Row
    rank: int | None
    mark: str
    p: float | None
    center: float | None = None
    error: float | None = None
    df: float | None = None


@dataclass(frozen=True)
class Tier:
    """The rows of one tier of verification, and how they are tested.

    Attributes:
        state: one of `TIERS`.
        pairs: number of pairs that Holm's correction counts: all of this tier and of those that are better
            verified.
        separable: smallest ratio (or difference) of two scores that is significant; None for fewer than two
            tested rows.
        threshold: largest p-value of a pair that is significant after Holm's correction.
    """

    state: str
    pairs: int
    separable: float | None
    threshold: float


@dataclass(frozen=True)
class Ranking:
    """All rows in order, and what the tests of each tier can separate."""

    rows: tuple[Ranked, ...]
    tiers: tuple[Tier, ...]


def noise_floor(rows: Sequence[Row], column: str) -> float | None:
    """Return the noise floor of a column: the median of the best verified rows; None where no row has one.

    It depends on the data and the protocol only, so honest files agree; no single file can move the median
    far.
    """
    name = noise_floor_of(column)
    for tier in reversed(TIERS):
        found = [row.scores[name][0] for row in rows if tier_of(row.state) == tier and name in row.scores]
        if found:
            return median(found)
    return None


def rank(rows: Sequence[Row], column: Column) -> Ranking:
    """Return the rows in order, each with its rank or the reason why it has none.

    Rows of a better tier stand first, whose rows stand in the order of their scores. They share a rank or not
    by tests over all pairs of the table down to that tier: less verified files, which anybody can add, change
    no rank of better verified rows.
    """
    floor = noise_floor(rows, column.name) if column.better == "lower" else None
    ranked: list[Ranked] = []
    rest: list[Ranked] = []
    tiers: list[Tier] = []
    by_tier: Mapping[str, list[Row]] = {tier: [] for tier in reversed(TIERS)}
    for row in sorted(rows, key=lambda one: (one.plugin, one.config_hash, one.source, one.key)):
        mark = _not_ranked(row, column.name, floor)
        if mark:
            rest.append(Ranked(row, None, mark, None))
        else:
            by_tier[tier_of(row.state)].append(row)
    better: list[Row] = []
    for members in by_tier.values():
        if members:
            found, tier = _tier(members, better, column, floor, sum(one.rank is not None for one in ranked))
            ranked += found
            tiers.append(tier)
            better += members
    rest.sort(key=lambda one: MARKS.index(one.mark))
    return Ranking((*ranked, *rest), tuple(tiers))


def _not_ranked(row: Row, column: str, floor: float | None) -> str:
    """Return the mark of a row that is not ranked; "" where it is.

    A distance far below the noise floor is not a good model's: samples of the data's own law reach the floor.
    """
    if column not in row.scores:
        return "n/a"
    if row.memorizes:
        return "memorizes"
    if row.memorizes is None:
        return "unchecked"
    if column in row.unranked:
        return "unranked"
    return "below" if floor is not None and min(row.scores[column]) < floor / 2 else ""


def _tier(
    rows: Sequence[Row], better: Sequence[Row], column: Column, floor: float | None, above: int
) -> tuple[list[Ranked], Tier]:
    """Return the rows of one tier in order.

    Args:
        better: rows of the tiers that are better verified, whose pairs count too.
        above: number of those that have a rank.
    """
    name = column.name
    found = ranking.rank(
        [row.scores[name] for row in rows],
        better="lower" if column.better == "lower" else "higher",
        testable=[not row.deterministic for row in rows],
        scale=column.scale,
        beside=[row.scores[name] for row in better if not row.deterministic],
    )
    alone = sum(place.rank is not None for place in found.places) < 2
    at_floor: set[int] = set()
    ranked: list[Ranked] = []
    for k in found.order:
        place = found.places[k]
        if place.rank is None or alone:
            ranked.append(Ranked(rows[k], None, "?", None))
            continue
        if floor is not None and place.center < 2 * floor:
            at_floor.add(place.rank)
            first, mark = 1, "floor"
        else:
            first, mark = (1 if place.rank in at_floor else place.rank), "=" if place.tied else ""
        tested = (place.p_above, place.center, place.error, place.df)
        ranked.append(Ranked(rows[k], above + first, mark, *tested))
    return ranked, Tier(tier_of(rows[0].state), found.pairs, found.separable, found.threshold)
