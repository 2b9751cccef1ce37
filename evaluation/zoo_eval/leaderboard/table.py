"""Tables of results that may be compared: of one dataset, one task and one protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo_core.errors import UsageError, guess
from zoo_core.registry.metrics import base_name, kind_of
from zoo_core.results.result import DataRecord, ProtocolRecord, Scalar
from zoo_eval.leaderboard.facts import Column, Facts, is_likelihood, protocol_name, protocol_title
from zoo_eval.leaderboard.ranks import Ranked, Tier, rank
from zoo_eval.leaderboard.rows import Row, make_row
from zoo_eval.leaderboard.tasks import task_name, task_of
from zoo_eval.published import Reference, headlines, references
from zoo_eval.store import TIERS, Conflict, Entry, separate, tier_of

ANY_TASK = "all"
"""What `--task` takes for every task."""


@dataclass(frozen=True)
class Group:
    """Files that may be compared.

    Attributes:
        data: the dataset, its task, and what images are translated from.
        protocol: how they were scored.
        rows: one per configuration and source.
        columns: those that a row has and an installed metric declares.
        conflicts: files that could not share a row.
    """

    data: DataRecord
    protocol: ProtocolRecord
    rows: Sequence[Row]
    columns: Sequence[Column]
    conflicts: Sequence[Conflict]

    @property
    def task(self) -> str:
        return task_name(self.data)

    @property
    def title(self) -> str:
        return f"{self.data.title}, {self.task}, protocol {protocol_title(self.protocol)}"


@dataclass(frozen=True)
class Table:
    """A group ranked by one column.

    Attributes:
        group: what is ranked.
        column: that ranks.
        rows: in order.
        tiers: what the tests can separate, by tier of verification.
        references: a published value of each model, of the same quantity on the same data, never ranked.
    """

    group: Group
    column: Column
    rows: Sequence[Ranked]
    tiers: Sequence[Tier]
    references: Sequence[Reference] = ()


def make_groups(entries: Sequence[Entry], facts: Facts) -> list[Group]:
    """Return the groups of files that may be compared: by dataset, the largest first."""
    members: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        members.setdefault((entry.data.name, task_name(entry.data), entry.protocol.hash), []).append(entry)
    groups = [_group(found, facts) for found in members.values()]
    return sorted(groups, key=lambda one: (one.data.name, -len(one.rows), one.task, one.protocol.hash))


def _group(entries: Sequence[Entry], facts: Facts) -> Group:
    claims, conflicts = separate(entries)
    rows = [make_row(claim, facts) for claim in claims]
    counts = Counter(name for row in rows for name in row.scores)
    order = {base: place for place, base in enumerate(facts.directions)}
    names = sorted(counts, key=lambda name: (order[base_name(name)], -counts[name], name))
    columns = [column for name in names if (column := facts.column(name)) is not None]
    data = entries[0].data.model_copy(update={"label": _label(entries, facts)})
    return Group(data, entries[0].protocol, rows, columns, conflicts)


def _label(entries: Sequence[Entry], facts: Facts) -> str:
    """Return the label that most of the best verified files have, "" where none has one.

    Data that are known by their name have none, whatever a file calls them.
    """
    if entries[0].data.name not in facts.labeled:
        return ""
    best = max((tier_of(entry.state) for entry in entries), key=TIERS.index)
    labels = Counter(one.data.label for one in entries if one.data.label and tier_of(one.state) == best)
    return min(labels, key=lambda label: (-labels[label], label), default="")


def choose_column(group: Group, wanted: str | None = None) -> Column:
    """Return the column that ranks.

    By default it is, among the columns that most of the best verified rows have, the first that the task
    names, else the first declared.

    Args:
        wanted: name of a column, its base name, or a kind of likelihood; None for the default.

    Raises:
        UsageError: for a column that is unknown, or shown and never ranked.
    """
    ranked = [column for column in group.columns if column.better]
    if wanted is None:
        if not ranked:
            shown = ", ".join(column.name for column in group.columns) or "none"
            raise UsageError("no column here can be ranked", f"shown: {shown}")
        best = max((tier_of(row.state) for row in group.rows), key=TIERS.index)
        rows = [row for row in group.rows if tier_of(row.state) == best]
        preferred = task_of(group.data).ranks
        order = {base: place for place, base in enumerate(preferred)}
        ranked.sort(key=lambda column: order.get(base_name(column.name), len(order)))
        return max(ranked, key=lambda column: _rankable(rows, column.name))  # the first of several
    for column in group.columns:
        if _is_called(column.name, wanted):
            if column.better:
                return column
            expected = ", ".join(one.name for one in ranked)
            raise UsageError(f"{column.name} is shown and never ranked", f"expected: one of {expected}")
    names = [column.name for column in ranked]
    raise UsageError(
        f"no column {wanted!r}",
        guess(wanted, names, "--metric '{}'"),
        f"columns: {', '.join(names)}",
    )


def _rankable(rows: Sequence[Row], column: str) -> int:
    return sum(column in row.scores and column not in row.unranked and row.memorizes is False for row in rows)


def _is_called(column: str, wanted: str) -> bool:
    names = [column, base_name(column), *([kind_of(column)] if is_likelihood(column) else [])]
    return wanted.lower() in (name.lower() for name in names)


def make_table(group: Group, metric: str | None = None) -> Table:
    """Return a group ranked by a column; see `choose_column`.

    Raises:
        UsageError: where the column can't rank.
    """
    column = choose_column(group, metric)
    ranking = rank(group.rows, column)
    return Table(
        group, column, ranking.rows, ranking.tiers, headlines(references(group.data.name, column.name))
    )


@dataclass(frozen=True)
class Choice:
    """Which tables are asked for.

    Attributes:
        data: name or label of a dataset; None for all.
        task: name of a task; "all" for every one; None for the largest of each dataset and protocol.
        protocol: name, "name-version", or the beginning of a hash; None for all. Several with commas between
            them ask for one table, which there is only where they are one protocol.
    """

    data: str | None = None
    task: str | None = None
    protocol: str | None = None

    def of(self, groups: Sequence[Group]) -> tuple[list[Group], list[Group]]:
        """Return the groups that are asked for, and those of other tasks that None leaves out.

        Raises:
            UsageError: where there are groups and none is asked for, or several protocols are to share a
                table.
        """
        chosen = [
            group
            for group in groups
            if self.data in (None, group.data.name, group.data.title)
            and self.task in (None, ANY_TASK, group.data.task, group.task)
            and (self.protocol is None or _is_protocol(group.protocol, self.protocol))
        ]
        if groups and not chosen:
            asked = ", ".join(f"{name}={value}" for name, value in vars(self).items() if value is not None)
            there = sorted({group.title for group in groups})
            raise UsageError(f"no results for {asked}", *(f"there are: {title}" for title in there[:20]))
        if self.protocol is not None and "," in self.protocol:
            _same_protocol(chosen)
        if self.task is not None:
            return chosen, []
        largest: dict[tuple[str, str], Group] = {}
        for group in chosen:  # the largest of a dataset comes first
            largest.setdefault((group.data.name, group.protocol.hash), group)
        shown = list(largest.values())
        return shown, [group for group in chosen if not any(group is one for one in shown)]


def _is_protocol(protocol: ProtocolRecord, wanted: str) -> bool:
    name = protocol_name(protocol)
    names = (name, name.rpartition("-")[0])
    return any(one != "" and (one in names or protocol.hash.startswith(one)) for one in wanted.split(","))


def _same_protocol(groups: Sequence[Group]) -> None:
    first = groups[0]
    for other in groups:
        if other.protocol.hash != first.protocol.hash:
            raise UsageError(
                f"{first.title} and {other.title}: results of different protocols can't share a table",
                *protocol_differences(first.protocol.fields, other.protocol.fields),
                "expected: one protocol",
                "next: zoo eval RUN eval.protocol=NAME scores a run again",
            )


def protocol_differences(a: Mapping[str, Scalar], b: Mapping[str, Scalar]) -> list[str]:
    """Return one line for each field in which two protocols differ: "n_generated: 2000 and 10000"."""
    absent = "(absent)"
    return [
        f"{name}: {_short(a.get(name, absent))} and {_short(b.get(name, absent))}"
        for name in sorted({*a, *b})
        if a.get(name, absent) != b.get(name, absent)
    ]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
