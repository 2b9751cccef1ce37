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
    raise NotImplementedError
