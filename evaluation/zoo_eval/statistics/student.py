"""Intervals of the mean of a few values, by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import special

LEVEL = 0.05
"""Intervals have 1 - LEVEL."""


def mean_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the half-width of its 95 % t-interval; None for the width of a single value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, None
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return mean, -float(special.stdtrit(n - 1, LEVEL / 2)) * math.sqrt(variance / n)
