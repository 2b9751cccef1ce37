"""The Frechet distance of two sets of features: its value by torchmetrics, and what no library offers: its
interval, and its limit for many samples.

For these two the distance is taken apart. With covariances S1 = A'A and S2 = B'B, tr (S1 S2)^(1/2) is the
nuclear norm of A B', for any such A and B: for a triangular factor where there are more samples than
features, for the centered samples where there are fewer. No root of a product is taken, and a singular
covariance needs no added diagonal. All in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.interfaces import EvalContext
from zoo_core.results import NotApplicable, Value
from zoo_core.seeds import generator
from zoo_eval.features import arithmetic_device, check_features
from zoo_eval.metrics.identity import LOCAL, Identity
from zoo_eval.statistics.extrapolation import BLOCKS, Limit, extrapolate
from zoo_eval.statistics.intervals import interval, normal_interval

LEAST_RATIO = 4
"""Samples per feature below which no limit for infinitely many samples is computed."""
RANKED_RATIO = 30
"""Samples per feature from which on the limit is ranked: below, higher terms of its bias remain."""
PARTS = 5
"""Parts of the training split, as large as the test split, whose distances are averaged."""
_SVD = 1024
_RANK = 1e-13


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of a set, as the distance needs them.

    Attributes:
        n: samples.
        mean: (d,) float64.
        factor: (r, d) with factor' factor = covariance, whose denominator is n - 1.
        inverse: (d, r), the factor's pseudo-inverse; None where the factor is of the samples themselves.
    """

    n: int
    mean: Tensor
    factor: Tensor
    inverse: Tensor | None

    @property
    def trace(self) -> float:
        """Of the covariance."""
        return float(self.factor.square().sum())


def moments(features: Tensor) -> Moments:
    """Return the moments of (n, d) float64 features, n at least 2; two passes, so nothing cancels."""
    n, d = features.shape
    mean = features.mean(0)
    centered = (features - mean) / (n - 1) ** 0.5
    if n <= d:
        return Moments(n, mean, centered, None)
    covariance = centered.T @ centered
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed) == 0 and float(lower.diagonal().min()) > _RANK**0.5 * float(lower.diagonal().max()):
        eye = mean.new_ones(d).diag()
        return Moments(n, mean, lower.T, torch.linalg.solve_triangular(lower.T, eye, upper=True))
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > _RANK * max(float(values[-1]), 1e-300)
    root, axes = values[kept].sqrt(), vectors[:, kept]
    return Moments(n, mean, root[:, None] * axes.T, axes / root)


def distance(real: Moments, fake: Moments) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), never below 0."""
    product = real.factor @ fake.factor.T
    if min(product.shape) == 0:
        root = 0.0
    elif min(product.shape) <= _SVD:
        root = float(torch.linalg.svdvals(product).sum())
    else:  # a quarter of the time; its errors, of 1e-8 of the largest, are of no weight among so many
        small = product if product.shape[0] <= product.shape[1] else product.T
        root = float(torch.linalg.eigvalsh(small @ small.T).clamp_min(0).sqrt().sum())
    shift = float((real.mean - fake.mean).square().sum())
    return max(0.0, shift + real.trace + fake.trace - 2 * root)


def influence(real: Moments, fake: Moments, features: Tensor) -> Tensor | None:
    """Return what each generated sample moves the distance by, (n,); None where a covariance is singular for
    want of samples.

    With T = the symmetric map that carries the fake covariance onto the real one (T S2 T = S1), the distance
    moves by 2 (m2 - m1)'y + y'(1 - T) y for y = x - m2: the gradient of Eq. 6 of arXiv:1706.08500.

    Args:
        real, fake: moments.
        features: (n, d) float64, of which `fake` are the moments.
    """
    if fake.inverse is None or real.inverse is None:
        return None
    y = features - fake.mean
    linear = 2 * (y @ (fake.mean - real.mean)) + y.square().sum(1)
    product = real.factor @ fake.factor.T
    squares, right = torch.linalg.eigh(product.T @ product)
    kept = squares > _RANK * max(float(squares[-1]), 1e-300)
    right, sigma = right[:, kept], squares[kept].sqrt()
    left = product @ right / sigma
    carried = (y @ real.factor.T @ left) * (y @ fake.inverse @ right)
    return linear - carried.sum(1)


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of two sets of features, through torchmetrics.

    Heusel et al. 2017, arXiv:1706.08500, Eq. 6; covariances have n - 1 in their denominator.

    Args:
        real, fake: (n, d) float32 or float64; at least 2 rows each.

    Raises:
        UsageError: where the features are unfit (see `check_features`).
    """
    return _value(*check_pair(real, fake))


def _value(real: Tensor, fake: Tensor, known: Moments | None = None) -> float:
    """Return the distance of two sets that `check_pair` has passed: near 0, so that no digits cancel.

    With fewer samples than features both covariances are singular: the roots of their product's eigenvalues,
    as torchmetrics takes them, are then mostly roots of rounding errors, and cost most of what scoring costs.
    On a GPU the eigenvalues of a matrix that is not symmetric, which torchmetrics takes, are slow.
    """
    if max(len(real), len(fake)) <= real.shape[1] or real.device.type != "cpu":
        return distance(known or moments(real), moments(fake))
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=Identity(real.shape[1]), **LOCAL).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return max(0.0, float(metric.compute()))  # equal sets come out a rounding error below zero


def check_pair(real: Tensor, fake: Tensor, need: int = 2, *, center: bool = True) -> tuple[Tensor, Tensor]:
    """Return both sets in float64, once they are fit and of one extractor.

    Args:
        real, fake: (n, d) float32 or float64.
        need: rows of each.
        center: move both so that the real mean is 0, where only differences matter.

    Raises:
        UsageError: where they are not.
    """
    real = check_features(real, "real features", need)
    fake = check_features(fake, "generated features", need)
    if real.shape[1] != fake.shape[1]:
        raise UsageError(
            f"real features have {real.shape[1]} dimensions and generated ones {fake.shape[1]}",
            "expected: features of one extractor",
        )
    origin = real.mean(0) if center else 0
    return real - origin, fake - origin


def at_infinity(real: Moments, fake: Tensor) -> Limit | None:
    """Return the distance of infinitely many samples to the same reference; None for too few.

    Args:
        real: moments of the reference.
        fake: (n, d) float64; n at least `LEAST_RATIO` d, so that halves have a regular covariance.
    """
    n, d = fake.shape
    if n < max(LEAST_RATIO * d, 2 * BLOCKS):
        return None
    moved = influence(real, moments(fake), fake)
    if moved is None:
        return None
    order = torch.randperm(n, generator=generator(0, "limit"))
    return extrapolate(
        lambda rows: distance(real, moments(fake[rows])),
        order,
        float(moved.var()) / n,
        quarters=n >= 2 * LEAST_RATIO * d,
    )


# -- as registered metrics


def cell(real: Tensor, fake: Tensor, known: Moments | None = None) -> Value:
    """Return the distance with its interval; unranked and without one where samples are fewer than features.

    Args:
        real, fake: as `check_pair` returns them.
        known: moments of `real`; None where they are not known yet.
    """
    value = _value(real, fake, known)
    n, d = min(len(real), len(fake)), fake.shape[1]
    if n <= d:
        why = f"{n:,} examples for {d:,} features: the covariance is singular"
        return Value(value=value, n=len(fake), unranked=why)
    moved = influence(known or moments(real), moments(fake), fake)
    assert moved is not None
    return interval(value, moved, least=0.0)


def frechet(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the columns `FD[extractor]`, or `FID`, and the same at infinity, with their intervals.

    A distance of fewer samples than features is never ranked, and has no interval. Where the extractor has
    axes, these are on the axes, and `FD-full[extractor]` is of all features.
    """
    real, fake = ctx.train, ctx.generated
    one, two = pair_on_device(ctx, real.main, fake.main)
    known = moments(one)
    found = {ctx.column("FD"): cell(one, two, known), ctx.column("FD-inf"): limit_cell(one, two, known)}
    if real.main is not real.values:
        found[ctx.column("FD-full")] = cell(*pair_on_device(ctx, real.values, fake.values))
    return found


def pair_on_device(ctx: EvalContext, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `check_pair` does, on the run's device."""
    on = arithmetic_device(ctx.device)
    return check_pair(real.to(on), fake.to(on))


def limit_cell(real: Tensor, fake: Tensor, known: Moments | None = None) -> Value | NotApplicable:
    """Return the distance of infinitely many samples, with an interval where it is ranked.

    Args:
        real, fake: as `check_pair` returns them.
        known: moments of `real`; None where they are not known yet.
    """
    n, d = fake.shape
    limit = at_infinity(known or moments(real), fake)
    if limit is None:
        need = f"{LEAST_RATIO * d:,} samples and more than {d:,} real examples"
        return NotApplicable(reason=f"{d:,} features need {need}; there are {n:,} and {len(real):,}")
    if n < RANKED_RATIO * d:
        least = f"{RANKED_RATIO * d:,} samples, {RANKED_RATIO} per feature"
        why = f"{n:,} samples for {d:,} features: the extrapolation is biased below {least}"
        return Value(value=limit.value, n=n, unranked=why)
    ends = normal_interval(limit.value, limit.standard_error)
    return Value(value=limit.value, interval=ends, standard_error=limit.standard_error, n=n)


def to_test(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the Frechet distance to the test split, and by how much equal parts of train are nearer.

    The distance to a smaller reference is larger for its size alone; a part of the training split that is as
    large as the test split has the same excess. What is left, the generalization gap, is 0 for a model that
    is as near to new examples as to those that it was trained on. All are shown and never ranked.
    """
    test, fake = pair_on_device(ctx, ctx.test.main, ctx.generated.main)
    known = moments(test)
    found = {ctx.column("FD to test"): cell(test, fake, known)}
    gap = ctx.column("generalization gap")
    sizes, tables = (len(ctx.train), len(ctx.test)), (ctx.data.train, ctx.data.test)
    whole = sizes == tuple(map(len, tables))  # features of a part of a split have no labels here
    parts = list(parts_like(*sizes, *((table.label if whole else None) for table in tables)))
    if not parts:
        counts = f"{len(ctx.train):,} training and {len(ctx.test):,} test examples"
        why = f"needs more training than test examples, of each class too; there are {counts}"
        return {**found, gap: NotApplicable(reason=why)}
    origin = ctx.test.main.to(test.device).double().mean(0)
    train = check_features(ctx.train.main.to(test.device), "real features", 2) - origin
    to_part, difference = generalization_gap([train[rows] for rows in parts], known, fake)
    return {**found, ctx.column("FD to train part"): to_part, gap: difference}


def parts_like(rows: int, size: int, labels: Tensor | None, others: Tensor | None) -> Iterator[Tensor]:
    """Yield the rows of `PARTS` random parts of a split, each with as many rows as another split.

    Where both have one class a row, a part has the other split's number of each class: test splits are often
    stratified, and a part that is not would be farther from the samples for its frequencies alone. Yields
    nothing where there are too few rows.

    Args:
        rows, size: rows of the split and of the other one.
        labels, others: their classes; None for none.
    """
    if labels is None or others is None or labels.ndim != 1:
        labels, others = torch.zeros(rows, dtype=torch.long), torch.zeros(size, dtype=torch.long)
    rng = generator(0, "parts")
    asked = [((labels == one).nonzero().flatten(), int((others == one).sum())) for one in others.unique()]
    if rows > size and all(len(own) >= count for own, count in asked):
        for _ in range(PARTS):
            chosen = [own[torch.randperm(len(own), generator=rng)[:count]] for own, count in asked]
            yield torch.cat(chosen)


def generalization_gap(parts: Sequence[Tensor], test: Moments, fake: Tensor) -> tuple[Value, Value]:
    """Return the mean distance to parts of the training split, and by how much the test split is farther.

    Args:
        parts: (k, d) float64 features of each part.
        test: moments of the test split's k features.
        fake: (n, d) float64 features of the samples.

    Returns:
        the distance to a part, mean over the parts; the gap, whose interval is over the samples and whose
        note gives what the choice of a part moves the distance by.
    """
    generated, real = moments(fake), [moments(part) for part in parts]
    each = torch.tensor([distance(part, generated) for part in real], dtype=torch.float64)
    mean = float(each.mean())
    value = distance(test, generated) - mean
    spread = f"standard deviation of their distances: {float(each.std()):.3g}"
    note = f"{len(parts)} parts of {test.n:,} training examples; {spread}"
    moved = [one for one in (influence(part, generated, fake) for part in (test, *real)) if one is not None]
    if len(moved) <= len(parts):
        return Value(value=mean, n=len(fake)), Value(value=value, n=len(fake), note=note)
    of_parts = torch.stack(moved[1:]).mean(0)
    return interval(mean, of_parts, least=0.0), interval(value, moved[0] - of_parts, note=note)


def spatial(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the column `sFD[extractor]`, or `sFID`: the distance of features that keep their position.

    Nash et al. 2021, arXiv:2103.03841: the first 7 channels of an early map, for Inception its 17 x 17 ones.
    """
    real, fake = ctx.train.spatial, ctx.generated.spatial
    if real is None or fake is None:
        why = f"{ctx.protocol.extractor} has no spatial features"
        return {ctx.column("sFD"): NotApplicable(reason=why)}
    return {ctx.column("sFD"): cell(*pair_on_device(ctx, real, fake))}


def noise_floor(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the expected distance of as many new real examples: `noise floor[FD[extractor]]`."""
    on = arithmetic_device(ctx.device)
    floor = expected_floor(ctx.train.main.to(on), ctx.test.main.to(on), ctx.protocol.n_generated)
    note = f"test split to training split: {floor.measured:.6g}"
    return {f"noise floor[{ctx.column('FD')}]": Value(value=floor.value, n=len(ctx.test), note=note)}


class Floor(NamedTuple):
    """The expected distance of new real examples.

    Attributes:
        value: of as many as there are samples.
        measured: distance of the test split to the training split.
    """

    value: float
    measured: float


def expected_floor(train: Tensor, test: Tensor, n: int) -> Floor:
    """Return the distance that n new real examples are expected to have to the training split.

    The distance is biased by c (1/n + 1/m). It is measured on n test examples; where there are fewer, c comes
    from their distance.

    Args:
        train, test: (m, d) and (k, d) features of the splits.
        n: samples.
    """
    measured = frechet_distance(train, test)
    value, k = measured, min(n, len(test))
    if k < len(test):
        rows = torch.randperm(len(test), generator=generator(0, "floor"))[:k]
        value = frechet_distance(train, test[rows])
    return Floor(value * (1 / n + 1 / len(train)) / (1 / k + 1 / len(train)), measured)
