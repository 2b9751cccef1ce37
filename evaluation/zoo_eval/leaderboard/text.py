"""A table as lines of text that fit a terminal."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import click

from zoo_core.errors import UsageError
from zoo_core.registry.metrics import base_name, kind_of
from zoo_core.registry.resolution import deciding
from zoo_core.results import read_result
from zoo_eval.leaderboard.facts import is_likelihood
from zoo_eval.leaderboard.notation import Notation, clock, fixed, notation_of
from zoo_eval.leaderboard.ranks import Ranked, noise_floor
from zoo_eval.leaderboard.table import Group, Table
from zoo_eval.leaderboard.tasks import task_of
from zoo_eval.numbers import number
from zoo_eval.statistics.student import mean_interval
from zoo_eval.store import STATES, Bad, Conflict, tier_of

_SHORT = {"precision": "prec", "recall": "rec", "density": "dens", "coverage": "cov"}
_FIRST = ("given", "state", "bits/dim", "bits/token", "nats", "NFE", "train", "prec", "rec", "cov", "dens")
"""Which columns are kept where not all of them fit, most important first; the others come after them."""
_BACKGROUND = ("noise floor", "memorization", "authenticity", "KL", "active")
"""Base names that the text leaves out: they qualify other columns."""

BOUNDS = {"upper": "<=", "lower": ">="}
"""Sign before a value that is a bound."""

VARIANTS, LONGEST = 8, 240
"""Most configurations of one plugin whose options are listed under a table, and characters of a line of texts
from files."""
MOST_CONFLICTS = 10
"""Conflicts that are printed one by one."""


@dataclass(frozen=True)
class TextColumn:
    """A column as text: its heading and a cell per row."""

    heading: str
    cells: Sequence[str]

    @cached_property
    def width(self) -> int:
        return max(len(text) for text in (self.heading, *self.cells))


def printable(text: str) -> str:
    """Return a third party's text without control characters, so that a file can't control a terminal."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def refused_lines(bad: Sequence[Bad]) -> list[str]:
    """Return which files were refused: a line for each reason, with the first of its files."""
    by_reason: dict[str, list[Bad]] = {}
    for one in bad:
        by_reason.setdefault(one.reason, []).append(one)
    lines = []
    for reason, files in by_reason.items():
        more = f" and {len(files) - 1} more files" if len(files) > 1 else ""
        lines.append(printable(f"left out: {files[0].path}{more}: {reason}"))
    return lines


def rank_text(ranked: Ranked) -> str:
    """Return the rank with its mark: "=4" for every row of a tie group, "?" for a row that is not tested, and
    "-" for one that is not ranked for another reason."""
    if ranked.rank is None:
        return "?" if ranked.mark == "?" else "-"
    return (
        f"={ranked.rank}" if ranked.mark == "=" else f"{ranked.rank}{'~' if ranked.mark == 'floor' else ''}"
    )


def score_text(ranked: Ranked, column: str, how: Notation) -> str:
    """Return a score: ± half of its interval over seeds, or the ends of a single run's own interval."""
    values = ranked.row.scores.get(column)
    if values is None:
        return "n/a"
    mean, width = mean_interval(values)
    sign = BOUNDS.get(ranked.row.bounds[column], "")
    if width is not None:
        return f"{sign}{how.text(mean, width)} ±{how.spread(width, mean)}"
    ends = ranked.row.within.get(column)
    if ends is None:
        return f"{sign}{how.text(mean)}"
    half = (ends[1] - ends[0]) / 2
    counted = not how.exponent and all(value == round(value) for value in (mean, *ends))
    digits = 0 if counted else how.digits_of(half, mean)
    value, low, high = (fixed(one / 10.0**how.exponent, digits) for one in (mean, *ends))
    return f"{sign}{value} [{low}, {high}]"


def column_notation(rows: Sequence[Ranked], column: str) -> Notation:
    """Return the notation of a column of a table."""
    return notation_of(r.row.scores[column] for r in rows if column in r.row.scores)


def names(rows: Sequence[Ranked]) -> list[str]:
    """Return a name per row: the plugin, its config hash if it has several, and a file's hash if needed."""
    plugins = Counter(ranked.row.plugin for ranked in rows)
    configs = Counter((ranked.row.plugin, ranked.row.config_hash) for ranked in rows)
    found = []
    for ranked in rows:
        row = ranked.row
        name = row.plugin if plugins[row.plugin] == 1 else f"{row.plugin[:17]}/{row.config_hash[:6]}"
        several = configs[row.plugin, row.config_hash] > 1
        found.append(printable(f"{name[:24]}@{row.key[:6]}" if several else name[:24]))
    return found


def variants(table: Table) -> list[str]:
    """Return a line for each of the first rows of a plugin that has several: the options that differ."""
    count = Counter(ranked.row.plugin for ranked in table.rows)
    labeled = zip(table.rows, names(table.rows), strict=True)
    several = [(r, name) for r, name in labeled if count[r.row.plugin] > 1][:VARIANTS]
    options = [(r.row.plugin, name, deciding(_config(r))) for r, name in several]
    lines = []
    for plugin, name, own in options:
        others = [other for beside, _, other in options if beside == plugin]
        words = [
            f"{key}={value}"
            for key, value in sorted(own.items())
            if value != "" and any(other.get(key) != value for other in others)
        ]
        if words:
            lines.append(printable(f"{name}: {' '.join(words)}")[:LONGEST])
    return lines


def selected_lines(table: Table) -> list[str]:
    """Return a line for each of the first rows whose options a search selected, with what the search took."""
    lines = []
    for ranked, name in zip(table.rows, names(table.rows), strict=True):
        if ranked.row.selected:
            seconds = ranked.row.cost.get("search_seconds")
            took = "" if seconds is None else f"; search {clock(seconds)}"
            lines.append(printable(f"{name}: selected: {ranked.row.selected}{took}")[:LONGEST])
    return lines[:VARIANTS]


def _config(ranked: Ranked) -> Mapping[str, object]:
    try:
        return dict(read_result(ranked.row.entries[0].path).config)
    except UsageError:  # the file was changed or removed since it was ranked
        return {}


def _likelihood(ranked: Ranked, unit: str) -> str:
    """Return the tightest likelihood of a row with its kind; <= or >= where it is a bound."""
    found = [name for name in ranked.row.scores if base_name(name) == unit]
    if not found:
        return "n/a"
    best = (max if unit == "nats" else min)(found, key=lambda n: mean_interval(ranked.row.scores[n])[0])
    sign = BOUNDS.get(ranked.row.bounds[best], "")
    return f"{sign}{mean_interval(ranked.row.scores[best])[0]:.3f} {printable(kind_of(best))[:12]}"


def _mean_text(ranked: Ranked, column: str, how: Notation) -> str:
    """Return a value beside the one that ranks: no more digits than the column has."""
    values = ranked.row.scores.get(column)
    if values is None:
        return "n/a"
    mean, width = mean_interval(values)
    return fixed(mean / 10.0**how.exponent, min(how.decimals, how.digits_of(width, mean)))


_COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("nfe", "NFE", lambda value: f"{value:.0f}"),
    ("train_seconds", "train", clock),
    ("images_seen", "images", lambda value: f"{value:.2g}"),
    ("parameters", "params", lambda value: f"{value:.2g}"),
)


def text_columns(table: Table) -> tuple[list[TextColumn], list[TextColumn]]:
    """Return the columns that are always shown, and those that are shown where they fit."""
    rows, ranked_by = table.rows, table.column.name
    how = column_notation(rows, ranked_by)
    always = [
        TextColumn("#", [rank_text(r) for r in rows]),
        TextColumn("model", names(rows)),
        TextColumn(printable(ranked_by) + how.factor, [score_text(r, ranked_by, how) for r in rows]),
        TextColumn("seeds", [str(len(r.row.seeds)) for r in rows]),
    ]
    given = printable(task_of(table.group.data).given)
    more = [TextColumn("given", [given for _ in rows])] if given else []
    more.append(TextColumn("state", [r.row.state for r in rows]))
    shown = [
        c.name for c in table.group.columns if c.name != ranked_by and base_name(c.name) not in _BACKGROUND
    ]
    for name in shown:
        if not is_likelihood(name):
            base = printable(base_name(name))
            beside = column_notation(rows, name)
            heading = _SHORT.get(base, base) + beside.factor
            more.append(TextColumn(heading, [_mean_text(r, name, beside) for r in rows]))
    for unit, heading in (("bits_per_dim", "bits/dim"), ("bits_per_token", "bits/token"), ("nats", "nats")):
        if any(base_name(name) == unit for name in shown):
            more.append(TextColumn(heading, [_likelihood(r, unit) for r in rows]))
    for name, heading, show in _COSTS:
        costs = [r.row.cost.get(name) for r in rows]
        more.append(TextColumn(heading, ["n/a" if cost is None else show(cost) for cost in costs]))
    return always, more


def fitting(table: Table, width: int) -> list[TextColumn]:
    """Return the columns that fit a terminal, in their own order, the most important kept."""
    always, more = text_columns(table)
    left = width - sum(column.width + 2 for column in always)
    order = {heading: place for place, heading in enumerate(_FIRST)}
    importance = [
        (order.get(column.heading.split(" x1e")[0], len(_FIRST)), k) for k, column in enumerate(more)
    ]
    kept: set[int] = set()
    for _, k in sorted(importance):
        if more[k].width + 2 <= left:
            kept.add(k)
            left -= more[k].width + 2
    return always + [column for k, column in enumerate(more) if k in kept]


def heading(table: Table) -> list[str]:
    """Return the lines above a table: data, task, protocol, numbers of images, and what ranks."""
    fields = table.group.protocol.fields
    generated, reference = fields.get("n_generated"), fields.get("n_reference")
    return [
        printable(table.group.title),
        printable(task_of(table.group.data).about),
        printable(f"{generated} samples against {reference} training examples"),
        printable(f"ranked by {table.column.name}, {table.column.better} is better"),
    ]


def separable_lines(table: Table) -> list[str]:
    """Return the smallest difference of two scores that the tests of each tier can separate."""
    lines = []
    for tier in table.tiers:
        if tier.separable is None:
            continue
        where = f" among {tier.state} rows" if len(table.tiers) > 1 else ""
        kind = "ratio" if table.column.scale == "log" else "difference"
        pairs = "1 pair" if tier.pairs == 1 else f"{tier.pairs} pairs"
        lines.append(f"smallest significant {kind}{where}: {number(tier.separable)} (5 % over {pairs})")
    return lines


def _reason(table: Table) -> str:
    """Return why the first row with an unranked value has no rank: ": 1,900 samples for 64 features: ..."."""
    for ranked in table.rows:
        if ranked.mark == "unranked":
            return printable(f": {ranked.row.unranked[table.column.name]}")[:LONGEST]
    return ""


def notes(table: Table) -> list[str]:
    """Return what the marks in a table mean, those that occur, and what the tests can separate."""
    marks = {ranked.mark for ranked in table.rows}
    floor = noise_floor(table.group.rows, table.column.name)
    said = {
        "=": "= not significantly different from the rows of its rank (moderated t-test, all pairs, Holm)",
        "?": "? not ranked, because not tested: one training seed, a baseline, equal scores of all seeds, a "
        "score of 0, or no other row to test against; it stands where its score puts it",
        "floor": f"~ within twice the noise floor of {number(floor or 0)}: tied with real data",
        "below": f"- below half the noise floor of {number(floor or 0)}: not ranked",
        "memorizes": "- memorization detected: not ranked",
        "unchecked": "- memorization not checked at every seed: not ranked",
        "unranked": f"- this value is shown and not ranked{_reason(table)}",
        "n/a": "- lacks this value: not ranked",
    }
    lines = [text for mark, text in said.items() if mark in marks]
    lines += separable_lines(table)
    lines += variants(table)
    lines += selected_lines(table)
    how = column_notation(table.rows, table.column.name)
    scores = [score_text(ranked, table.column.name, how) for ranked in table.rows]
    if any("±" in text for text in scores):
        lines.append("± half of a 95 % interval over training seeds")
    if any("[" in text for text in scores):
        lines.append("[ ] 95 % interval over the samples of one run; other training seeds differ by more")
    states = {ranked.row.state for ranked in table.rows}
    if states & set(STATES[3:]):
        lines.append(
            "audited, consistent: reproduced, and parts of the training repeated (zoo verify --spot); "
            "ranked among the reproduced rows"
        )
    if states & set(STATES[1:3]):
        lines.append(
            "reproduced, resampled: samples drawn again from the checkpoint and scored again (zoo verify)"
        )
    if len({tier_of(state) for state in states}) > 1:
        lines.append(
            "rows of a better verified state come first; less verified rows do not change their ranks"
        )
    return lines


def conflict_lines(conflicts: Sequence[Conflict]) -> list[str]:
    """Return a line for each of the first conflicts, and how many more there are."""
    lines = [
        printable(
            f"conflict: {one.plugin}{'/' if one.config_hash else ''}{one.config_hash[:6]}: {one.reason}"
        )
        for one in conflicts[:MOST_CONFLICTS]
    ]
    more = len(conflicts) - MOST_CONFLICTS
    return [*lines, f"conflict: {more} more; zoo leaderboard --json lists them"] if more > 0 else lines


def reference_lines(table: Table) -> list[str]:
    """Return a published score of each model, of the same quantity, under a heading of their own."""
    if not table.references:
        return []
    metric, data = table.references[0][1].metric, table.group.data.name
    lines = [f"published {metric} on {data}, other protocols, not ranked:"]
    for name, one in table.references:
        unread = "" if one.read else "; unverified"
        lines.append(f"  {name} {number(one.value)}: {one.conditions} ({one.source}{unread})")
    lines.append(f"  all of them: zoo registry scores --data {data} --metric {metric}")
    return [printable(line) for line in lines]


def other_lines(groups: Sequence[Group]) -> list[str]:
    """Return a line that names the tasks whose tables are not shown, and how to see them."""
    if not groups:
        return []
    tasks = sorted({group.task for group in groups})
    count = "1 more table" if len(groups) == 1 else f"{len(groups)} more tables"
    return [printable(f"{count} of other tasks ({', '.join(tasks)}); next: zoo leaderboard --task all")]


def plain(table: Table, width: int = 80, styled: bool = False) -> list[str]:
    """Return a table as lines of text, none wider than `width` where the fixed columns allow.

    Args:
        styled: titles and the first rank are bold, and rows without a rank and notes dim.
    """

    def paint(line: str, **style: bool) -> str:
        asked = {name: True for name, given in style.items() if given}
        return click.style(line, **asked) if styled and asked else line

    columns = fitting(table, width)
    head, *rows = (
        "  ".join(
            text.ljust(column.width) if column.heading == "model" else text.rjust(column.width)
            for column, text in zip(columns, cells, strict=True)
        ).rstrip()
        for cells in zip(*((c.heading, *c.cells) for c in columns), strict=True)
    )
    title, *about = (wrapped for line in heading(table) for wrapped in textwrap.wrap(line, width))
    return [
        paint(title, bold=True),
        *about,
        paint(head, bold=True),
        *(
            paint(line, dim=ranked.rank is None, bold=ranked.rank == 1)
            for line, ranked in zip(rows, table.rows, strict=True)
        ),
        *(
            paint(wrapped, dim=True)
            for line in (*notes(table), *reference_lines(table))
            for wrapped in textwrap.wrap(line, width, subsequent_indent="    ")
        ),
    ]
