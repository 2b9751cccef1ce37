"""Intervals and tests of a handful of values: Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import special

LEVEL = 0.05
"""Of a test; intervals are 1 - LEVEL."""


def mean_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the half-width of its 95 % t-interval; None for the width of a single value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, None
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return mean, -float(special.stdtrit(n - 1, LEVEL / 2)) * math.sqrt(variance / n)


def welch(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the p-value of Welch's test of equal means; None where a side has a single value."""
    if len(a) < 2 or len(b) < 2:
        return None
    from scipy import stats

    if len({*a}) == len({*b}) == 1:
        return 1.0 if a[0] == b[0] else 0.0
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)
