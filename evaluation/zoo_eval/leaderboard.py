"""The leaderboard: results of one protocol on one dataset, averaged over seeds, ranked by one figure.

A rank is only as good as the difference behind it: a row shares the rank above where Welch's test can tell it
neither from the row above nor from the first of that rank, so that no chain of small differences makes one
rank of the whole table. What lies under twice the floor is tied there, and a model that memorises has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from zoo_core.errors import UsageError, nearest
from zoo_eval.published import Reference, references
from zoo_eval.results import Stored, fault, is_frechet
from zoo_eval.statistics.student import LEVEL, mean_interval, welch
from zoo_eval.verification import STATES, state


@dataclass(frozen=True)
class Row:
    """An entry: one plugin with one config, over its seeds.

    Attributes:
        plugin, family, config_hash: which.
        seeds: whose results were averaged, ascending.
        figures: column -> one value a seed.
        likelihoods: name -> (unit, one value a seed, whether a bound).
        cost: means over seeds: train_seconds, images_seen, nfe, seconds_per_sample, parameters.
        memorises: whether any seed was found to.
        floor: mean over seeds.
        within: column -> ends of the 95 % interval within the one run there is, from its own samples.
        state: "reported", "resampled" or "reproduced": the least of its seeds' states.
        results: the seeds' results and the files they came from, ascending; none for a baseline that was only
            recorded beside another's result.
    """

    plugin: str
    family: str
    config_hash: str
    seeds: tuple[int, ...]
    figures: Mapping[str, tuple[float, ...]]
    likelihoods: Mapping[str, tuple[str, tuple[float, ...], bool]]
    cost: Mapping[str, float]
    memorises: bool
    floor: float
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    state: str = "reported"
    results: tuple[Stored, ...] = ()


@dataclass(frozen=True)
class Ranked:
    """A row with its place.

    Attributes:
        rank: 1 for the best; None for what is not ranked.
        mark: "" for a rank of its own, "=" for one shared with the row above, "?" where a single seed can't
            tell it from that row, "floor", "memorises", or "n/a" where it lacks the figure.
        mean, width: of the ranked figure, and half its 95 % interval.
        p: of the test against the row above.
    """

    row: Row
    rank: int | None
    mark: str
    mean: float | None
    width: float | None
    p: float | None


@dataclass(frozen=True)
class Table:
    """All entries that may be held against each other, best first.

    Attributes:
        data: name of the dataset.
        protocol: as in a result: name, version, hash, fields.
        metric: column, or name of a likelihood, that ranks.
        better: "lower" or "higher".
        columns: every column that a row has, and whether lower or higher is better, or "".
        rows: the entries.
        references: published figures of the same quantity on the same data, under protocols of their own.
    """

    data: str
    protocol: Mapping[str, Any]
    metric: str
    better: str
    columns: Mapping[str, str]
    rows: Sequence[Ranked]
    references: Sequence[Reference] = ()


def group(results: Sequence[Stored]) -> dict[tuple[str, str], list[Stored]]:
    """Return results by (data, protocol hash): figures are compared within a group only."""
    groups: dict[tuple[str, str], list[Stored]] = {}
    for stored in results:
        key = (stored.result["data"], stored.result["protocol"]["hash"])
        groups.setdefault(key, []).append(stored)
    return dict(sorted(groups.items()))


def make_rows(results: Sequence[Stored]) -> list[Row]:
    """Return one row for each (plugin, config hash) of a group, and for each baseline recorded beside one.

    A column that a seed lacks is left out.
    """
    entries: dict[tuple[str, str], list[Stored]] = {}
    for stored in results:
        entries.setdefault((stored.result["plugin"], stored.result["config_hash"]), []).append(stored)
    rows = [_row(sorted(seeds, key=lambda s: s.result["seed"])) for _, seeds in sorted(entries.items())]
    return [*rows, *_recorded_baselines(results)]


def _recorded_baselines(results: Sequence[Stored]) -> list[Row]:
    """Return rows for baselines that stand in a result of the group and have none of their own in it."""
    have = {stored.result["plugin"] for stored in results}
    found: dict[str, Row] = {}
    for path, host in results:
        for one in host.get("baselines") or ():
            if one.get("plugin") in have or one.get("protocol") != host["protocol"]:
                continue
            beside = {key: host[key] for key in ("schema", "data", "seed", "floor")}
            whole = {"family": "baseline", "config_hash": "baseline", "cost": {}, **one, **beside}
            if fault(whole) is None and whole["plugin"] not in found:
                found[whole["plugin"]] = replace(_row([Stored(path, whole)]), state=STATES[0], results=())
    return [found[name] for name in sorted(found)]


def _row(stored: Sequence[Stored]) -> Row:
    seeds = [one.result for one in stored]
    first = seeds[0]
    shared = [name for name in first["metrics"] if all(name in r["metrics"] for r in seeds)]
    kinds: dict[str, tuple[str, tuple[float, ...], bool]] = {}
    for record in first.get("likelihood", []):
        unit = "bits_per_dim" if "bits_per_dim" in record else "nats"
        same = [
            [x for x in r.get("likelihood", []) if x["name"] == record["name"] and unit in x] for r in seeds
        ]
        if all(same):
            kinds[record["name"]] = (unit, tuple(x[0][unit] for x in same), bool(record.get("bound")))
    costs = [{k: v for k, v in r["cost"].items() if isinstance(v, int | float)} for r in seeds]
    return Row(
        plugin=first["plugin"],
        family=first["family"],
        config_hash=first["config_hash"],
        seeds=tuple(r["seed"] for r in seeds),
        figures={name: tuple(r["metrics"][name]["value"] for r in seeds) for name in shared},
        likelihoods=kinds,
        cost={k: math.fsum(c[k] for c in costs) / len(costs) for k in costs[0] if all(k in c for c in costs)},
        memorises=any(r["memorisation"]["memorises"] for r in seeds),
        floor=math.fsum(r["floor"]["value"] for r in seeds) / len(seeds),
        within={} if len(seeds) > 1 else _within(first),
        state=min((state(one) for one in stored), key=STATES.index),
        results=tuple(stored),
    )


def _within(result: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return column -> ends of the interval that was had from the run's own samples, where there is one."""
    return {
        name: (cell["low"], cell["high"])
        for name, cell in result["metrics"].items()
        if cell.get("low") is not None and cell.get("high") is not None
    }


def column_directions(results: Sequence[Stored]) -> dict[str, str]:
    """Return column -> "lower", "higher" or ""; a column that one result may not rank, none may."""
    found: dict[str, str] = {}
    for _, result in results:
        for name, cell in result["metrics"].items():
            better = cell.get("better", "")
            found[name] = better if found.get(name, better) == better else ""
    return found


def choose_metric(wanted: str | None, columns: Mapping[str, str], rows: Sequence[Row]) -> tuple[str, str]:
    """Return the ranking column and its direction: by default the Frechet distance, else the first there is.

    Raises:
        UsageError: for a column that is unknown, or shown and never ranked.
    """
    ranked = {name: better for name, better in columns.items() if better}
    kinds = {name: unit for row in rows for name, (unit, _, _) in row.likelihoods.items()}
    ranked |= {name: "lower" if unit == "bits_per_dim" else "higher" for name, unit in kinds.items()}
    if wanted is None:
        default = next((name for name in ranked if is_frechet(name)), next(iter(ranked), None))
        if default is None:
            raise UsageError("no column here can be ranked", f"shown: {', '.join(columns)}")
        return default, ranked[default]
    for name in (*columns, *kinds):
        if wanted.lower() in (name.lower(), name.partition("[")[0].lower()) and " " not in name:
            if name in ranked:
                return name, ranked[name]
            raise UsageError(f"{name} is shown and never ranked", f"expected: one of {', '.join(ranked)}")
    match = nearest(wanted, ranked)
    raise UsageError(
        f"no column {wanted!r}",
        f"did you mean: --metric '{match}'" if match else "",
        f"columns: {', '.join(ranked)}",
    )


def values_of(row: Row, metric: str) -> tuple[float, ...] | None:
    """Return a row's values of a column or a likelihood, one a seed; None where it has none."""
    if metric in row.figures:
        return row.figures[metric]
    return row.likelihoods[metric][1] if metric in row.likelihoods else None


def rank(rows: Sequence[Row], metric: str, better: str) -> list[Ranked]:
    """Return the rows in order, each with its rank or the reason why it has none."""
    sign = 1 if better == "lower" else -1
    have = [(mean_interval(v), v, row) for row in rows if (v := values_of(row, metric)) is not None]
    have.sort(key=lambda item: (sign * item[0][0], item[2].plugin, item[2].config_hash))
    ranked: list[Ranked] = []
    unranked: list[Ranked] = []
    above: Sequence[float] | None = None
    first: Sequence[float] | None = None  # of the rank
    place = 0
    for (mean, width), values, row in have:
        if row.memorises:
            unranked.append(Ranked(row, None, "memorises", mean, width, None))
            continue
        place += 1
        p = None if above is None else welch(above, values)
        p_first = None if first is None else welch(first, values)
        apart = any(each is not None and each < LEVEL for each in (p, p_first))
        if is_frechet(metric) and mean < 2 * row.floor:
            found = Ranked(row, 1, "floor", mean, width, p)
        elif above is None or apart:
            found = Ranked(row, place, "", mean, width, p)
        elif p is None:
            found = Ranked(row, place, "?", mean, width, p)
        else:
            found = Ranked(row, ranked[-1].rank, "=", mean, width, p)
        if first is None or found.mark in ("", "?"):
            first = values
        ranked.append(found)
        above = values
    lacking = [Ranked(row, None, "n/a", None, None, None) for row in rows if values_of(row, metric) is None]
    return [*ranked, *unranked, *lacking]


def protocol_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return one line for each field in which two protocols differ: "n_generated: 2000 and 10000"."""
    absent = "(absent)"
    return [
        f"{name}: {_short(a.get(name, absent))} and {_short(b.get(name, absent))}"
        for name in sorted({*a, *b})
        if a.get(name, absent) != b.get(name, absent)
    ]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def make_table(members: Sequence[Stored], metric: str | None = None) -> Table:
    """Return the one table of results that may be held against each other.

    Args:
        members: of one dataset and one protocol.
        metric: see `choose_metric`.

    Raises:
        UsageError: where two protocols differ, naming the fields, or the metric can't rank.
    """
    first = members[0].result
    for _, other in members:
        if (other["data"], other["protocol"]["hash"]) != (first["data"], first["protocol"]["hash"]):
            raise UsageError(
                f"{first['plugin']} and {other['plugin']} were scored under different protocols: "
                f"{first['protocol']['hash']} and {other['protocol']['hash']}",
                *protocol_differences(first["protocol"]["fields"], other["protocol"]["fields"]),
                "expected: one protocol; figures of two never share a ranked column",
                "next: zoo eval RUN eval.protocol=NAME scores a run again",
            )
    rows = make_rows(members)
    columns = column_directions(members)
    chosen, better = choose_metric(metric, columns, rows)
    unit = next((row.likelihoods[chosen][0] for row in rows if chosen in row.likelihoods), "")
    published = references(first["data"], chosen, unit)
    ranked = rank(rows, chosen, better)
    return Table(first["data"], first["protocol"], chosen, better, columns, ranked, published)


def tables(
    results: Sequence[Stored],
    *,
    data: str | None = None,
    protocol: str | None = None,
    metric: str | None = None,
) -> list[Table]:
    """Return a table for each (data, protocol) that is asked for.

    Args:
        data: name of a dataset; None for all.
        protocol: name, "name-version", or (the beginning of) a hash; None for all. Several with commas
            between them ask for one table, which there is only where they are one protocol.
        metric: see `choose_metric`.

    Raises:
        UsageError: where nothing fits, protocols are to share a table, or the metric can't rank.
    """
    groups = group(results)
    chosen = [
        members
        for (name, hash_), members in groups.items()
        if data in (None, name) and (protocol is None or _is_named(members[0].result["protocol"], protocol))
    ]
    if not chosen and groups:
        there = sorted(
            {f"{name} {m[0].result['protocol']['name']} ({hash_})" for (name, hash_), m in groups.items()}
        )
        raise UsageError(f"no results for data={data}, protocol={protocol}", f"there are: {'; '.join(there)}")
    if protocol is not None and "," in protocol:
        return [make_table([one for members in chosen for one in members], metric)]
    return [make_table(members, metric) for members in chosen]


def _is_named(protocol: Mapping[str, Any], wanted: str) -> bool:
    names = (protocol["name"], f"{protocol['name']}-{protocol.get('version')}")
    return any(one in names or (one != "" and protocol["hash"].startswith(one)) for one in wanted.split(","))
