"""95 % intervals of a figure within one run: the bootstrap of its linearization.

A figure of a set of samples moves, to first order, by the mean of one number a sample: its influence (Efron
and Tibshirani 1993, chapter 21; Hampel 1974). Resampling those numbers costs one gather, where resampling the
samples themselves costs a covariance and its root each time, and adds its own bias to a biased figure. An
interval says how far the figure would move if as many other samples were drawn from the same model; the
reference is given, and what a model's training seeds move is the leaderboard's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from zoo_core.results import Interval, Value
from zoo_core.seeds import generator

RESAMPLES = 1000
TAIL = 0.025
NORMAL = 1.959964
"""Standard errors of half a 95 % interval."""
ONE_SIDED = 0.05
"""Probability behind a one-sided bound."""
_NUMBERS = 4_000_000  # drawn at once


def resampled_means(influence: Tensor, n: int | None = None) -> Tensor:
    """Return the means of RESAMPLES bootstrap samples, (RESAMPLES,) float64, where the numbers are.

    The samples are the same on every device, and the means agree up to rounding.

    Args:
        influence: (m,) a number a sample.
        n: size of a bootstrap sample; m where none is given.
    """
    n = n or len(influence)
    values = influence.detach().double()
    if values.device.type != "cpu":
        return means_by_counts(values, n)
    return torch.cat([values[drawn].mean(1) for drawn in _drawn(len(values), n)])


def _drawn(m: int, n: int) -> Iterator[Tensor]:
    """Yield which of m numbers are in each bootstrap sample, (samples, n), some samples at a time."""
    rng = generator(0, "bootstrap")
    at_once = max(1, _NUMBERS // n)
    for k in range(0, RESAMPLES, at_once):
        yield torch.randint(m, (min(at_once, RESAMPLES - k), n), generator=rng)


@lru_cache(maxsize=2)
def _counts(m: int, n: int) -> Tensor:
    """Return how often each of m numbers is in each bootstrap sample, (RESAMPLES, m) uint8.

    Drawing them costs more than all that a GPU does with them, and they are the same for every metric.
    """
    found = [torch.bincount(one, minlength=m) for drawn in _drawn(m, n) for one in drawn]
    return torch.stack(found).clamp_max_(255).to(torch.uint8)


def means_by_counts(values: Tensor, n: int) -> Tensor:
    """Return what `resampled_means` does, as products with the counts of each number.

    Args:
        values: (m,) float64, on any device.
        n: size of a bootstrap sample.
    """
    counts = _counts(len(values), n)
    if int(counts.max()) == 255:  # few numbers, drawn often
        return torch.cat([values[drawn].mean(1) for drawn in _drawn(len(values), n)])
    rows = max(1, _NUMBERS // len(values))
    return torch.cat([part.to(values.device).double() @ values for part in counts.split(rows)]) / n


def interval(
    value: float,
    influence: Tensor,
    *,
    n: int | None = None,
    least: float = float("-inf"),
    most: float = float("inf"),
    note: str = "",
) -> Value:
    """Return a metric's value with its 95 % interval.

    Args:
        value: of the metric.
        influence: (m,) what each sample moves it by, times the number of samples; its mean is left out.
        n: samples behind the figure, where the influence is known of some of them only.
        least, most: bounds of the metric.
        note: of the value.
    """
    moved = resampled_means(influence.double() - influence.double().mean(), n)
    low, high = torch.quantile(moved, moved.new_tensor([TAIL, 1 - TAIL])).tolist()
    ends = Interval(low=min(value, max(least, value + low)), high=max(value, min(most, value + high)))
    return Value(value=value, interval=ends, n=n or len(influence), note=note)


def fraction(indicator: Tensor) -> Value:
    """Return the value of a fraction of independent samples, (n,) bool, with its 95 % interval."""
    n, value = len(indicator), float(indicator.double().mean())
    return Value(value=value, interval=score_interval(value, value * (1 - value) / n, n), n=n)


def score_interval(value: float, variance: float, independent: float) -> Interval:
    """Return the 95 % interval of a fraction whose variance is known.

    Wilson's score interval (1927, J. Am. Stat. Assoc. 22) of as many independent samples as have that
    variance.
    At 0 and 1 it is a one-sided bound: the fraction at which a value of 0 or 1 has a probability of 5 %.

    Args:
        value: between 0 and 1.
        variance: of the value.
        independent: number of independent samples behind it, for the bound at 0 and 1.
    """
    if variance <= 0 or value in (0.0, 1.0):
        bound = 1 - ONE_SIDED ** (1 / independent)
        low = 0.0 if value == 0 else max(0.0, value - bound)
        high = 1.0 if value == 1 else min(1.0, value + bound)
        return Interval(low=low, high=high)
    per_sample = NORMAL**2 * variance / (value * (1 - value))
    center = (value + per_sample / 2) / (1 + per_sample)
    half = math.sqrt(per_sample * value * (1 - value) + per_sample**2 / 4) / (1 + per_sample)
    return Interval(low=max(0.0, center - half), high=min(1.0, center + half))


def squared_distance_interval(value: float, variance: float, slope: float) -> Interval:
    """Return the 95 % interval of a squared distance d^2 >= 0 whose unbiased estimate has variance v + s d^2.

    As Wilson's score interval does, it holds each d^2 that is at most 1.96 standard errors from the estimate,
    at the variance of that d^2. At its own value, an estimate that is low by chance has a variance that is
    too low.

    Args:
        value: of the estimate, which may be negative.
        variance: v, of the estimate at d^2 = 0.
        slope: s >= 0.
    """
    shift = NORMAL**2 * slope / 2
    half = math.sqrt(max(0.0, NORMAL**2 * (variance + slope * value) + shift**2))
    return Interval(low=max(0.0, value + shift - half), high=max(0.0, value + shift + half))


def normal_interval(value: float, standard_error: float) -> Interval:
    """Return the 95 % interval of a value whose error is normal."""
    return Interval(low=value - NORMAL * standard_error, high=value + NORMAL * standard_error)
