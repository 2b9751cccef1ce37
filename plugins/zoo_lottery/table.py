"""What a lottery says: lines of text and plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from zoo_lottery.components import Array, Component, crossed, nested, seeds_needed, swap_probability

SOURCES = ("initialization", "order of the data", "training noise")
"""Axes of the design of `zoo lottery sources`."""
TOTAL_HEAD = ("model", "score", "training spread", "sampling spread", "P(swap)", "seeds")
SOURCES_HEAD = ("model", "seed", "main effect", "spread if only it varies", "share of the total")


def percent(one: Component) -> str:
    """Return the standard deviation of a log-score as a percentage of the score, with its interval."""
    value, low, high = (100 * math.expm1(math.sqrt(x)) for x in one)
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def ordered(scores: Mapping[str, Array]) -> dict[str, Array]:
    """Return models by their mean log-score, the lowest first."""
    return dict(sorted(scores.items(), key=lambda item: float(item[1].mean())))


def total_rows(scores: Mapping[str, Array]) -> list[Sequence[str]]:
    """Return a row for each model, best first.

    P(swap) is the probability that one run of the model above has the worse score, and `seeds` how many
    of each find their difference by a t-test at 5 % with probability 0.8.

    Args:
        scores: model -> log-scores (training seeds, sampling seeds), in the order of the rows.
    """
    rows: list[Sequence[str]] = []
    swaps = ["", *(_against(above, below) for above, below in pairwise(scores.values()))]
    for (name, values), against in zip(scores.items(), swaps, strict=True):
        found = nested(values)
        swap, needed = against or ("", "")
        score = f"{math.exp(float(values.mean())):.4g}"
        rows.append((name, score, percent(found.training), percent(found.sampling), swap, needed))
    return rows


def _against(above: Array, below: Array) -> tuple[str, str]:
    first, second = above[:, 0], below[:, 0]
    needed = seeds_needed(first, second)
    return f"{swap_probability(first, second):.2f}", "over 1,000" if needed is None else f"{needed:,}"


def source_rows(scores: Mapping[str, Array]) -> list[Sequence[str]]:
    """Return a row for each model and seed.

    Args:
        scores: model -> log-scores (initializations, orders of the data, training noises).
    """
    rows: list[Sequence[str]] = []
    for name, values in scores.items():
        whole = float(np.var(values, ddof=1))
        for source, one in zip(SOURCES, crossed(values), strict=True):
            share = f"{one.total.value / whole:.0%}" if whole else ""
            rows.append((name, source, percent(one.main), percent(one.total), share))
    return rows


def plain(scores: Mapping[str, Array], rows: Sequence[Sequence[str]], head: Sequence[str]) -> dict[str, Any]:
    """Return everything as plain data: the log-scores, and the table as it is printed."""
    table = [dict(zip(head, row, strict=True)) for row in rows]
    return {"log_scores": {name: values.tolist() for name, values in scores.items()}, "table": table}
