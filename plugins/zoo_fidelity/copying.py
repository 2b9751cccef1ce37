"""C_T, a test of data copying (Meehan, Chaudhuri and Dasgupta 2020, arXiv:2004.05675).

In each cell of the feature space, distances of samples to their nearest training example are ranked among
those of test examples. Copies are too close, and C_T is far below 0; samples that underfit are too far, and
C_T is far above 0. New examples have about 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.data.loading import Resident
from zoo_core.interfaces import EvalContext
from zoo_core.results import NotApplicable, Value
from zoo_eval.features import check_features
from zoo_eval.metrics.memorization import nearest

CELLS = 10
"""Most cells."""
TEST = 50
"""Test examples for each cell: with fewer in all, there are fewer cells."""
SAMPLES = 20
"""A cell with no more samples than that is left out, as in the authors' experiments."""


def rank_score(samples: Tensor, test: Tensor) -> float:
    """Return the Mann-Whitney statistic of distances in standard deviations: below 0 if samples are closer.

    Z_U of section 3, with the authors' correction for continuity: (U + 1/2 - m n / 2) over
    sqrt(m n (m + n + 1) / 12), U the number of pairs in which the sample is farther, ties counting one half.

    Args:
        samples, test: (m,) and (n,) distances.
    """
    m, n = len(samples), len(test)
    ordered = test.sort().values
    below, up_to = (torch.searchsorted(ordered, samples, right=right) for right in (False, True))
    u = float((below + up_to).double().sum()) / 2
    return (u + 0.5 - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)


def cell_scores(
    train: Tensor, test: Tensor, fake: Tensor, cells: Sequence[Tensor]
) -> dict[int, tuple[float, float]]:
    """Return (fraction of the test split, Z_U) of cells with test examples and more than `SAMPLES` samples.

    Args:
        train, test, fake: (l, d), (n, d) and (m, d) features.
        cells: the number of the cell of each row of them.
    """
    found = {}
    for cell in cells[1].unique().tolist():
        own, held_out, drawn = (x[of == cell] for x, of in zip((train, test, fake), cells, strict=True))
        if len(own) and len(drawn) > SAMPLES:
            split = Resident(own.float())
            distances = (nearest(x.float(), split).distance for x in (drawn, held_out))
            found[cell] = (len(held_out) / len(test), rank_score(*distances))
    return found


def k_means(train: Tensor, k: int, *others: Tensor) -> tuple[Tensor, ...]:
    """Return the cells of k-means on the training split, of it and of other sets: (n,) int64 each."""
    from sklearn.cluster import KMeans

    made = KMeans(k, n_init=4, random_state=0).fit(train.numpy())
    return tuple(torch.from_numpy(made.predict(x.numpy())).long() for x in (train, *others))


def copying(train: Tensor, test: Tensor, fake: Tensor) -> tuple[float | None, int, int]:
    """Return (C_T, cells that it is of, all cells); C_T is None where no cell has enough samples.

    C_T is the mean of Z_U over the cells, weighted by their fractions of the test split (section 3.2).

    Args:
        train, test, fake: (l, d), (n, d) and (m, d) features.

    Raises:
        UsageError: where they are unfit.
    """
    sides = ((train, "training features"), (test, "test features"), (fake, "generated features"))
    train, test, fake = (check_features(x, what) for x, what in sides)
    k = max(1, min(CELLS, len(test) // TEST, len(train)))
    scores = cell_scores(train, test, fake, k_means(train, k, test, fake))
    if not scores:
        return None, 0, k
    weights = sum(weight for weight, _ in scores.values())
    return sum(weight * score for weight, score in scores.values()) / weights, len(scores), k


# -- as a registered metric


def copying_column(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the column `C_T[extractor]` of all samples; never ranked, because 0 is best."""
    column = ctx.column("C_T")
    value, used, k = copying(ctx.train.values, ctx.test.values, ctx.generated.values)
    if value is None:
        return {column: NotApplicable(reason=f"no cell has more than {SAMPLES} samples and a test example")}
    note = (
        f"{used} of {k} cells of k-means, {len(ctx.generated):,} samples and {len(ctx.test):,} test examples "
        f"by their nearest of {len(ctx.train):,} training examples"
    )
    return {column: Value(value=value, n=len(ctx.generated), note=note)}
