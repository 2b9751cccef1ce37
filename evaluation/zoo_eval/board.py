"""The leaderboard as it is shown: a table that fits its terminal, or JSON."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from zoo_core.resolution import deciding
from zoo_eval.leaderboard import Ranked, Table, values_of
from zoo_eval.results import Bad
from zoo_eval.statistics.student import mean_interval
from zoo_eval.submission import enrich
from zoo_eval.summary import number

_MARKS = {"": "", "=": "=", "?": "?", "floor": "~", "memorises": "-", "n/a": "-"}
_SHORT = {"precision": "prec", "recall": "rec", "density": "dens", "coverage": "cov"}
_FIRST = ("state", "bits/dim", "nats", "NFE", "train", "prec", "rec", "cov", "dens")
"""Which columns are kept where not all of them fit, most wanted first; what is not named comes after."""

VARIANTS, LONGEST = 8, 240
"""Most configs of one plugin whose options are told apart under a table, and characters of such a line."""


class Column(NamedTuple):
    """A column as text: its heading and a cell a row."""

    heading: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        return max(len(text) for text in (self.heading, *self.cells))


def printable(text: str) -> str:
    """Return a stranger's text without control characters, so that a result file can't drive a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def short_seconds(seconds: float) -> str:
    """Return a duration in at most 5 characters."""
    if seconds < 100:
        return f"{seconds:.3g}s"
    return f"{seconds / 60:.0f}m" if seconds < 6000 else f"{seconds / 3600:.0f}h"


def with_interval(mean: float | None, width: float | None) -> str:
    """Return a figure and half its interval."""
    if mean is None:
        return "n/a"
    return number(mean) if width is None else f"{number(mean)} ±{number(width)}"


def _figure(ranked: Ranked, metric: str) -> str:
    """Return the ranked figure: ± over seeds, or, of a single seed, the ends of its own interval."""
    within = ranked.row.within.get(metric)
    if ranked.mean is None or ranked.width is not None or within is None:
        return with_interval(ranked.mean, ranked.width)
    return f"{number(ranked.mean)} [{number(within[0])}, {number(within[1])}]"


def _rank(ranked: Ranked) -> str:
    return f"{'' if ranked.rank is None else ranked.rank}{_MARKS[ranked.mark]}"


def _model(ranked: Ranked, table: Table) -> str:
    row = ranked.row
    alone = sum(other.row.plugin == row.plugin for other in table.rows) == 1
    return printable(row.plugin if alone else f"{row.plugin}/{row.config_hash[:6]}")[:24]


def variants(table: Table) -> list[str]:
    """Return a line for each row of a plugin that has several, the first few: the options they differ in."""
    count = Counter(ranked.row.plugin for ranked in table.rows)
    several = [r for r in table.rows if count[r.row.plugin] > 1 and r.row.results][:VARIANTS]
    configs = [(ranked, enrich(ranked.row.results[0]).get("config")) for ranked in several]
    options = [(ranked, deciding(config)) for ranked, config in configs if isinstance(config, Mapping)]
    lines = []
    for ranked, own in options:
        others = [other for beside, other in options if beside.row.plugin == ranked.row.plugin]
        words = [
            f"{key}={value}"
            for key, value in sorted(own.items())
            if value != "" and any(other.get(key) != value for other in others)
        ]
        if words:
            lines.append(printable(f"{_model(ranked, table)}: {' '.join(words)}")[:LONGEST])
    return lines


def _likelihood(ranked: Ranked, unit: str) -> str:
    """Return the tightest likelihood of a row with its kind; <= where it is a bound on bits."""
    found = [
        (name, mean_interval(v)[0], bound)
        for name, (u, v, bound) in ranked.row.likelihoods.items()
        if u == unit
    ]
    if not found:
        return "n/a"
    bits = unit == "bits_per_dim"
    name, value, bound = (min if bits else max)(found, key=lambda item: item[1])
    sign = ("<=" if bits else ">=") if bound else ""
    return f"{sign}{value:.3f} {printable(name)[:12]}"


def _cost(ranked: Ranked, name: str) -> float | None:
    return ranked.row.cost.get(name)


def text_columns(table: Table) -> tuple[list[Column], list[Column]]:
    """Return the columns that are always shown, and those that are shown where there is room."""
    rows = table.rows
    fixed = [
        Column("#", [_rank(r) for r in rows]),
        Column("model", [_model(r, table) for r in rows]),
        Column(printable(table.metric), [_figure(r, table.metric) for r in rows]),
        Column("seeds", [str(len(r.row.seeds)) for r in rows]),
    ]
    more = [Column("state", [r.row.state for r in rows])]
    for name in table.columns:
        if name != table.metric:
            short = printable(name.partition("[")[0] if name.endswith("]") else name)
            means = [None if (v := values_of(r.row, name)) is None else mean_interval(v)[0] for r in rows]
            cells = ["n/a" if mean is None else number(mean) for mean in means]
            more.append(Column(_SHORT.get(short, short), cells))
    for unit, heading in (("bits_per_dim", "bits/dim"), ("nats", "nats")):
        cells = [_likelihood(r, unit) for r in rows]
        if any(cell != "n/a" for cell in cells):
            more.append(Column(heading, cells))
    for name, heading, show in (
        ("nfe", "NFE", lambda value: f"{value:.0f}"),
        ("train_seconds", "train", short_seconds),
        ("images_seen", "images", lambda value: f"{value:.2g}"),
        ("parameters", "params", lambda value: f"{value:.2g}"),
    ):
        costs = [_cost(r, name) for r in rows]
        more.append(Column(heading, ["n/a" if cost is None else show(cost) for cost in costs]))
    return fixed, more


def fitting(table: Table, width: int) -> list[Column]:
    """Return the columns that fit a terminal, in their own order, the most wanted kept."""
    fixed, more = text_columns(table)
    room = width - sum(column.width + 2 for column in fixed)
    wanted = {heading: place for place, heading in enumerate(_FIRST)}
    kept: set[int] = set()
    for k in sorted(range(len(more)), key=lambda k: (wanted.get(more[k].heading, len(_FIRST)), k)):
        if more[k].width + 2 <= room:
            kept.add(k)
            room -= more[k].width + 2
    return fixed + [column for k, column in enumerate(more) if k in kept]


def heading(table: Table) -> list[str]:
    """Return the lines over a table: a number without its protocol is not printed."""
    fields = table.protocol["fields"]
    generated, reference = fields.get("n_generated"), fields.get("n_reference")
    name = f"{table.protocol['name']}-{table.protocol.get('version')} ({table.protocol['hash']})"
    return [
        printable(f"{table.data}, protocol {name}"),
        printable(f"{generated} samples against {reference} training examples"),
        printable(f"ranked by {table.metric}, {table.better} first"),
    ]


def notes(table: Table) -> list[str]:
    """Return what the marks in a table mean, those that occur."""
    marks = {ranked.mark for ranked in table.rows}
    floors = [ranked.row.floor for ranked in table.rows if ranked.mark == "floor"]
    said = {
        "=": "= not to be told from the row above, nor from the first of its rank (Welch's test, 5 %)",
        "?": "? one seed: whether it differs from the row above is not known",
        "floor": f"~ within twice the floor of {number(max(floors, default=0))}: tied with real data",
        "memorises": "- memorises its training set: not ranked",
        "n/a": "- lacks this figure: not ranked",
    }
    lines = [text for mark, text in said.items() if mark in marks]
    lines += variants(table)
    if any(ranked.width is not None for ranked in table.rows):
        lines.append("± half of a 95 % interval over training seeds")
    if any("[" in _figure(ranked, table.metric) for ranked in table.rows):
        lines.append("[ ] 95 % interval of one run's own samples: it says nothing of other training seeds")
    if any(ranked.row.state != "reported" for ranked in table.rows):
        lines.append("resampled, reproduced: drawn again from the checkpoint, and scored again (zoo verify)")
    return lines


def reference_lines(table: Table) -> list[str]:
    """Return the published figures of the same quantity: under a heading of their own, never in the table."""
    if not table.references:
        return []
    lines = [f"published {table.references[0].metric} on {table.data}, other protocols, not ranked:"]
    for one in table.references:
        unread = "" if one.read else "; unverified"
        lines.append(f"  {one.plugin} {number(one.value)}: {one.protocol} ({one.source}{unread})")
    return [printable(line) for line in lines]


def plain(table: Table, width: int = 80) -> list[str]:
    """Return a table as lines of text, none wider than `width` where the fixed columns allow."""
    columns = fitting(table, width)
    lines = [
        "  ".join(
            text.ljust(column.width) if column.heading == "model" else text.rjust(column.width)
            for column, text in zip(columns, cells, strict=True)
        ).rstrip()
        for cells in zip(*((c.heading, *c.cells) for c in columns), strict=True)
    ]
    around = [
        wrapped
        for line in (*notes(table), *reference_lines(table))
        for wrapped in textwrap.wrap(line, width, subsequent_indent="    ")
    ]
    return [*heading(table), *lines, *around]


def show_rich(table: Table, width: int) -> None:
    """Print a table on a terminal."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    columns = fitting(table, width - 2)
    made = RichTable(box=None, pad_edge=False, padding=(0, 1))
    for column in columns:
        made.add_column(
            Text(column.heading), justify="left" if column.heading == "model" else "right", no_wrap=True
        )
    for place, ranked in enumerate(table.rows):
        style = "dim" if ranked.rank is None else ""
        made.add_row(*(Text(column.cells[place], style=style) for column in columns))
    console = Console(width=width)
    first, *rest = heading(table)
    console.print(Text(first, style="bold"))
    for line in rest:
        console.print(Text(line))
    console.print(made)
    for line in (*notes(table), *reference_lines(table)):
        console.print(Text(line, style="dim"))


def as_json(tables: Sequence[Table], bad: Sequence[Bad]) -> dict[str, Any]:
    """Return it all as plain data."""
    return {
        "schema": 1,
        "tables": [
            {
                "data": table.data,
                "protocol": dict(table.protocol),
                "metric": table.metric,
                "better": table.better,
                "columns": dict(table.columns),
                "rows": [_row_json(ranked) for ranked in table.rows],
                "references": [one._asdict() for one in table.references],
            }
            for table in tables
        ],
        "bad": [{"path": str(one.path), "reason": one.reason} for one in bad],
    }


def _row_json(ranked: Ranked) -> dict[str, Any]:
    row = ranked.row
    figures = {name: (mean_interval(values), values) for name, values in row.figures.items()}
    return {
        "rank": ranked.rank,
        "mark": ranked.mark,
        "p_against_row_above": ranked.p,
        "plugin": row.plugin,
        "family": row.family,
        "config_hash": row.config_hash,
        "seeds": list(row.seeds),
        "metrics": {
            name: {"mean": mean, "half_width": width, "values": list(values)}
            for name, ((mean, width), values) in figures.items()
        },
        "likelihood": {
            name: {"unit": unit, "mean": mean_interval(values)[0], "bound": bound, "values": list(values)}
            for name, (unit, values, bound) in row.likelihoods.items()
        },
        "cost": dict(row.cost),
        "memorises": row.memorises,
        "floor": row.floor,
        "state": row.state,
        "within": {name: list(ends) for name, ends in row.within.items()},
        "paths": [str(one.path) for one in row.results],
    }
