"""Committed results of a model: its row in each leaderboard of results/, and its samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pages.tables import code, prose, table
from zoo_core.errors import UsageError
from zoo_core.results import read_result
from zoo_eval.leaderboard.facts import installed
from zoo_eval.leaderboard.plot import interval_of
from zoo_eval.leaderboard.ranks import noise_floor
from zoo_eval.leaderboard.table import make_groups, make_table
from zoo_eval.leaderboard.text import column_notation, rank_text, score_text
from zoo_eval.numbers import short_seconds
from zoo_eval.store import collect
from zoo_eval.store.media import sample_grid


class Cost(NamedTuple):
    """What a run costs, as text."""

    nfe: str
    flops: str
    time: str
    parameters: str


class Scored(NamedTuple):
    """One configuration of a model in one leaderboard.

    Attributes:
        plugin, family: the model.
        data, task, protocol: which leaderboard.
        column: the metric that ranks it.
        score: with its interval, as the leaderboard prints it.
        mean, low, high: the same as numbers; NaN where the row has no score.
        rank: as the leaderboard prints it, and of how many rows.
        floor: noise floor of the column; None where it has none.
        config_hash: which options.
        seeds: how many training seeds.
        state: one of `zoo_eval.store.STATES`.
        cost: NFE, FLOPs and time of training, and parameters, "" where unknown. The time depends on what
            else a machine does.
        samples: file of a sample grid, relative to the repository; "" where there is none.
        selected: how the options were selected; "" where no search did that.
    """

    plugin: str
    family: str
    data: str
    task: str
    protocol: str
    column: str
    score: str
    mean: float
    low: float
    high: float
    rank: str
    floor: float | None
    config_hash: str
    seeds: int
    state: str
    cost: Cost
    samples: str
    selected: str


def scored_rows(root: Path) -> Iterator[Scored]:
    """Yield every row of the leaderboards of the repository's results/, in their order."""
    found, _ = collect([root / "results"])
    for group in make_groups(found, installed()):
        try:
            ranked = make_table(group)
        except UsageError:  # no column of this group ranks
            continue
        name = ranked.column.name
        how = column_notation(ranked.rows, name)
        floor = noise_floor(group.rows, name)
        for one in ranked.rows:
            row, cost = one.row, one.row.cost
            mean, low, high = interval_of(row, name) if name in row.scores else [math.nan] * 3
            yield Scored(
                plugin=row.plugin,
                family=row.family,
                data=group.data.name,
                task=group.task,
                protocol=group.protocol.name,
                column=name + how.factor,
                score=score_text(one, name, how),
                mean=mean,
                low=low,
                high=high,
                rank=f"{rank_text(one)} of {len(ranked.rows)}",
                floor=floor,
                config_hash=row.config_hash,
                seeds=len(row.seeds),
                state=row.state,
                cost=Cost(
                    nfe=f"{cost['nfe']:.0f}" if "nfe" in cost else "",
                    flops=f"{cost['train_flops']:.1e}" if "train_flops" in cost else "",
                    time=short_seconds(cost["train_seconds"]) if "train_seconds" in cost else "",
                    parameters=f"{cost['parameters']:,.0f}" if "parameters" in cost else "",
                ),
                samples=_samples(row.entries[0].path, root),
                selected=row.selected,
            )


def _samples(path: Path, root: Path) -> str:
    """Return the sample grid that a result file names, if it is beside it, whole and a PNG."""
    result = read_result(path)
    if sample_grid(result, path.parent) is None:
        return ""
    return (path.parent / result.attachments["samples"].file).relative_to(root).as_posix()


def results_section(name: str, scored: Iterable[Scored]) -> list[str]:
    """Return the results of a model as Markdown, with a sample grid of each dataset and task."""
    rows = list(scored)
    if not rows:
        return []
    lines = [
        "\n## Results\n",
        "The committed results of this model, as `zoo leaderboard results` ranks them. "
        "[Metrics and protocols](../evaluation.md) defines scores, intervals, ranks and states.",
        *table(
            ("data and task", "rank", "score", "seeds", "NFE", "training", "parameters", "config"),
            (
                (
                    f"{code(row.data)}<br>{prose(row.task)}",
                    prose(row.rank),
                    f"{prose(row.column)}<br>{prose(row.score)}",
                    f"{row.seeds}, {row.state}",
                    row.cost.nfe,
                    "<br>".join(filter(None, (row.cost.flops and f"{row.cost.flops} FLOPs", row.cost.time))),
                    row.cost.parameters,
                    code(row.config_hash) + (f"<br>{prose(row.selected)}" if row.selected else ""),
                )
                for row in rows
            ),
        ),
    ]
    shown = set()
    for row in rows:
        if row.samples and (row.data, row.task) not in shown:
            shown.add((row.data, row.task))
            text = f"Samples of {name} on {row.data}, {row.task}, config {row.config_hash}"
            lines += ["", f"![{text}](../../{row.samples})", "", f"*{text}.*"]
    return lines
