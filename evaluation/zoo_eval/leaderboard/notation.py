"""How the numbers of a column are written: one notation per column, digits from the interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zoo_eval.statistics.student import mean_interval

MOST_DECIMALS = 6
DIGITS = 3
"""Significant digits of the median value, for values without an interval."""


def decimals(half_width: float) -> int:
    """Return the digits after the point with which a half-width has two significant ones: 2 for 0.248."""
    if half_width <= 0 or not math.isfinite(half_width):
        return 0
    rounded = float(f"{half_width:.1e}")  # 0.0996 is 0.10, with two digits
    return min(MOST_DECIMALS, max(0, 1 - math.floor(math.log10(rounded))))


@dataclass(frozen=True)
class Notation:
    """The notation of a column.

    Attributes:
        exponent: a multiple of 3: values are shown divided by 10 to this power, and the heading says so.
        decimals: digits after the point of values without an interval.
    """

    exponent: int = 0
    decimals: int = 2

    @property
    def factor(self) -> str:
        """What the heading adds: " x1e3" where values are shown times 1000; "" for no power of ten."""
        return f" x1e{-self.exponent}" if self.exponent else ""

    def digits_of(self, half_width: float | None, mean: float) -> int:
        """Return the digits after the point of a value with an interval; of one without, the column's.

        A half-width that is rounding error of the mean counts as none.
        """
        scale = 10.0**self.exponent
        if half_width is None or half_width <= 1e-9 * abs(mean):
            return self.decimals
        return decimals(half_width / scale)

    def text(self, mean: float, half_width: float | None = None) -> str:
        """Return a value, with as many digits as its interval allows."""
        digits = self.digits_of(half_width, mean)
        return fixed(mean / 10.0**self.exponent, digits)

    def spread(self, half_width: float, mean: float) -> str:
        """Return a half-width with two significant digits, "0" where it is rounding error of the mean."""
        if half_width <= 1e-9 * abs(mean):
            return "0"
        scaled = half_width / 10.0**self.exponent
        return fixed(scaled, decimals(scaled))


def fixed(value: float, digits: int) -> str:
    """Return a number in fixed-point notation; zero has no sign."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def notation(values: Iterable[float]) -> Notation:
    """Return the notation of a column with these means."""
    sizes = sorted(abs(value) for value in values if value)
    if not sizes:
        return Notation()
    largest, median = sizes[-1], sizes[len(sizes) // 2]
    small_or_large = largest < 0.00995 or largest >= 1e6
    exponent = 3 * math.floor((math.log10(largest) + 1) / 3) if small_or_large else 0  # from 0.1 to 100
    if all(value == round(value) and value < 1e6 for value in sizes):
        return Notation(0, 0)
    place = math.floor(math.log10(median / 10.0**exponent))
    return Notation(exponent, min(MOST_DECIMALS, max(0, DIGITS - 1 - place)))


def notation_of(scores: Iterable[Sequence[float]]) -> Notation:
    """Return the notation of a column whose rows have these scores, one per seed."""
    return notation(mean_interval(values)[0] for values in scores)


def clock(seconds: float) -> str:
    """Return a duration as 0:07, 1:45 or 1:02:03, rounded to seconds."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
