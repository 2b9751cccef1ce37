"""What the page shows, as plain data: ranks as the leaderboard computed them, and a stranger's texts.

Whatever comes from a result file is data: control and direction characters become "?", long texts are cut,
deep nesting is not followed, and what can't be a number on the page is left out.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from zoo_core.errors import UsageError
from zoo_core.privacy import public
from zoo_eval.board import notes, printable
from zoo_eval.leaderboard import Row, Table, choose_metric, group, make_table, rank
from zoo_eval.published import Reference, references
from zoo_eval.results import Bad, Stored
from zoo_eval.statistics.student import mean_interval
from zoo_eval.submission import enrich

LONGEST = 400
"""Characters of a text that are shown."""
DEEPEST = 6
"""Levels of nesting of a config or a provenance that are shown."""
MOST = 300
"""Lines of a config or a provenance that are shown."""
SHEETS = 24 << 20
"""Characters of base64 that all pictures of samples may take together; the best entries come first."""

UNITS = {"bits_per_dim": "bits/dim", "nats": "nats"}

STATES = {
    "reported": "figures as their author measured them",
    "resampled": "its samples were drawn again from the checkpoint",
    "reproduced": "its samples were drawn again and scored again, with the same figures",
}


class Cost(NamedTuple):
    """A cost: its heading, what it is, the page's unit for it, and whether the table shows it unasked."""

    heading: str
    about: str
    unit: str
    shown: bool


COSTS: Mapping[str, Cost] = {
    "train_seconds": Cost("train", "training time", "s", True),
    "nfe": Cost("NFE", "network calls a sample", "count", True),
    "parameters": Cost("params", "parameters", "count", True),
    "images_seen": Cost("images", "training images seen", "count", False),
    "seconds_per_sample": Cost("s/sample", "sampling time a sample", "s", False),
    "train_flops": Cost("train FLOP", "operations of the training", "count", False),
    "sample_flops": Cost("FLOP/sample", "operations of a sample", "count", False),
    "train_peak_bytes": Cost("train memory", "peak memory of training", "B", False),
    "sample_peak_bytes": Cost("memory", "peak memory of sampling", "B", False),
}
"""Those that are known; others are offered under their own names where a result has them."""

Plain = dict[str, Any]


def clean(text: object) -> str:
    """Return any value as a text to show: one line, no control or direction characters, at most LONGEST."""
    words = printable(str(text))
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"


def flat(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested plain data as ("a.b.c", text); lists of leaves are one text."""
    if isinstance(value, Mapping) and depth < DEEPEST:
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(value, list | tuple) and not any(isinstance(one, Mapping | list) for one in value):
        yield name, ", ".join(map(str, value))
    elif value is not None and value != "" and value != {}:
        yield name, "…" if isinstance(value, Mapping | list) else str(value)


@lru_cache(1 << 16)
def without_secrets(text: str, name: str = "") -> str:
    """Return a text of a config or a provenance, clean and without secrets; entries share most of them."""
    return clean(public(text, name))


def lines(value: Any) -> list[tuple[str, str]]:
    """Return at most MOST lines (key, text) of nested plain data, clean and without secrets."""
    found = [(clean(key), without_secrets(text, key)) for key, text in flat(value)]
    return found[:MOST] + ([("…", f"{len(found) - MOST} more")] if len(found) > MOST else [])


def short(value: float | None) -> float | None:
    """Return a figure with 6 significant digits; None for what is no finite number."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _cost_of(name: str) -> Cost:
    words = clean(name).replace("_", " ")
    unit = "s" if "second" in name else "B" if "bytes" in name else "count"
    return COSTS.get(name, Cost(words, words, unit, False))


def _figure(name: str, better: str, rows: Sequence[Row], unit: str = "") -> Plain:
    """Return a column: mean a row, and its 95 % interval over seeds (width) or within a run (ends)."""
    values = [
        row.likelihoods.get(name, ("", (), False))[1] if unit else row.figures.get(name) for row in rows
    ]
    intervals = [mean_interval(v) if v else (None, None) for v in values]
    ends = [
        None
        if unit or width is not None or name not in row.within
        else [short(end) for end in row.within[name]]
        for row, (_, width) in zip(rows, intervals, strict=True)
    ]
    return {
        "name": clean(name),
        "better": better if better in ("lower", "higher") else "",
        "unit": UNITS.get(unit, ""),
        "mean": [short(mean) for mean, _ in intervals],
        "width": [short(width) for _, width in intervals],
        "ends": ends,
        "bound": [bool(unit and name in row.likelihoods and row.likelihoods[name][2]) for row in rows],
    }


def _ranking(table: Table, places: Mapping[tuple[str, str], int]) -> Plain:
    """Return the rows' order, and rank, mark and p by row number."""
    order = [places[_key(ranked.row)] for ranked in table.rows]
    by_row = [ranked for _, ranked in sorted(zip(order, table.rows, strict=True), key=itemgetter(0))]
    return {
        "order": order,
        "rank": [ranked.rank for ranked in by_row],
        "mark": [ranked.mark for ranked in by_row],
        "p": [short(ranked.p) for ranked in by_row],
        "notes": [clean(line) for line in notes(table)],
        "published": [reference(one, table.data) for one in table.references],
    }


def _key(row: Row) -> tuple[str, str]:
    return row.plugin, row.config_hash


def reference(one: Reference, data: str) -> Plain:
    """Return a published figure to show."""
    return {
        "name": clean(one.plugin),
        "data": clean(data),
        "metric": clean(one.metric),
        "value": short(one.value),
        "protocol": clean(one.protocol),
        "source": clean(one.source),
        "read": one.read,
    }


def _other_tables(table: Table, rows: Sequence[Row]) -> Iterator[Table]:
    """Yield the same entries ranked by every other figure that may rank."""
    kinds = {name: unit for row in rows for name, (unit, _, _) in row.likelihoods.items()}
    for name in (*table.columns, *kinds):
        try:
            metric, better = choose_metric(name, table.columns, rows)
        except UsageError:
            continue
        if metric == name != table.metric:
            published = references(table.data, name, kinds.get(name, ""))
            ranked = rank(rows, name, better)
            yield Table(table.data, table.protocol, name, better, table.columns, ranked, published)


def _table(members: Sequence[Stored], metric: str | None) -> Table:
    try:
        return make_table(members, metric)
    except UsageError:
        if metric is None:
            raise
        return make_table(members)  # a metric asked for by name is not in every group


def group_data(members: Sequence[Stored], metric: str | None = None) -> tuple[Plain, list[Row]]:
    """Return what the page shows of results that may be held against each other, and its rows, best first.

    Args:
        members: of one dataset and one protocol.
        metric: that ranks first of all, where it can.

    Raises:
        UsageError: where none of their figures can rank.
    """
    table = _table(members, metric)
    rows = [ranked.row for ranked in table.rows]
    places = {_key(row): place for place, row in enumerate(rows)}
    kinds = {name: unit for row in rows for name, (unit, _, _) in row.likelihoods.items()}
    costs = sorted({name for row in rows for name in row.cost}, key=lambda n: (n not in COSTS, _place(n), n))
    names = [row.plugin for row in rows]
    times = Counter(names)
    fields = table.protocol["fields"]
    title = f"{table.protocol['name']}-{table.protocol.get('version')} ({table.protocol['hash']})"
    generated, real = fields.get("n_generated"), fields.get("n_reference")
    made: Plain = {
        "data": clean(table.data),
        "title": clean(title),
        "said": clean(
            f"{_counted(generated)} samples against {_counted(real)} training examples,"
            f" features of {fields.get('extractor')}"
        ),
        "protocol": {"hash": table.protocol["hash"], "fields": lines(fields)},
        "metric": clean(table.metric),
        "plugin": [clean(name) for name in names],
        "twins": [times[name] > 1 for name in names],
        "family": [clean(row.family) for row in rows],
        "families": sorted(
            {clean(row.family) for row in rows}, key=lambda family: (family == "baseline", family)
        ),
        "config": [clean(row.config_hash) for row in rows],
        "seeds": [len(row.seeds) for row in rows],
        "state": [row.state for row in rows],
        "figures": [_figure(name, better, rows) for name, better in table.columns.items()]
        + [_figure(n, "lower" if u == "bits_per_dim" else "higher", rows, u) for n, u in kinds.items()],
        "costs": [_cost(name, rows) for name in costs],
        "rankings": {
            clean(one.metric): _ranking(one, places) for one in (table, *_other_tables(table, rows))
        },
    }
    return made, rows


def _place(name: str) -> int:
    return list(COSTS).index(name) if name in COSTS else len(COSTS)


def _counted(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cost(name: str, rows: Sequence[Row]) -> Plain:
    values = [short(row.cost.get(name)) for row in rows]
    return {"name": clean(name), "value": values, **_cost_of(name)._asdict()}


# -- an entry, opened


class Details:
    """Makes the details of entries, one after the other, and counts the room their pictures take."""

    def __init__(self, published: Mapping[str, Sequence[Plain]], room: int = SHEETS) -> None:
        self.published = published
        self.room = room

    def of(self, row: Row) -> Plain:
        """Return all that the page shows of an opened entry."""
        whole = [(stored, enrich(stored)) for stored in row.results]
        configs = [result["config"] for _, result in whole if result.get("config")]
        return {
            "runs": [self._run(stored, result) for stored, result in whole],
            "config": lines(configs[0]) if configs else [],
            "published": list(self.published.get(row.plugin, ())),
        }

    def _run(self, stored: Stored, result: Mapping[str, Any]) -> Plain:
        sheet = result.get("sheet")
        note = ""
        if sheet is not None and len(sheet) > self.room:
            sheet, note = None, "left out: the pictures of better entries fill this page"
        self.room -= len(sheet or "")
        origin = dict(result.get("provenance") or {})
        command = origin.pop("command", None)
        told = {name: result.get(name) for name in ("config_hash", "weights_sha256", "samples_sha256")}
        told["file"] = "/".join(stored.path.parts[-4:])
        figures = {clean(name): short(cell["value"]) for name, cell in result["metrics"].items()}
        for record in result.get("likelihood", []):
            figures[clean(record["name"])] = short(record.get("bits_per_dim", record.get("nats")))
        return {
            "seed": result["seed"],
            "figures": figures,
            "notes": list(_notes(result)),
            "sheet": sheet,
            "sheet_note": note,
            "curves": [
                (clean(name), _points(points))
                for name, points in (result.get("curves") or {}).items()
                if points
            ],
            "command": _command(command),
            "entry": lines(result.get("entry") or {}),
            "provenance": lines(origin) + [(name, clean(text)) for name, text in told.items() if text],
        }


def _points(points: Sequence[Sequence[float]]) -> list[list[float | None]]:
    return [[short(step), short(value)] for step, value in points]


def _notes(result: Mapping[str, Any]) -> Iterator[str]:
    verdict = result["memorisation"].get("verdict")
    if isinstance(verdict, str):
        yield clean(verdict)
    for name, cell in result["metrics"].items():
        if isinstance(cell.get("note"), str):
            yield clean(f"{name}: {cell['note']}")
    for record in result.get("likelihood", []):
        if isinstance(record.get("note"), str) and record["note"]:
            yield clean(f"{record['name']}: {record['note']}")


def _command(words: Any) -> str:
    """Return the command that was recorded, quoted for a shell; "" for what is no command of the zoo."""
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return ""
    return shlex.join(without_secrets(word) for word in words) if words[:1] == ["zoo"] else ""


def published_figures() -> dict[str, list[Plain]]:
    """Return every published figure of the index by the name of its model."""
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
    found: Sequence[Stored], bad: Sequence[Bad], metric: str | None, foot: str
) -> tuple[Plain, Iterator[Plain]]:
    """Return the board, and the details of its entries in the order that the board numbers them in."""
    groups: list[Plain] = []
    opened: list[Row] = []
    left_out = [(clean("/".join(one.path.parts[-4:])), clean(one.reason)) for one in bad]
    for (data, hash_), members in group(found).items():
        try:
            made, rows = group_data(members, metric)
        except UsageError as error:
            left_out.append((clean(f"{data}, protocol {hash_}"), clean(error.what)))
            continue
        groups.append(made | {"detail": list(range(len(opened), len(opened) + len(rows)))})
        opened += rows
    details = Details(published_figures())
    board = {"groups": groups, "bad": left_out, "states": list(STATES.items()), "foot": clean(foot)}
    return board, (details.of(row) for row in opened)
