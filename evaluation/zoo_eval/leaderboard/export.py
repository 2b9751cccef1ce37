"""Tables as plain data, for `zoo leaderboard --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo_eval.leaderboard.ranks import Ranked
from zoo_eval.leaderboard.table import Table
from zoo_eval.leaderboard.tasks import task_of
from zoo_eval.statistics.student import mean_interval
from zoo_eval.store import Bad, Conflict

SCHEMA = 2


def as_json(tables: Sequence[Table], bad: Sequence[Bad] = ()) -> dict[str, Any]:
    """Return tables and the files that were refused as plain data."""
    return {
        "schema": SCHEMA,
        "tables": [_table(table) for table in tables],
        "bad": [{"path": str(one.path), "reason": one.reason} for one in bad],
    }


def _table(table: Table) -> dict[str, Any]:
    group = table.group
    return {
        "title": group.title,
        "data": group.data.name,
        "label": group.data.label,
        "task": group.task,
        "given": task_of(group.data).given,
        "protocol": {"hash": group.protocol.hash, "fields": dict(group.protocol.fields)},
        "metric": table.column.name,
        "better": table.column.better,
        "columns": {column.name: column.better for column in group.columns},
        "scale": table.column.scale,
        "separable": {tier.state: tier.separable for tier in table.tiers},
        "rows": [_row(ranked) for ranked in table.rows],
        "conflicts": [_conflict(one) for one in group.conflicts],
        "references": [
            {
                "plugin": name,
                "metric": one.metric,
                "value": one.value,
                "protocol": one.conditions,
                "source": one.source,
                "read": one.read,
            }
            for name, one in table.references
        ],
    }


def _row(ranked: Ranked) -> dict[str, Any]:
    row = ranked.row
    means = {name: (mean_interval(values), values) for name, values in row.scores.items()}
    return {
        "rank": ranked.rank,
        "mark": ranked.mark,
        "p_against_row_above": ranked.p,
        "plugin": row.plugin,
        "family": row.family,
        "config_hash": row.config_hash,
        "seeds": list(row.seeds),
        "metrics": {
            name: {"mean": mean, "half_width": width, "values": list(values), "bound": row.bounds[name]}
            for name, ((mean, width), values) in means.items()
        },
        "unranked": dict(row.unranked),
        "cost": dict(row.cost),
        "memorizes": row.memorizes,
        "selected": row.selected,
        "state": row.state,
        "source": row.source,
        "within": {name: list(ends) for name, ends in row.within.items()},
        "paths": [str(entry.path) for entry in row.entries],
    }


def _conflict(one: Conflict) -> dict[str, Any]:
    return {
        "plugin": one.plugin,
        "config_hash": one.config_hash,
        "reason": one.reason,
        "left_out": [str(entry.path) for entry in one.left_out],
    }
