"""Components of variance: how much of the spread of a score comes from which seed.

Scores of balanced designs are split into independent mean squares. A component is a linear combination of
them, and its interval is the modified large-sample one (Ting, Burdick, Graybill, Jeyaratnam and Lu 1990,
"Confidence intervals on linear combinations of variance components that are unrestricted in sign"; Graybill
and Wang 1980 where every coefficient is positive). With the four levels that a factor has here, intervals of
a bootstrap over levels are far too wide: those of 95 % held the truth in 200 of 200 trials
(`ci/studies/lottery.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
LEVEL = 0.05
"""One minus the confidence of an interval."""


class Component(NamedTuple):
    """A variance with its 95 % interval."""

    value: float
    low: float
    high: float


class Nested(NamedTuple):
    """Spread of a score over training seeds, with sampling seeds within each.

    Attributes:
        training: variance between training seeds of the mean over all sampling seeds.
        sampling: variance between sampling seeds of one training.
        single: variance of one run's score, the sum of both.
    """

    training: Component
    sampling: Component
    single: Component


class Source(NamedTuple):
    """What one of several seeds does.

    Attributes:
        main: variance of the score's mean given this seed.
        total: mean variance of the score where only this seed varies (total effect).
    """

    main: Component
    total: Component


class MeanSquare(NamedTuple):
    """A mean square with its degrees of freedom."""

    value: float
    df: int


def nested(scores: Array) -> Nested:
    """Return the components of scores (training seeds, sampling seeds), at least two of each.

    Raises:
        ValueError: for fewer.
    """
    seeds, repeats = _shape(scores, 2)
    means = scores.mean(1)
    between = MeanSquare(repeats * float(means.var(ddof=1)), seeds - 1)
    within = MeanSquare(float(scores.var(axis=1, ddof=1).mean()), seeds * (repeats - 1))
    squares = (between, within)
    return Nested(
        training=combined((1 / repeats, -1 / repeats), squares),
        sampling=combined((0.0, 1.0), squares),
        single=combined((1 / repeats, 1 - 1 / repeats), squares),
    )


def crossed(scores: Array) -> list[Source]:
    """Return a Source for each axis of scores (levels of each factor, ...), one score a cell.

    All factors are random. With one score a cell the highest interaction is not told from what no seed
    explains, and counts as an effect of every factor.

    Raises:
        ValueError: for fewer than two levels of a factor.
    """
    _shape(scores, scores.ndim)
    squares = mean_squares(scores)
    return [
        Source(
            main=combined(_weights(scores.shape, axis, squares, main=True), list(squares.values())),
            total=combined(_weights(scores.shape, axis, squares, main=False), list(squares.values())),
        )
        for axis in range(scores.ndim)
    ]


def _weights(
    shape: Sequence[int], axis: int, effects: Iterable[tuple[int, ...]], *, main: bool
) -> list[float]:
    """Return the coefficient of each effect's mean square in a factor's main or total effect.

    The mean square of an effect u has the expectation sum over v >= u of the component of v times the levels
    of the factors outside v. The mean variance along an axis, within cells of the others, is the sum of the
    mean squares that contain the axis, each times its other factors' degrees of freedom.
    """
    others = math.prod(n for k, n in enumerate(shape) if k != axis)
    found = []
    for effect in effects:
        if axis not in effect:
            found.append(0.0)
        elif main:
            found.append((-1.0) ** (len(effect) - 1) / others)
        else:
            found.append(math.prod(shape[k] - 1 for k in effect if k != axis) / others)
    return found


def mean_squares(scores: Array) -> dict[tuple[int, ...], MeanSquare]:
    """Return effect -> mean square, for every set of axes but the empty one: (0,), (1,), (0, 1), ..."""
    found = {}
    for effect in _effects(scores.ndim):
        part = _interaction(scores, effect)
        df = math.prod(scores.shape[k] - 1 for k in effect)
        repeats = math.prod(n for k, n in enumerate(scores.shape) if k not in effect)
        found[effect] = MeanSquare(repeats * float((part**2).sum()) / df, df)
    return found


def _effects(axes: int) -> Iterator[tuple[int, ...]]:
    for size in range(1, axes + 1):
        yield from itertools.combinations(range(axes), size)


def _interaction(scores: Array, effect: tuple[int, ...]) -> Array:
    """Return what is left of the mean over the other axes when every lower effect is taken off."""
    part = scores.mean(axis=tuple(k for k in range(scores.ndim) if k not in effect), keepdims=True)
    for k in effect:
        part = part - part.mean(axis=k, keepdims=True)
    return part


def combined(weights: Sequence[float], squares: Sequence[MeanSquare]) -> Component:
    """Return the sum of weights times mean squares, with its interval; both ends are at least 0.

    Args:
        weights: one for each mean square; those of 0 count for nothing.
        squares: independent, each its expectation times chi^2 / df.
    """
    parts = [(w, s) for w, s in zip(weights, squares, strict=True) if w]
    value = sum(w * s.value for w, s in parts)
    up = [(w * s.value, s.df) for w, s in parts if w > 0]
    down = [(-w * s.value, s.df) for w, s in parts if w < 0]
    half = LEVEL / 2
    low = value - math.sqrt(max(0.0, _lower(up, down, half)))
    high = value + math.sqrt(max(0.0, _upper(up, down, half)))
    return Component(max(0.0, value), max(0.0, low), max(0.0, high))


Terms = Sequence[tuple[float, int]]


def _lower(up: Terms, down: Terms, half: float) -> float:
    """Return the square of the distance from the estimate to the lower end (Ting et al. 1990, Eq. 4)."""
    total = sum((_g(n, half) * x) ** 2 for x, n in up) + sum((_h(n, half) * x) ** 2 for x, n in down)
    for (x, n), (y, m) in itertools.product(up, down):
        f = float(stats.f.isf(half, n, m))
        total += ((f - 1) ** 2 - (_g(n, half) * f) ** 2 - _h(m, half) ** 2) / f * x * y
    return total + _same_sign(up, half)


def _upper(up: Terms, down: Terms, half: float) -> float:
    """Return the square of the distance from the estimate to the upper end (Ting et al. 1990, Eq. 5)."""
    total = sum((_h(n, half) * x) ** 2 for x, n in up) + sum((_g(n, half) * x) ** 2 for x, n in down)
    for (x, n), (y, m) in itertools.product(up, down):
        f = float(stats.f.ppf(half, n, m))
        total += ((1 - f) ** 2 - (_h(n, half) * f) ** 2 - _g(m, half) ** 2) / f * x * y
    return total + _same_sign(down, half)


def _same_sign(terms: Terms, half: float) -> float:
    total = 0.0
    for (x, n), (y, m) in itertools.combinations(terms, 2):
        both = _g(n + m, half) ** 2 * (n + m) ** 2 / (n * m)
        cross = both - _g(n, half) ** 2 * n / m - _g(m, half) ** 2 * m / n
        total += cross / (len(terms) - 1) * x * y
    return total


def _g(df: int, half: float) -> float:
    """Return 1 - 1/F at the upper point of F(df, infinity)."""
    return 1 - df / float(stats.chi2.isf(half, df))


def _h(df: int, half: float) -> float:
    """Return 1/F - 1 at the lower point of F(df, infinity)."""
    return df / float(stats.chi2.ppf(half, df)) - 1


def _shape(scores: Array, axes: int) -> tuple[int, ...]:
    if scores.ndim != axes or min(scores.shape) < 2 or not np.isfinite(scores).all():
        raise ValueError(
            f"expected finite scores with {axes} axes of at least two levels, got {scores.shape}"
        )
    return scores.shape


def swap_probability(first: Array, second: Array) -> float:
    """Return the probability that one run of each of two models has them in the other order.

    Args:
        first, second: log-scores of runs, (n,) each, taken as normal.
    """
    spread = math.sqrt(float(first.var(ddof=1) + second.var(ddof=1)))
    gap = abs(float(first.mean() - second.mean()))
    return 0.5 if not spread and not gap else float(stats.norm.sf(gap / spread)) if spread else 0.0


def seeds_needed(first: Array, second: Array, power: float = 0.8, most: int = 1000) -> int | None:
    """Return how many seeds of each model find their difference; None for more than `most`.

    A two-sided t-test at 5 % of log-scores with equal variances finds it with probability `power`.

    Args:
        first, second: log-scores of runs, (n,) each, whose means and mean variance are taken for the truth.
    """
    gap = abs(float(first.mean() - second.mean()))
    variance = float(first.var(ddof=1) + second.var(ddof=1)) / 2
    for n in range(2, most + 1):
        df = 2 * n - 2
        away = gap / math.sqrt(2 * variance / n) if variance else math.inf
        if math.isinf(away) or stats.nct.sf(stats.t.isf(LEVEL / 2, df), df, away) >= power:
            return n
    return None
