"""What the page shows, as plain data: ranks as the leaderboard computed them, and texts from result files.

Texts of a file are data: control and direction characters become "?", long texts are cut, and numbers that
the page can't show are left out.
"""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from zoo_core.config.privacy import public
from zoo_core.errors import UsageError
from zoo_core.registry.metrics import base_name
from zoo_core.results import Result, read_result
from zoo_eval.leaderboard.facts import BASELINE, Column, protocol_title
from zoo_eval.leaderboard.rows import Row
from zoo_eval.leaderboard.table import Group, Table, make_table
from zoo_eval.leaderboard.text import conflict_lines, names, notes, printable
from zoo_eval.published import Reference
from zoo_eval.statistics.student import mean_interval
from zoo_eval.store import Bad, Entry
from zoo_eval.store.media import curves, sample_grid
from zoo_eval.verdicts import memorization_text

LONGEST = 400
"""Characters of a text that are shown."""
MOST = 300
"""Lines of a config or a provenance that are shown."""
GRIDS = 24 << 20
"""Characters of base64 that all sample grids may take together; the best entries come first."""

UNITS = {"bits_per_dim": "bits/dim", "nats": "nats"}
"""Units of likelihoods, by base name."""

STATES = {
    "reported": "values as their author reports them",
    "resampled": "its samples were drawn again from the checkpoint",
    "reproduced": "its samples were drawn again and scored again, with the same values",
}


class Cost(NamedTuple):
    """A cost: its heading, what it is, the page's unit for it, and whether the table shows it by default."""

    heading: str
    about: str
    unit: str
    shown: bool


COSTS: Mapping[str, Cost] = {
    "train_seconds": Cost("train", "training time", "s", True),
    "nfe": Cost("NFE", "network evaluations per sample", "count", True),
    "parameters": Cost("params", "parameters", "count", True),
    "images_seen": Cost("images", "training images seen", "count", False),
    "steps": Cost("steps", "training steps", "count", False),
    "seconds_per_sample": Cost("s/sample", "sampling time per sample", "s", False),
    "sample_seconds": Cost("sampling", "sampling time of all samples", "s", False),
    "train_flops": Cost("train FLOP", "floating-point operations of training", "count", False),
    "sample_flops": Cost("FLOP/sample", "floating-point operations per sample", "count", False),
    "train_peak_bytes": Cost("train memory", "peak memory of training", "B", False),
    "sample_peak_bytes": Cost("memory", "peak memory of sampling", "B", False),
}
"""By their name in a result, in the page's order."""

Plain = dict[str, Any]


def clean(text: object) -> str:
    """Return any value as a text to show: one line, no control or direction characters, at most LONGEST."""
    words = printable(str(text))
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested plain data as ("a.b.c", text); a list of leaves is one text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        if value:
            yield name, ", ".join(map(str, value))
    elif value is not None and value != "":
        yield name, str(value)


@lru_cache(1 << 16)
def without_secrets(text: str, name: str = "") -> str:
    """Return a text of a config or a provenance, clean and without secrets; entries share most of them."""
    return clean(public(text, name))


def lines(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return at most MOST lines (key, text) of plain data, clean and without secrets."""
    found = [(clean(key), without_secrets(text, key)) for key, text in flat(value)]
    return found[:MOST] + ([("…", f"{len(found) - MOST} more")] if len(found) > MOST else [])


def short(value: float | None) -> float | None:
    """Return a value with 6 significant digits; None for what is not a finite number."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _metric(column: Column, rows: Sequence[Row]) -> Plain:
    """Return a column: mean per row, and its 95 % interval over seeds (width) or within a run (ends)."""
    name = column.name
    values = [row.scores.get(name) for row in rows]
    intervals = [mean_interval(v) if v else (None, None) for v in values]
    ends = [
        None if width is not None or name not in row.within else [short(end) for end in row.within[name]]
        for row, (_, width) in zip(rows, intervals, strict=True)
    ]
    return {
        "name": clean(name),
        "better": column.better,
        "unit": UNITS.get(base_name(name), ""),
        "mean": [short(mean) for mean, _ in intervals],
        "width": [short(width) for _, width in intervals],
        "ends": ends,
        "bound": [row.bounds.get(name, "exact") for row in rows],
    }


def _ranking(table: Table, places: Mapping[str, int]) -> Plain:
    """Return the rows' order, and rank, mark and p by row number."""
    order = [places[ranked.row.key] for ranked in table.rows]
    by_row = [ranked for _, ranked in sorted(zip(order, table.rows, strict=True), key=itemgetter(0))]
    return {
        "order": order,
        "rank": [ranked.rank for ranked in by_row],
        "mark": [ranked.mark for ranked in by_row],
        "p": [short(ranked.p) for ranked in by_row],
        "notes": [clean(line) for line in notes(table)],
        "published": [reference(one, table.group.data.name) for one in table.references],
    }


def reference(one: Reference, data: str) -> Plain:
    """Return a published score to show."""
    return {
        "name": clean(one.plugin),
        "data": clean(data),
        "metric": clean(one.metric),
        "value": short(one.value),
        "protocol": clean(one.protocol),
        "source": clean(one.source),
        "read": one.read,
    }


def _ranked(group: Group, metric: str | None) -> Table:
    try:
        return make_table(group, metric)
    except UsageError:
        if metric is None:
            raise
        return make_table(group)  # a metric asked for by name is not in every group


def group_data(group: Group, metric: str | None = None) -> tuple[Plain, list[Row]]:
    """Return what the page shows of a group, and its rows, best first.

    Args:
        metric: that ranks when the page opens, where it can.

    Raises:
        UsageError: where no column can rank.
    """
    table = _ranked(group, metric)
    rows = [ranked.row for ranked in table.rows]
    places = {row.key: place for place, row in enumerate(rows)}
    known = {name for row in rows for name in row.cost}
    fields = group.protocol.fields
    others = (make_table(group, c.name) for c in group.columns if c.better and c.name != table.column.name)
    made: Plain = {
        "data": clean(group.data.title),
        "task": clean(group.task),
        "title": clean(protocol_title(group.protocol)),
        "said": clean(
            f"{_counted(fields.get('n_generated'))} samples against {_counted(fields.get('n_reference'))}"
            f" training examples, features of {fields.get('extractor')}"
        ),
        "protocol": {"hash": group.protocol.hash, "fields": lines(fields)},
        "metric": clean(table.column.name),
        "plugin": [clean(row.plugin) for row in rows],
        "name": names(table.rows),
        "family": [clean(row.family) for row in rows],
        "families": sorted({clean(row.family) for row in rows}, key=lambda name: (name == BASELINE, name)),
        "config": [row.config_hash for row in rows],
        "seeds": [len(row.seeds) for row in rows],
        "state": [row.state for row in rows],
        "metrics": [_metric(column, rows) for column in group.columns],
        "costs": [_cost(name, rows) for name in COSTS if name in known],
        "rankings": {clean(one.column.name): _ranking(one, places) for one in (table, *others)},
    }
    return made, rows


def _counted(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cost(name: str, rows: Sequence[Row]) -> Plain:
    return {"name": name, "value": [short(row.cost.get(name)) for row in rows], **COSTS[name]._asdict()}


# -- an entry, opened


class Details:
    """Makes the details of entries, one after the other, and counts the characters of their sample grids.

    Args:
        published: name of a model -> its published scores.
        left: characters of base64 that the grids may take.
    """

    def __init__(self, published: Mapping[str, Sequence[Plain]], left: int = GRIDS) -> None:
        self.published = published
        self.left = left

    def of(self, row: Row) -> Plain:
        """Return all that the page shows of an opened entry."""
        runs = [(entry, result) for entry in row.entries if (result := _whole(entry)) is not None]
        return {
            "runs": [self._run(entry, result) for entry, result in runs],
            "config": lines(runs[0][1].config) if runs else [],
            "published": list(self.published.get(row.plugin, ())),
        }

    def _run(self, entry: Entry, result: Result) -> Plain:
        grid, note = self._grid(entry, result)
        origin = result.provenance.model_dump(exclude={"command"})
        hashes = {name: getattr(result, name) for name in ("config_hash", "weights_sha256", "samples_sha256")}
        hashes["file"] = "/".join(entry.path.parts[-4:])
        return {
            "seed": result.seed,
            "metrics": {clean(name): short(cell.value) for name, cell in result.metrics.items()},
            "notes": list(_notes(result)),
            "grid": grid,
            "grid_note": note,
            "curves": [(clean(name), _points(p)) for name, p in curves(result, entry.path.parent).items()],
            "command": command(result.provenance.command),
            "sampling": lines(result.sampling.model_dump()),
            "provenance": lines(origin) + [(name, clean(text)) for name, text in hashes.items() if text],
        }

    def _grid(self, entry: Entry, result: Result) -> tuple[str | None, str]:
        """Return the sample grid in base64, and why it is left out where it is."""
        content = sample_grid(result, entry.path.parent)
        if content is None:
            return None, ""
        text = base64.b64encode(content).decode()
        if len(text) > self.left:
            return None, "left out: the sample grids of better entries fill this page"
        self.left -= len(text)
        return text, ""


def _whole(entry: Entry) -> Result | None:
    """Return the result in an entry's file; None where the file was changed or removed meanwhile."""
    try:
        result = read_result(entry.path)
    except UsageError:
        return None
    same = (result.plugin, result.config_hash, result.seed) == (entry.plugin, entry.config_hash, entry.seed)
    return result if same else None


def _points(points: Sequence[Sequence[float]]) -> list[list[float | None]]:
    return [[short(step), short(value)] for step, value in points]


def _notes(result: Result) -> Iterator[str]:
    yield f"memorization {clean(memorization_text(result))}"
    for name, cell in result.metrics.items():
        if cell.unranked:
            yield clean(f"{name}: not ranked: {cell.unranked}")
        if cell.note:
            yield clean(f"{name}: {cell.note}")


def command(words: Sequence[str]) -> str:
    """Return the command that was recorded, quoted for a shell; "" for what is not a command of the zoo."""
    return shlex.join(without_secrets(word) for word in words) if words[:1] == ["zoo"] else ""


def published_scores() -> dict[str, list[Plain]]:
    """Return every published score of the index by the name of its model."""
    from zoo_core.registry.index import load_index

    return {
        entry.name: [
            reference(Reference(entry.name, p.metric, p.value, p.protocol, p.source, p.read), p.data)
            for p in entry.published
        ]
        for entry in load_index().plugins
        if entry.published
    }


def page_data(
    groups: Sequence[Group], bad: Sequence[Bad], metric: str | None, foot: str
) -> tuple[Plain, Iterator[Plain]]:
    """Return the board, and the details of its entries in the order that the board numbers them in."""
    shown: list[Plain] = []
    opened: list[Row] = []
    left_out = [(clean("/".join(one.path.parts[-4:])), clean(one.reason)) for one in bad]
    for group in groups:
        left_out += [(clean(group.data.name), clean(line)) for line in conflict_lines(group.conflicts)]
        try:
            made, rows = group_data(group, metric)
        except UsageError as error:
            left_out.append((clean(group.title), clean(error.what)))
            continue
        shown.append(made | {"detail": list(range(len(opened), len(opened) + len(rows)))})
        opened += rows
    details = Details(published_scores() if opened else {})
    board = {"groups": shown, "bad": left_out, "states": list(STATES.items()), "foot": clean(foot)}
    return board, (details.of(row) for row in opened)
