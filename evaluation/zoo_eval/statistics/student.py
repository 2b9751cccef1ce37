"""Intervals and tests for a handful of seeds: Student's t, Welch's test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

LEVEL = 0.05
"""Of a test; intervals are 1 - LEVEL."""


def t_two_sided(t: float, df: float) -> float:
    """Return P(|T| > t) of Student's t with `df` degrees of freedom, df >= 1.

    With T = sqrt(df) tan(a) its density becomes cos(a)^(df - 1), which Simpson's rule integrates.
    """
    if math.isinf(t):
        return 0.0

    def mass(top: float) -> float:
        n = 2000
        step = top / n
        inner = sum((4 if k % 2 else 2) * math.cos(k * step) ** (df - 1) for k in range(1, n))
        return (1 + inner + math.cos(top) ** (df - 1)) * step / 3

    whole = math.sqrt(math.pi) * math.exp(math.lgamma(df / 2) - math.lgamma((df + 1) / 2)) / 2
    return min(1.0, max(0.0, 1 - mass(math.atan(abs(t) / math.sqrt(df))) / whole))


@cache
def t_quantile(df: float, level: float = LEVEL) -> float:
    """Return t with P(|T| > t) = level."""
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_two_sided(middle, df) > level else (low, middle)
    return (low + high) / 2


def mean_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the half-width of its t-interval; None for the width of a single value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, None
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return mean, t_quantile(n - 1) * math.sqrt(variance / n)


def welch(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the p-value of Welch's test of equal means; None where a side has a single value."""
    if len(a) < 2 or len(b) < 2:
        return None
    means = [math.fsum(v) / len(v) for v in (a, b)]
    parts = [
        math.fsum((x - m) ** 2 for x in v) / (len(v) - 1) / len(v) for v, m in zip((a, b), means, strict=True)
    ]
    if sum(parts) == 0:
        return 1.0 if means[0] == means[1] else 0.0
    df = sum(parts) ** 2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (a, b), strict=True))
    return t_two_sided((means[0] - means[1]) / math.sqrt(sum(parts)), df)
