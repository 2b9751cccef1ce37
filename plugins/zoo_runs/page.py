"""The page of `zoo compare`: one HTML file that opens from disk and fetches nothing."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from zoo_core.errors import ZooError
from zoo_core.events.trackers import read_metrics
from zoo_core.registry.metrics import direction
from zoo_core.results.attachments import curves, read_attachment, small_png
from zoo_eval.numbers import number
from zoo_runs.difference import option_differences
from zoo_runs.records import RunRecord

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c564b")
"""Of curves: Okabe and Ito's palette, which readers with a color vision deficiency can tell apart."""
DASHES = ("", "6 3", "2 3", "8 3 2 3")
"""Of the curves beyond the number of colors."""
WIDTH, HEIGHT, LEFT, BOTTOM = 560, 260, 64, 28
"""Of a plot, pixels; margins hold the labels."""
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; max-width: 1200px; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #8886; padding: .25rem .75rem; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
td.best { font-weight: 700; }
.side { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; }
figcaption { max-width: 22rem; overflow-wrap: anywhere; }
img { image-rendering: pixelated; max-width: 22rem; }
svg { max-width: 100%; height: auto; }
svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
svg .axis { stroke: #8888; }
"""
Series = Sequence[Sequence[float]]


def page(records: Sequence[RunRecord]) -> str:
    """Return the page of some runs: options that differ, scores, curves, sample grids."""
    labels = [f"{chr(65 + k) if k < 26 else k + 1}" for k in range(len(records))]
    body = [
        "<h1>Comparison of runs</h1>",
        *_runs(records, labels),
        *_options(records, labels),
        *_scores(records, labels),
        *_samples(records, labels),
        *_curves(records, labels),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>Comparison of runs</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table; cells that are no HTML of their own are escaped by the caller."""
    yield "<table><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"
    yield from ("<tr>" + "".join(row) + "</tr>" for row in rows)
    yield "</table>"


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _runs(records: Sequence[RunRecord], labels: Sequence[str]) -> Iterator[str]:
    rows = []
    for k, (record, label) in enumerate(zip(records, labels, strict=True)):
        cost = None if record.result is None else record.result.cost
        seconds = "" if cost is None or cost.train_seconds is None else f"{cost.train_seconds:,.0f} s"
        parameters = "" if cost is None or cost.parameters is None else f"{cost.parameters:,}"
        rows.append(
            [
                f'<td style="color:{COLORS[k % len(COLORS)]}"><b>{escape(label)}</b></td>',
                _cell(record.name),
                _cell(record.state),
                _cell(parameters, "number"),
                _cell(seconds, "number"),
                _cell(str(record.folder)),
            ]
        )
    yield from _table(("", "run", "state", "parameters", "training", "folder"), rows)


def _options(records: Sequence[RunRecord], labels: Sequence[str]) -> Iterator[str]:
    yield "<h2>Options that differ</h2>"
    found = option_differences([record.options for record in records])
    if not found:
        yield "<p>None.</p>"
        return
    rows = [[_cell(one.name), *map(_cell, one.values)] for one in found]
    yield from _table(("option", *labels), rows)


def _scores(records: Sequence[RunRecord], labels: Sequence[str]) -> Iterator[str]:
    """Yield a table of scores for each protocol: values of two protocols are not comparable."""
    yield "<h2>Scores</h2>"
    groups: dict[tuple[str, str, str], list[int]] = {}
    for k, record in enumerate(records):
        if record.result is not None:
            protocol = record.result.protocol
            groups.setdefault((record.data, protocol.name, protocol.hash), []).append(k)
    if not groups:
        yield "<p>No run has scores.</p>"
    for (data, name, hash_), members in groups.items():
        yield f"<h3>{escape(data)}, protocol {escape(name)} ({escape(hash_)})</h3>"
        results = [records[k].result for k in members]
        columns = dict.fromkeys(c for result in results if result is not None for c in result.metrics)
        rows = []
        for column in columns:
            values = [result.metrics.get(column) for result in results if result is not None]
            found = [value.value for value in values if value is not None]
            better = direction(column)
            best = {"lower": min(found), "higher": max(found)}.get(better)
            cells = []
            for value in values:
                if value is None:
                    cells.append(_cell("", "number"))
                    continue
                ends = value.interval
                spread = "" if ends is None else f" [{number(ends.low)}, {number(ends.high)}]"
                mark = " best" if value.value == best and len(found) > 1 else ""
                cells.append(_cell(number(value.value) + spread, f"number{mark}"))
            arrow = {"lower": " ↓", "higher": " ↑"}.get(better, "")
            rows.append([_cell(column + arrow), *cells])
        yield from _table(("score", *(labels[k] for k in members)), rows)
    yield "<p>Intervals are 95 %, over the samples of a run. Bold is the best value, significant or not.</p>"


def grid_png(record: RunRecord) -> bytes | None:
    """Return the sample grid of a run as PNG bytes; None where it has none."""
    content = small_png(record.folder / "plots" / "samples.png")
    if content is None and record.result is not None and "samples" in record.result.attachments:
        attached = record.result.attachments["samples"]
        content = read_attachment(record.folder, attached) if attached.file.endswith(".png") else None
    return content


def _samples(records: Sequence[RunRecord], labels: Sequence[str]) -> Iterator[str]:
    yield '<h2>Samples</h2>\n<div class="side">'
    for record, label in zip(records, labels, strict=True):
        content = grid_png(record)
        caption = f"<figcaption>{escape(label)}: {escape(record.name)}"
        if content is None:
            yield f"<figure>{caption}: no sample grid (track.plots=true draws one)</figcaption></figure>"
            continue
        source = base64.b64encode(content).decode()
        alt = escape(f"samples of {record.name}", quote=True)
        yield (
            f'<figure><img alt="{alt}" src="data:image/png;base64,{source}">{caption}</figcaption></figure>'
        )
    yield "</div>"


def _curves(records: Sequence[RunRecord], labels: Sequence[str]) -> Iterator[str]:
    yield '<h2>Curves</h2>\n<div class="side">'
    found = [_logged(record.folder) for record in records]
    names = [
        name
        for name in dict.fromkeys(name for one in found for name in one)
        if name != "images" and any(len(one.get(name, ())) > 1 for one in found)
    ]
    for name in names:
        yield plot(name, [(label, one.get(name, ())) for label, one in zip(labels, found, strict=True)])
    if not names:
        yield "<p>No run has curves.</p>"
    yield "</div>"


def _logged(folder: Path) -> dict[str, list[list[float]]]:
    try:
        return curves(read_metrics(folder / "metrics.jsonl"))
    except (ZooError, OSError, ValueError):
        return {}


def plot(name: str, lines: Sequence[tuple[str, Series]]) -> str:
    """Return a plot of labeled series [[step, value], ...] as SVG; a series keeps its place's color."""
    points = [point for _, series in lines for point in series]
    low, high = min(y for _, y in points), max(y for _, y in points)
    first, last = min(x for x, _ in points), max(x for x, _ in points)

    def place(x: float, y: float) -> str:
        across = (x - first) / (last - first) if last > first else 0.5
        up = (y - low) / (high - low) if high > low and math.isfinite(high - low) else 0.5
        return f"{LEFT + across * (WIDTH - LEFT - 8):.1f},{8 + (1 - up) * (HEIGHT - BOTTOM - 8):.1f}"

    parts = [
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        f'aria-label="{escape(name, quote=True)}">',
        f'<path class="axis" fill="none" d="M{LEFT},8V{HEIGHT - BOTTOM}H{WIDTH - 8}"/>',
        f'<text x="{LEFT - 6}" y="16" text-anchor="end">{escape(number(high))}</text>',
        f'<text x="{LEFT - 6}" y="{HEIGHT - BOTTOM}" text-anchor="end">{escape(number(low))}</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 8}">{first:g}</text>',
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 8}" text-anchor="end">step {last:g}</text>',
    ]
    for k, (label, series) in enumerate(lines):
        if series:
            dash = DASHES[k // len(COLORS) % len(DASHES)]
            path = " ".join(place(x, y) for x, y in series)
            parts.append(
                f'<polyline fill="none" stroke="{COLORS[k % len(COLORS)]}" stroke-width="1.5" '
                f'stroke-dasharray="{dash}" points="{path}"><title>{escape(label)}</title></polyline>'
            )
    return "".join(parts) + f"</svg><figcaption>{escape(name)}</figcaption></figure>"
