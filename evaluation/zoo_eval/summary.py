"""The lines that a run prints at its end: its metrics beside the baselines', likelihoods, memorization."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from zoo_core.machine.terminal import has_colors
from zoo_core.registry.manager import manager
from zoo_core.registry.metrics import base_name, direction, kind_of
from zoo_core.results import NotApplicable, Result, Value
from zoo_eval.numbers import LIKELIHOODS, number
from zoo_eval.verdicts import memorization_text

ARROWS = {"lower": "↓", "higher": "↑", "": " "}
NO_BREAK = "\u00a0"
SIGNS = {"exact": "", "upper": "<= ", "lower": ">= "}
"""Before a value that bounds the quantity."""


def value_text(value: Value) -> str:
    """Return a value with its sign where it is a bound, and what it is out of where its note says so."""
    of = value.note.partition(" ")[2].partition(" ")[0] if value.note.startswith("of ") else ""
    if of:
        return f"{value.value:g}/{of.rstrip(';')}"
    return f"{SIGNS[value.bound]}{number(value.value)}"


def posterior_gap(result: Result) -> str | None:
    """Return the line of IWAE minus ELBO, where a model has both: the cost of the encoder's posterior.

    ELBO = log p - KL(q || posterior), and IWAE lies between ELBO and log p (Burda et al. 2016,
    arXiv:1509.00519, Theorem 1).
    """
    kinds = {kind_of(name): one for name, one in result.metrics.items() if base_name(name) in LIKELIHOODS}
    elbo = kinds.get("elbo")
    iwae = max(
        (k for k in kinds if k.startswith("iwae-") and k[5:].isdecimal()),
        key=lambda k: int(k[5:]),
        default="",
    )
    if elbo is None or not iwae:
        return None
    unit = "bits/dim" if "bits_per_dim[elbo]" in result.metrics else "nats"
    gap = abs(elbo.value - kinds[iwae].value)
    sign = "" if (elbo.value > kinds[iwae].value) == (unit == "bits/dim") else "-"
    return f"{sign}{gap:.3f} {unit} between {iwae} and elbo: at least the cost of the encoder's posterior"


def summary_lines(result: Result, baselines: Sequence[Result] = (), width: int | None = None) -> list[str]:
    """Return the lines to print.

    Args:
        result: of the run.
        baselines: results under the same protocol; one under another is left out.
        width: characters that the table is wrapped into; None for as many as it needs.
    """
    beside = [
        other
        for other in baselines
        if other.protocol.hash == result.protocol.hash and other.plugin != result.plugin
    ]
    protocol = result.protocol
    n = protocol.fields.get("n_generated")
    lines = [
        f"{result.data.title}, protocol {protocol.name}-{protocol.version} ({protocol.hash}), {n:,} samples"
    ]
    lines += _table(result, beside, width)
    lines += _distance_lines(result, beside)
    gap = posterior_gap(result)
    lines += [f"likelihood  {gap}"] if gap else []
    if result.sampling.clipped:
        lines.append(f"clipped     {result.sampling.clipped:.2%} of values were outside [-1, 1]")
    lines += [f"not ranked  {name}: {one.unranked}" for name, one in result.metrics.items() if one.unranked]
    lines.append(f"memorization {memorization_text(result)}")
    if result.selection is not None:
        lines.append(f"selected    {result.selection.line}; search {result.selection.seconds:,.1f} s")
    if result.audit is not None:
        lines.append(f"audit       {result.audit.line}")
    return [*lines, *_absent(result.not_applicable)]


def _table(result: Result, beside: Sequence[Result], width: int | None) -> list[str]:
    columns = [result, *beside]
    names = {column: None for other in columns for column in other.metrics if column in result.metrics}
    names |= {c: None for other in beside for c in other.metrics if base_name(c) in LIKELIHOODS}
    rows = [["", *(other.plugin for other in columns)]]
    for name in sorted(names, key=lambda name: base_name(name) in LIKELIHOODS):
        found = [other.metrics.get(name) for other in columns]
        cells = ["n/a" if v is None else value_text(v) for v in found]
        rows.append([f"{name}{NO_BREAK}{ARROWS[direction(name)]}".rstrip(), *cells])
    wide = [max(len(row[k]) for row in rows) + 2 for k in range(1, len(columns) + 1)]
    widest = max(len(row[0]) for row in rows)
    if width is not None:
        widest = max(
            min(widest, width - sum(wide)), max(len(w) for row in rows for w in [*row[0].split(), ""])
        )
    lines = []
    for name, *cells in rows:
        parts = textwrap.wrap(name, max(1, widest), break_long_words=False, break_on_hyphens=False) or [""]
        parts = [part.replace(NO_BREAK, " ") for part in parts]
        lines.append(parts[0].ljust(widest) + "".join(f"{c:>{w}}" for c, w in zip(cells, wide, strict=True)))
        lines += [f"  {part}" for part in parts[1:]]
    head = lines[0]
    return [f"\x1b[1m{head}\x1b[0m" if has_colors() else head, *lines[1:]]


def _distance_lines(result: Result, beside: Sequence[Result]) -> list[str]:
    column = next((name for name in result.metrics if base_name(name) in ("FD", "FID")), None)
    if column is None:
        return []
    value = result.metrics[column]
    lines = []
    floor = result.metrics.get(f"noise floor[{column}]")
    if floor is not None:
        near = "; within twice the noise floor" if value.value < 2 * floor.value else ""
        lines.append(
            f"noise floor {number(floor.value)} (expected {column} of as many new real examples){near}"
        )
    if value.interval is not None:
        low, high = number(value.interval.low), number(value.interval.high)
        lines.append(f"interval    {low} to {high}: 95 %, over the samples of this run, of {column}")
    gaussian = next((other for other in beside if other.plugin == "gaussian"), None)
    theirs = None if gaussian is None else gaussian.metrics.get(column)
    if theirs is not None and theirs.value > 0:
        lines.append(f"relative    {value.value / theirs.value:.3g} times the gaussian's {column}")
    return lines


def _absent(reasons: Mapping[str, NotApplicable]) -> list[str]:
    """Return why columns are absent; metrics that don't apply to the run at all are left out."""
    metrics = {entry.spec.name for entry in manager().entries("metric")}
    return [f"n/a         {name}: {one.reason}" for name, one in reasons.items() if name not in metrics]
