"""One table for the results of several runs: a row each, and the mean over the seeds of a configuration."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from zoo_core.registry.metrics import base_name
from zoo_core.results import RunResult
from zoo_eval.numbers import number
from zoo_eval.summary import ARROWS, NO_BREAK, direction, value_text

BASES = (
    "FD",
    "FID",
    "KD",
    "KID",
    "precision",
    "recall",
    "bits_per_dim",
    "bits_per_token",
    "nats",
    "modes",
    "L1",
    "PSNR",
    "SSIM",
)
"""Metrics of the table, in order; of several columns of one metric the first ranked one is shown."""
MOST = 5
"""Most metrics of the table."""


def compared_columns(results: Sequence[RunResult]) -> list[str]:
    """Return the metric columns that a comparison shows."""
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    found: list[str] = []
    for base in BASES:
        own = [name for name in names if base_name(name) == base]
        own.sort(key=lambda name: not direction(name))
        found += own[:1]
    return found[:MOST]


def differing_options(results: Sequence[RunResult]) -> list[str]:
    """Return the options, other than plugin and seed, in which runs of one model differ."""
    every: dict[str, dict[str, set[str]]] = {}
    for result in results:
        config: dict[str, Any] = {} if result.result is None else dict(result.result.config)
        for key, value in config.items():
            every.setdefault(key, {}).setdefault(result.plugin, set()).add(repr(value))
    left_out = ("seed", "run_dir", "track.", "plots.", "device", "plugin", "data.name", "providers.")
    return [
        key
        for key, by_plugin in every.items()
        if not key.startswith(left_out) and any(len(values) > 1 for values in by_plugin.values())
    ]


def comparison(results: Sequence[RunResult]) -> list[list[str]] | None:
    """Return the head and the rows of a table of runs; None where none has scores.

    Runs of one configuration stand together, and where they have several seeds their mean and standard
    deviation follow.
    """
    scored = [result for result in results if result.result is not None]
    if not scored:
        return None
    columns, options = compared_columns(scored), differing_options(scored)
    head = ["model", "data", *options, "seed"]
    head += [f"{name}{NO_BREAK}{ARROWS[direction(name)]}".strip() for name in columns] + ["training s"]
    groups: dict[tuple[str, str, str], list[RunResult]] = {}
    for result in scored:
        groups.setdefault((result.plugin, result.data, result.config_hash), []).append(result)
    rows = [head]
    for group in groups.values():
        who = [_who(result, options) for result in group]
        for result, names in zip(group, who, strict=True):
            cells = [value_text(result.metrics[c]) if c in result.metrics else "n/a" for c in columns]
            rows.append([*names, str(result.seed), *cells, f"{result.cost.train_seconds:.1f}"])
        if len(group) > 1:
            means = [_mean(group, column) for column in columns]
            rows.append([*who[0], f"mean of {len(group)}".replace(" ", NO_BREAK), *means, ""])
    return rows


def _who(result: RunResult, options: Sequence[str]) -> list[str]:
    assert result.result is not None
    config = result.result.config
    return [result.plugin, result.data, *(str(config.get(option, "")) for option in options)]


def _mean(group: Sequence[RunResult], column: str) -> str:
    values = [result.metrics[column].value for result in group if column in result.metrics]
    if len(values) < len(group):
        return "n/a"
    return f"{number(statistics.fmean(values))} ± {number(statistics.stdev(values))}".replace(" ", NO_BREAK)
