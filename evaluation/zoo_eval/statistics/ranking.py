"""Ranks of a table's rows: a moderated t-test of every pair, corrected for the number of pairs.

A row is a configuration of a model, with one score per training seed. Three to five seeds are too few to
estimate a row's variance alone, so each row's variance is shrunk to the table's by empirical Bayes (Smyth
2004, Stat. Appl. Genet. Mol. Biol. 3, article 3), and the p-values of all pairs are corrected by Holm's
procedure (Holm 1979, Scand. J. Statist. 6). All pairs are tested, because the rows are sorted by the scores
under test: pairs of adjacent rows are not a family that was fixed in advance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scale = Literal["log", "linear"]
Better = Literal["lower", "higher"]
Floats = NDArray[np.float64]

LEVEL = 0.05
"""Family-wise error rate of a table's ranks; intervals have 1 - LEVEL."""
_BUCKETS = 64
"""Groups of rows with similar standard errors, in which pairs are counted; up to 64 rows the count is exact.
"""
_LEAST_VARIANCE = 1e-5
"""Of the median variance: a row's variance below it counts as this, or one row would decide the prior."""


@dataclass(frozen=True)
class Place:
    """A row's place in its table.

    Attributes:
        rank: 1 is best. Rows that share a rank are a tie group: no two of them differ significantly. None
            where the row is not tested.
        tied: whether another row has the same rank.
        center: mean of the row's scores; on the log scale their geometric mean.
        interval: 95 % interval of the center over training seeds, with the moderated variance; None where the
            row is not tested.
        p_above: p-value, not corrected, against the next tested row above; None for the first tested row and
            for rows that are not tested.
        reason: why the row is not tested; "" where it is.
    """

    rank: int | None
    tied: bool
    center: float
    interval: tuple[float, float] | None
    p_above: float | None
    reason: str


@dataclass(frozen=True)
class Ranking:
    """The ranks of a table's rows, and what the table can separate.

    Attributes:
        places: one per row, in the order of the rows given.
        order: indices of the rows, best first. Rows that are not tested stand where their center puts them.
        scale: on which scores were compared.
        pairs: number of pairs tested.
        different: number of pairs that differ significantly.
        threshold: largest p-value that is significant after Holm's correction.
        separable: on the log scale, the smallest ratio of two scores that is significant between two rows
            with the table's median standard error; on the linear scale the smallest difference. None for
            fewer than two tested rows.
        prior_df: weight of the table's variance in each row's, in degrees of freedom; inf where the rows'
            variances do not differ more than by chance.
        prior_variance: the table's variance of one score, on the scale.
    """

    places: tuple[Place, ...]
    order: tuple[int, ...]
    scale: Scale
    pairs: int
    different: int
    threshold: float
    separable: float | None
    prior_df: float
    prior_variance: float


def rank(
    rows: Sequence[Sequence[float]],
    *,
    better: Better,
    testable: Sequence[bool],
    scale: Scale = "log",
) -> Ranking:
    """Return the ranks of a table's rows.

    Rows are sorted by their centers. From the best row on, a row starts a new rank where it differs
    significantly from any row of the current tie group; its rank is then 1 plus the number of tested rows
    above it. Time grows as n log n with the rows.

    Args:
        rows: finite scores of each row, one per training seed; at least one.
        better: whether lower or higher scores are better.
        testable: whether a row may be tested: False for deterministic baselines.
        scale: "log" compares ratios of scores; a row with a score <= 0 is then not tested. "linear" compares
            differences: for metrics that may be negative by definition (KD, KID, MMD, nats).

    Returns:
        The ranking. A row with one seed, or with the same score at all seeds, is not tested.

    Raises:
        ValueError: where a row has no scores or a score is not finite.
    """
    scores = [np.asarray(row, dtype=np.float64) for row in rows]
    if any(not len(row) or not np.isfinite(row).all() for row in scores):
        raise ValueError("a row without scores, or a score that is not finite")
    reasons = [_reason(row, may, scale) for row, may in zip(scores, testable, strict=True)]
    onto, back = (np.log, np.exp) if scale == "log" else (np.positive, np.positive)
    centers = np.array(
        [back(onto(r).mean()) if scale == "linear" or (r > 0).all() else r.mean() for r in scores]
    )
    sign = 1.0 if better == "lower" else -1.0
    order = np.argsort(sign * centers, kind="stable")
    tested = np.array([k for k in order if not reasons[k]], dtype=np.intp)
    moderated = moderate([onto(scores[k]) for k in tested], sign)
    threshold, different = holm(moderated)
    groups = tie_groups(moderated, threshold)

    places = [
        Place(None, False, float(c), None, None, reason) for c, reason in zip(centers, reasons, strict=True)
    ]
    counts = np.bincount(groups)
    firsts = np.cumsum(counts) - counts
    half = moderated.error * stats.t.isf(LEVEL / 2, moderated.df)
    above = moderated.p_values(np.arange(len(tested) - 1), np.arange(1, len(tested)))
    for place, row in enumerate(tested):
        low, high = sorted(sign * (moderated.mean[place] + np.array([-1.0, 1.0]) * half[place]))
        places[row] = Place(
            rank=int(firsts[groups[place]]) + 1,
            tied=bool(counts[groups[place]] > 1),
            center=float(centers[row]),
            interval=(float(back(low)), float(back(high))),
            p_above=float(above[place - 1]) if place else None,
            reason="",
        )
    return Ranking(
        places=tuple(places),
        order=tuple(int(k) for k in order),
        scale=scale,
        pairs=len(tested) * (len(tested) - 1) // 2,
        different=different,
        threshold=threshold,
        separable=_separable(moderated, threshold, scale),
        prior_df=moderated.prior_df,
        prior_variance=moderated.prior_variance,
    )


def _reason(row: Floats, testable: bool, scale: Scale) -> str:
    """Return why a row is not tested; "" where it is."""
    if not testable:
        return "deterministic"
    if len(row) < 2:
        return "one seed"
    if (row == row[0]).all():
        return "the same score at all seeds"
    if scale == "log" and (row <= 0).any():
        return "a score <= 0 has no logarithm"
    return ""


@dataclass(frozen=True)
class Moderated:
    """Rows as the moderated t-test sees them, best first.

    Attributes:
        mean: (R,) ascending: lower is better.
        error: (R,) standard errors of the means, from the moderated variances.
        df: (R,) degrees of freedom of the moderated variances.
        prior_df, prior_variance: as in `Ranking`.
    """

    mean: Floats
    error: Floats
    df: Floats
    prior_df: float
    prior_variance: float

    def p_values(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> Floats:
        """Return the two-sided p-values of pairs of rows."""
        t = np.abs(self.mean[i] - self.mean[j]) / np.hypot(self.error[i], self.error[j])
        return 2 * stats.t.sf(t, np.minimum(self.df[i], self.df[j]))


def prior(variances: Floats, df: Floats) -> tuple[float, float]:
    """Return the degrees of freedom and the variance of the scaled inverse chi-squared prior of variances.

    Moments of log s^2: Smyth 2004, section 6.2.

    Args:
        variances: (R,) positive.
        df: (R,) their degrees of freedom.

    Returns:
        (d0, s0^2). d0 is inf where the logarithms vary no more than chance makes them.
    """
    logs = np.log(variances) - special.digamma(df / 2) + np.log(df / 2)
    rows = len(logs)
    excess = float(logs.var(ddof=1) - special.polygamma(1, df / 2).mean()) if rows > 1 else 0.0
    if excess <= 0:
        return float("inf"), float(np.exp(logs.mean()))
    half = _inverse_trigamma(excess)
    return 2 * half, float(np.exp(logs.mean() + special.digamma(half) - np.log(half)))


def _inverse_trigamma(y: float) -> float:
    """Return x > 0 with trigamma(x) = y > 0, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(50):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / y) / float(special.polygamma(2, x))
        x += step
        if -step < 1e-10 * x:
            break
    return x


def moderate(rows: Sequence[Floats], sign: float = 1.0) -> Moderated:
    """Return rows of at least 2 scores with their variances shrunk to the table's.

    A moderated variance has d0 + d degrees of freedom, but no more than all rows have together (limma's
    bound), because s0^2 itself is estimated from these rows.
    """
    n = np.array([len(row) for row in rows], dtype=np.float64)
    mean = sign * np.array([row.mean() for row in rows])
    variance, df = np.array([row.var(ddof=1) for row in rows]), n - 1
    if not len(rows):
        return Moderated(mean, n, n, float("inf"), float("nan"))
    variance = np.maximum(variance, _LEAST_VARIANCE * np.median(variance))
    d0, s0 = prior(variance, df)
    if np.isinf(d0):
        return Moderated(mean, np.sqrt(s0 / n), np.full(len(n), df.sum()), d0, s0)
    shrunk = (d0 * s0 + df * variance) / (d0 + df)
    return Moderated(mean, np.sqrt(shrunk / n), np.minimum(d0 + df, df.sum()), d0, s0)


def holm(rows: Moderated, level: float = LEVEL) -> tuple[float, int]:
    """Return the largest p-value that Holm's procedure calls significant over all pairs, and how many are.

    The procedure rejects the k smallest p-values for the smallest k with #{p <= level / (M - k)} = k, which is
    reached from k = 0 by counting again at each new threshold. Counting takes n log n: rows are put into
    buckets of similar standard error, each bucket counts with its largest one, and its pairs with a row are
    found by bisection. Above 64 rows a few pairs may thereby be missed, so the threshold errs low.
    """
    pairs = len(rows.mean) * (len(rows.mean) - 1) // 2
    if pairs == 0:
        return level, 0
    by_error = np.lexsort((rows.error, rows.df))
    buckets = [np.sort(part) for part in np.array_split(by_error, min(_BUCKETS, len(by_error)))]
    sizes, which = np.unique(rows.df, return_inverse=True)
    found = 0
    while True:
        threshold = level / (pairs - found)
        counted = 0
        for bucket in buckets:
            df = np.minimum(sizes, rows.df[bucket].min())
            critical = stats.t.isf(threshold / 2, df)[which] * np.hypot(rows.error, rows.error[bucket].max())
            counted += int(np.searchsorted(rows.mean[bucket], rows.mean - critical, side="right").sum())
        if counted <= found or counted >= pairs:
            return threshold, max(found, counted)
        found = counted


def tie_groups(rows: Moderated, threshold: float) -> NDArray[np.intp]:
    """Return the tie group of each row, 0 for the best: no two rows of a group differ significantly.

    A row is compared with the rows of the current group that no earlier row of smaller error and as many
    degrees of freedom stands for: those are few.
    """
    sizes = np.unique(rows.df)
    critical = dict(zip(sizes, stats.t.isf(threshold / 2, sizes), strict=True))
    groups = np.zeros(len(rows.mean), dtype=np.intp)
    front: list[tuple[float, float, float]] = []
    group = -1
    for k, row in enumerate(zip(rows.mean, rows.error, rows.df, strict=True)):
        mean, error, df = row
        apart = any(mean - m >= critical[min(df, f)] * np.hypot(error, e) for m, e, f in front)
        if apart or not front:
            group += 1
            front = [row]
        elif not any(e <= error and f >= df for _, e, f in front):
            front.append(row)
        groups[k] = group
    return groups


def _separable(rows: Moderated, threshold: float, scale: Scale) -> float | None:
    """Return the smallest ratio or difference that is significant between two rows of median error."""
    if len(rows.mean) < 2:
        return None
    least = float(stats.t.isf(threshold / 2, np.median(rows.df)) * np.median(rows.error) * 2**0.5)
    return float(np.exp(min(least, 700.0))) if scale == "log" else least
