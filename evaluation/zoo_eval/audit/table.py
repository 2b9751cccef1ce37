"""An audit's record as text, and what in it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo_eval.summary import number


def faults(record: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that the measure got wrong; none for a measure that passes."""
    lines = [
        f"{one['damage']}: {column} does not get worse with every step"
        for one in record["graded"]
        for column in one["wrong"]
    ]
    return lines + [
        f"{one['name']}: {one['ours']:.9g}, torch-fidelity {one['theirs']:.9g}"
        for one in record["agreement"]
        if not one["agrees"]
    ]


def audit_lines(record: Mapping[str, Any]) -> list[str]:
    """Return the record as lines of text."""
    extractor = record["extractor"]
    lines = [
        f"{record['data']['name']}, features of {extractor['name']} ({extractor['sha256'][:12]}), "
        f"{record['n']:,} images a side",
        "",
        "real against real",
    ]
    names = [name for name in record["floor"][0]["columns"] if " " not in name]
    lines += _aligned(
        [
            ["", *(f"n={one['n']:,}" for one in record["floor"])],
            *([name, *(number(one["columns"][name]) for one in record["floor"])] for name in names),
        ]
    )
    for one in record["graded"]:
        marks = {c: "wrong" if c in one["wrong"] else "ok" for c in one["expected"]}
        lines += ["", f"{one['damage']}, by strength"]
        lines += _aligned(
            [
                ["", *(f"{s:g}" for s in one["strengths"]), ""],
                *(
                    [name, *map(number, values), marks.get(name, "")]
                    for name, values in one["columns"].items()
                    if " " not in name
                ),
            ]
        )
    lines += ["", "beside torch-fidelity"]
    rows = [["", "ours", "theirs", "difference", "allowed", ""]]
    for found in record["agreement"]:
        kind = "" if found["absolute"] else " rel"
        rows.append(
            [
                found["name"],
                f"{found['ours']:.7g}",
                f"{found['theirs']:.7g}",
                f"{found['difference']:.1e}{kind}",
                f"{found['tolerance']:.1e}{kind}",
                "ok" if found["agrees"] else "wrong",
            ]
        )
    return [*lines, *_aligned(rows)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    ]
