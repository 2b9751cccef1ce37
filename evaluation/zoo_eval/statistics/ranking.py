"""Ranks of a table's rows: a moderated t-test of every pair, corrected for the number of pairs.

A row is a configuration of a model, with one score per training seed. Three to five seeds are too few to
estimate a row's variance alone, so each row's variance is shrunk to the table's by empirical Bayes (Smyth
2004, Stat. Appl. Genet. Mol. Biol. 3, article 3), and the p-values of all pairs are corrected by Holm's
procedure (Holm 1979, Scand. J. Statist. 6). All pairs are tested, because rows are sorted by the scores under
test: pairs of adjacent rows are not a family that was fixed in advance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Scale = Literal["log", "linear"]
Better = Literal["lower", "higher"]
Floats = NDArray[np.float64]

LEVEL = 0.05
"""Family-wise error rate of a table's ranks; intervals have 1 - LEVEL."""
_BUCKETS = 64
"""Groups of rows of similar standard error, in which pairs are counted; exact for up to as many rows."""
_PRIOR_DF = (0.2, 1e4)
"""Least and largest finite degrees of freedom of the prior."""
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
        error: standard error of the center, on the scale, from the moderated variance; None where not tested.
        df: degrees of freedom of that variance; None where not tested.
    """

    rank: int | None
    tied: bool
    center: float
    interval: tuple[float, float] | None
    p_above: float | None
    reason: str
    error: float | None = None
    df: float | None = None


@dataclass(frozen=True)
class Ranking:
    """The ranks of a table's rows, and what the table can separate.

    Attributes:
        places: one per row, in the order of the rows given.
        order: indices of the rows, best first. Rows that are not tested stand where their center puts them.
        scale: on which scores were compared.
        pairs: number of pairs tested, those of rows beside included.
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
    beside: Sequence[Sequence[float]] = (),
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
        beside: scores of other rows of the table that may be tested. They get no place here, but their pairs
            count in Holm's correction, and their variances in the table's.

    Returns:
        The ranking. A row with one seed, or with the same score at all seeds, is not tested.

    Raises:
        ValueError: where there are no rows, a row has no scores, or a score is not finite.
    """
    every = [*rows, *beside]
    n = np.array([len(row) for row in every])
    flat = np.array([score for row in every for score in row], dtype=np.float64)
    if not rows or not n.all() or not np.isfinite(flat).all():
        raise ValueError("no rows, a row without scores, or a score that is not finite")
    each = Rows(flat, n)
    positive = each.least > 0
    allowed = np.array([*testable, *[True] * len(beside)])
    reasons = np.select(
        [~allowed, n < 2, each.least == each.most, (scale == "log") & ~positive],
        ["deterministic", "one seed", "the same score at all seeds", "a score <= 0 has no logarithm"],
        default="",
    )
    centers = each.means
    if scale == "log":
        logs = Rows(np.log(np.where(flat > 0, flat, 1.0)), n)
        centers = np.where(positive, np.exp(logs.means), centers)
    sign = 1.0 if better == "lower" else -1.0
    order = np.argsort(sign * centers, kind="stable")
    family = order[reasons[order] == ""]
    table = moderate(logs if scale == "log" else each, family, sign)
    threshold, different = holm(table)
    order = order[order < len(rows)]
    tested, moderated = family[family < len(rows)], table.of(family < len(rows))
    groups = tie_groups(moderated, threshold)

    counts = np.bincount(groups)
    ranks = (np.cumsum(counts) - counts + 1)[groups]
    half = moderated.error * _critical(LEVEL, moderated.df)
    ends = np.sort(sign * (moderated.mean + np.outer([-1.0, 1.0], half)), axis=0)
    low, high = np.exp(ends) if scale == "log" else ends
    above = moderated.p_values(np.arange(len(tested) - 1), np.arange(1, len(tested)))
    above = np.concatenate([np.full(min(1, len(tested)), np.nan), above])
    places = [
        Place(None, False, center, None, None, str(reason))
        for center, reason in zip(centers[: len(rows)].tolist(), reasons[: len(rows)], strict=True)
    ]
    columns = (tested, ranks, counts[groups] > 1, low, high, above, moderated.error, moderated.df)
    for row, place, tied, least, most, p, error, df in zip(*(c.tolist() for c in columns), strict=True):
        p_above = None if np.isnan(p) else p
        places[row] = Place(place, tied, places[row].center, (least, most), p_above, "", error, df)
    return Ranking(
        places=tuple(places),
        order=tuple(order.tolist()),
        scale=scale,
        pairs=len(family) * (len(family) - 1) // 2,
        different=different,
        threshold=threshold,
        separable=_separable(moderated, threshold, scale),
        prior_df=moderated.prior_df,
        prior_variance=moderated.prior_variance,
    )


class Rows:
    """Rows of scores of any lengths, and their moments.

    Attributes:
        flat: (N,) the scores, row after row.
        n: (R,) the number of scores of each row, at least 1.
        means: (R,).
        variances: (R,) with n - 1 in the denominator; 0 for rows of one score.
        least, most: (R,) smallest and largest score.
    """

    def __init__(self, flat: Floats, n: NDArray[np.intp]) -> None:
        self.flat, self.n = flat, n
        starts = np.cumsum(n) - n
        self.least, self.most = (f.reduceat(flat, starts) for f in (np.minimum, np.maximum))
        self.means: Floats = np.clip(np.add.reduceat(flat, starts) / n, self.least, self.most)
        squares = (flat - np.repeat(self.means, n)) ** 2
        self.variances: Floats = np.add.reduceat(squares, starts) / np.maximum(n - 1, 1)


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

    def of(self, chosen: NDArray[np.bool_]) -> Moderated:
        """Return some of the rows, (R,) bool, with the variances that all of them gave."""
        return replace(self, mean=self.mean[chosen], error=self.error[chosen], df=self.df[chosen])

    def p_values(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> Floats:
        """Return the two-sided p-values of pairs of rows.

        The degrees of freedom are the smaller of both rows': Welch's approximation would have up to their
        sum, and rejects too often in tables of few seeds whose rows have different variances.
        """
        t = np.abs(self.mean[i] - self.mean[j]) / np.hypot(self.error[i], self.error[j])
        return 2 * special.stdtr(np.minimum(self.df[i], self.df[j]), -t)


def _critical(p: float, df: Floats) -> Floats:
    """Return t with P(|T| > t) = p of Student's t with `df` degrees of freedom."""
    return -special.stdtrit(df, p / 2)


def prior(variances: Floats, df: Floats) -> tuple[float, float]:
    """Return the degrees of freedom and the variance of the scaled inverse chi-squared prior of variances.

    A variance s^2 with d degrees of freedom is then s0^2 times an F variable with (d, d0) degrees of freedom
    (Smyth 2004, section 3). Both parameters are of the largest likelihood, which finds them in a table of ten
    rows more precisely than the moments of log s^2 that limma uses. A finite d0 is one parameter more than
    one variance for all rows: it is chosen where Akaike's criterion prefers it.

    Args:
        variances: (R,) positive.
        df: (R,) their degrees of freedom.

    Returns:
        (d0, s0^2). d0 is inf where one variance explains the table.
    """
    pooled = float(np.average(variances, weights=df))
    least, most = np.log(_PRIOR_DF)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        log_scale, log_d0 = parameters
        d0 = np.exp(log_d0)
        u = df * variances / (d0 * np.exp(log_scale) * pooled)
        total = (df + d0) / 2
        value = (
            special.gammaln(total)
            - special.gammaln(d0 / 2)
            + df / 2 * (np.log(df * variances / pooled) - log_d0 - log_scale)
            - total * np.log1p(u)
        )
        tilt = total * u / (1 + u) - df / 2
        shape = (special.digamma(total) - special.digamma(d0 / 2) - np.log1p(u)) / 2 * d0
        return -float(value.sum()), -np.array([tilt.sum(), (shape + tilt).sum()])

    start = np.array([0.0, np.log(4.0)])
    best = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-40, 40), (least, most)])
    one_variance, _ = loss(np.array([0.0, most]))
    if one_variance <= best.fun + 1:
        return float("inf"), pooled
    return float(np.exp(best.x[1])), float(np.exp(best.x[0])) * pooled


def moderate(rows: Rows, chosen: NDArray[np.intp], sign: float = 1.0) -> Moderated:
    """Return chosen rows, of at least 2 scores each, with their variances shrunk to the table's.

    A moderated variance has d0 + d degrees of freedom, but no more than all rows have together (limma's
    bound), because s0^2 itself is estimated from these rows.
    """
    mean, n = sign * rows.means[chosen], rows.n[chosen].astype(np.float64)
    if not len(n):
        return Moderated(mean, n, n, float("inf"), 0.0)
    variance, df = rows.variances[chosen], n - 1
    variance = np.maximum(variance, _LEAST_VARIANCE * np.median(variance))
    d0, s0 = prior(variance, df)
    if np.isinf(d0):
        return Moderated(mean, np.sqrt(s0 / n), np.full(len(n), df.sum()), d0, s0)
    shrunk = (d0 * s0 + df * variance) / (d0 + df)
    return Moderated(mean, np.sqrt(shrunk / n), np.minimum(d0 + df, df.sum()), d0, s0)


def holm(rows: Moderated) -> tuple[float, int]:
    """Return the largest p-value that Holm's procedure calls significant over all pairs, and how many are.

    The procedure rejects the k smallest p-values for the smallest k with #{p <= LEVEL / (M - k)} = k, which
    is reached from k = 0 by counting again at each new threshold. Counting takes n log n: rows are put into
    buckets of similar standard error, each bucket counts with its largest one, and its pairs with a row are
    found by bisection. Above 64 rows some pairs are thereby missed, so the threshold errs low.
    """
    pairs = len(rows.mean) * (len(rows.mean) - 1) // 2
    if pairs == 0:
        return LEVEL, 0
    sizes, which = np.unique(rows.df, return_inverse=True)
    parts = np.array_split(np.lexsort((rows.error, rows.df)), min(_BUCKETS, len(rows.mean)))
    buckets = [
        (
            rows.mean[np.sort(part)],
            np.minimum(sizes, rows.df[part].min()),
            np.hypot(rows.error, rows.error[part].max()),
        )
        for part in parts
    ]
    found = 0
    while True:
        threshold = LEVEL / (pairs - found)
        counted = sum(
            int(
                np.searchsorted(
                    means, rows.mean - _critical(threshold, df)[which] * error, side="right"
                ).sum()
            )
            for means, df, error in buckets
        )
        if counted >= pairs:
            return LEVEL, pairs
        if counted <= found:
            return threshold, found
        found = counted


def tie_groups(rows: Moderated, threshold: float) -> NDArray[np.intp]:
    """Return the tie group of each row, 0 for the best: no two rows of a group differ significantly.

    A row is compared with those rows of the current group of which no better one has as small an error and as
    many degrees of freedom: if any row of the group differs from it, one of these does.
    """
    sizes = np.unique(rows.df)
    critical = dict(zip(sizes.tolist(), _critical(threshold, sizes).tolist(), strict=True))
    groups = []
    front: list[tuple[float, float, float]] = []
    group = 0
    for row in zip(rows.mean.tolist(), rows.error.tolist(), rows.df.tolist(), strict=True):
        mean, error, df = row
        if any(mean - m >= critical[min(df, f)] * math.hypot(error, e) for m, e, f in front):
            group += 1
            front = [row]
        elif not any(e <= error and f >= df for _, e, f in front):
            front.append(row)
        groups.append(group)
    return np.array(groups, dtype=np.intp)


def _separable(rows: Moderated, threshold: float, scale: Scale) -> float | None:
    """Return the smallest ratio or difference that is significant between two rows of median error."""
    if len(rows.mean) < 2:
        return None
    critical = float(np.median(_critical(threshold, rows.df)))
    least = critical * float(np.median(rows.error)) * 2**0.5
    return math.exp(min(least, 700.0)) if scale == "log" else least
