"""What the page shows, as plain data: ranks and ties as the leaderboard computed them, and the entries."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import metadata
from operator import itemgetter
from typing import NamedTuple

from scipy import special

from zoo_core.errors import UsageError
from zoo_core.registry.metrics import base_name
from zoo_eval.leaderboard.facts import BASELINE, Column, Facts, installed, protocol_title
from zoo_eval.leaderboard.glossary import TERMS, definition, group_of
from zoo_eval.leaderboard.notation import notation
from zoo_eval.leaderboard.page.details import Details, known_models, reference, strip_of
from zoo_eval.leaderboard.page.sprites import MOST, sprite
from zoo_eval.leaderboard.page.values import Plain, clean, lines, short
from zoo_eval.leaderboard.ranks import Tier
from zoo_eval.leaderboard.rows import Row
from zoo_eval.leaderboard.table import Group, Table, make_table
from zoo_eval.leaderboard.tasks import task_of
from zoo_eval.leaderboard.text import conflict_lines, names, notes
from zoo_eval.statistics.student import mean_interval
from zoo_eval.store import STATES, Bad, tier_of

UNITS = {"bits_per_dim": "bits/dim", "bits_per_token": "bits/token", "nats": "nats"}
"""Units of likelihoods, by base name."""


class Cost(NamedTuple):
    """A cost: its heading, what it is, the page's unit for it, and whether the table shows it by default."""

    heading: str
    about: str
    unit: str
    shown: bool


COSTS: Mapping[str, Cost] = {
    "train_seconds": Cost("train", "training time", "clock", True),
    "search_seconds": Cost("search", "training and scoring of the search for its options", "clock", True),
    "nfe": Cost("NFE", "network evaluations per sample", "count", True),
    "parameters": Cost("params", "parameters", "count", True),
    "images_seen": Cost("images", "training images seen", "count", False),
    "steps": Cost("steps", "training steps", "count", False),
    "seconds_per_sample": Cost("s/sample", "sampling time per sample", "s", False),
    "sample_seconds": Cost("sampling", "sampling time of all samples", "clock", False),
    "train_flops": Cost("train FLOP", "floating-point operations of training", "count", False),
    "sample_flops": Cost("FLOP/sample", "floating-point operations per sample", "count", False),
    "train_peak_bytes": Cost("train memory", "peak memory of training", "B", False),
    "sample_peak_bytes": Cost("memory", "peak memory of sampling", "B", False),
}
"""By their name in a result, in the page's order."""


def headings(columns: Sequence[str]) -> list[str]:
    """Return a heading per column: without the brackets where it stays distinct, else the whole name."""
    count = Counter(map(base_name, columns))
    return [name if count[base_name(name)] > 1 else base_name(name) for name in columns]


def _metric(column: Column, heading: str, group: Group, rows: Sequence[Row], facts: Facts) -> Plain:
    """Return a column: mean per row, and its 95 % interval over seeds (width) or within a run (ends)."""
    name = column.name
    values = [row.scores.get(name) for row in rows]
    intervals = [mean_interval(v) if v else (None, None) for v in values]
    ends = [
        None if width is not None or name not in row.within else [short(end) for end in row.within[name]]
        for row, (_, width) in zip(rows, intervals, strict=True)
    ]
    how = notation(mean for mean, _ in intervals if mean is not None)
    what = definition(name, facts)
    return {
        "name": clean(name),
        "heading": clean(heading),
        "better": column.better,
        "group": group_of(name),
        "about": clean(what.about),
        "see": what.see,
        "exponent": how.exponent,
        "decimals": how.decimals,
        "shown": base_name(name) in task_of(group.data).columns,
        "unit": UNITS.get(base_name(name), ""),
        "mean": [short(mean) for mean, _ in intervals],
        "width": [short(width) for _, width in intervals],
        "ends": ends,
        "bound": [row.bounds.get(name, "exact") for row in rows],
    }


def _ranking(table: Table, places: Mapping[str, int]) -> Plain:
    """Return the rows' order, and by row number rank, mark, p and what two rows are tested with."""
    order = [places[ranked.row.key] for ranked in table.rows]
    by_row = [ranked for _, ranked in sorted(zip(order, table.rows, strict=True), key=itemgetter(0))]
    tested = [ranked for ranked in by_row if ranked.df is not None]
    made: Plain = {
        "order": order,
        "rank": [ranked.rank for ranked in by_row],
        "mark": [ranked.mark for ranked in by_row],
        "notes": [clean(line) for line in notes(table)],
        "published": [reference(name, one) for name, one in table.references],
        "scale": table.column.scale,
        "tests": None,
    }
    if tested:
        df = sorted({ranked.df for ranked in tested if ranked.df is not None})
        made["p"] = [short(ranked.p) for ranked in by_row]
        made["tests"] = {
            "center": [short(ranked.center) for ranked in by_row],
            "error": [short(ranked.error) for ranked in by_row],
            "df": [None if ranked.df is None else df.index(ranked.df) for ranked in by_row],
            "critical": {tier.state: _critical(tier, df) for tier in table.tiers},
        }
    return made


def _critical(tier: Tier, df: Sequence[float]) -> list[float]:
    """Return the smallest significant |t| for each number of degrees of freedom, the smallest first."""
    return [float(-special.stdtrit(one, tier.threshold / 2)) for one in df]


def _ranked(group: Group, metric: str | None) -> Table:
    try:
        return make_table(group, metric)
    except UsageError:
        if metric is None:
            raise
        return make_table(group)  # a metric asked for by name is not in every group


def group_data(
    group: Group, metric: str | None = None, facts: Facts | None = None
) -> tuple[Plain, list[Row]]:
    """Return what the page shows of a group, and its rows, best first.

    Args:
        metric: that ranks when the page opens, where it can.
        facts: what the installed metrics declare; None to look it up.

    Raises:
        UsageError: where no column can rank.
    """
    facts = facts or installed()
    table = _ranked(group, metric)
    rows = [ranked.row for ranked in table.rows]
    places = {row.key: place for place, row in enumerate(rows)}
    known = {name for row in rows for name in row.cost}
    others = (make_table(group, c.name) for c in group.columns if c.better and c.name != table.column.name)
    task = task_of(group.data)
    heads = headings([column.name for column in group.columns])
    made: Plain = {
        "data": clean(group.data.title),
        "task": clean(group.task),
        "about": clean(task.about),
        "given": clean(task.given),
        "axis": task.axis,
        "title": clean(protocol_title(group.protocol)),
        "said": _protocol_text(group),
        "protocol": {"hash": group.protocol.hash, "fields": lines(group.protocol.fields)},
        "metric": clean(table.column.name),
        "plugin": [clean(row.plugin) for row in rows],
        "name": names(table.rows),
        "family": [clean(row.family) for row in rows],
        "families": sorted({clean(row.family) for row in rows}, key=lambda name: (name == BASELINE, name)),
        "config": [row.config_hash for row in rows],
        "key": [row.key[:6] for row in rows],
        "seeds": [len(row.seeds) for row in rows],
        "state": [row.state for row in rows],
        "metrics": [
            _metric(column, heading, group, rows, facts)
            for column, heading in zip(group.columns, heads, strict=True)
        ],
        "costs": [_cost(name, rows) for name in COSTS if name in known],
        "rankings": {clean(one.column.name): _ranking(one, places) for one in (table, *others)},
        "sprite": sprite([strip_of(row) for row in rows[:MOST]] + [None] * (len(rows) - MOST)),
    }
    return made, rows


def _protocol_text(group: Group) -> str:
    fields = group.protocol.fields
    return clean(
        f"{_counted(fields.get('n_generated'))} samples against {_counted(fields.get('n_reference'))}"
        f" training examples, features of {fields.get('extractor')}"
    )


def _counted(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cost(name: str, rows: Sequence[Row]) -> Plain:
    return {"name": name, "value": [short(row.cost.get(name)) for row in rows], **COSTS[name]._asdict()}


def documentation() -> str:
    """Return the address of the documentation that the distribution names; "" where it names none."""
    for line in metadata("genzoo").get_all("Project-URL") or []:
        label, _, address = line.partition(",")
        if label.strip().lower() == "documentation" and address.strip().startswith("https://"):
            return f"{address.strip().rstrip('/')}/"
    return ""


def today() -> str:
    """Return the date as 2026-11-27; of SOURCE_DATE_EPOCH where it is set, so that a page can be repeated."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    return time.strftime("%Y-%m-%d", time.gmtime(int(given) if given.isdigit() else None))


def page_data(
    groups: Sequence[Group], bad: Sequence[Bad], metric: str | None, foot: str
) -> tuple[Plain, Iterator[Plain]]:
    """Return the board, and the details of its entries in the order that the board numbers them in."""
    facts = installed()
    shown: list[Plain] = []
    opened: list[Row] = []
    left_out = [(clean("/".join(one.path.parts[-4:])), clean(one.reason)) for one in bad]
    for group in groups:
        left_out += [(clean(group.data.name), clean(line)) for line in conflict_lines(group.conflicts)]
        try:
            made, rows = group_data(group, metric, facts)
        except UsageError as error:
            left_out.append((clean(group.title), clean(error.what)))
            continue
        shown.append(made | {"detail": list(range(len(opened), len(opened) + len(rows)))})
        opened += rows
    details = Details(len(opened))
    board = {
        "groups": shown,
        "bad": left_out,
        "states": list(STATES),
        "tiers": {state: tier_of(state) for state in STATES},
        "models": known_models({row.plugin for row in opened}) if opened else {},
        "terms": {name: [term.about, term.see] for name, term in TERMS.items()},
        "docs": documentation(),
        "date": today(),
        "foot": clean(foot),
    }
    return board, (details.of(row) for row in opened)
