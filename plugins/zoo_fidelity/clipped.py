"""Clipped density and clipped coverage (Salvy, Talbot and Thirion 2025, arXiv:2507.01761).

Both look at the balls around real examples that hold the k nearest other ones, as density and coverage do.
No example counts for more than k of these balls, and no ball for more than k samples; for density, no ball is
wider than the median one. Both values are calibrated: they are about p if a fraction p of the samples is good
and the others are far away.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_core.interfaces import EvalContext
from zoo_core.results import Interval, NotApplicable, Value
from zoo_core.seeds import generator
from zoo_eval.features import check_features
from zoo_eval.metrics.prdc import inside, squared_distances, squared_radii
from zoo_eval.statistics.intervals import interval


def clipped_radii(real: Tensor, k: int) -> Tensor:
    """Return squared radii of balls, (m,): to the k-th nearest other row, at most the median of these."""
    (squared,) = squared_radii(real, (k,))
    radius = squared.sqrt()
    median = radius.quantile(0.5)
    return torch.where(radius <= median, squared, median.square())


def balls_of(x: Tensor, real: Tensor, squared_radius: Tensor) -> Tensor:
    """Return in how many balls around rows of real each row of x lies, (n,) int64."""
    parts = [
        inside(block, squared_radius, x[rows], real).sum(1) for rows, block in squared_distances(x, real)
    ]
    return torch.cat(parts)


def density_contributions(real: Tensor, fake: Tensor, k: int) -> Tensor:
    """Return what each sample contributes to clipped density before the mean is cut at 1, (n,) float64.

    A sample contributes the number of balls that it lies in over k, at most 1; all are divided by the mean of
    that over the real examples, each without its own ball.

    Args:
        real, fake: (m, d) and (n, d) float64, m > k.
        k: neighbors of a ball.
    """
    radius = clipped_radii(real, k)
    generated, others = balls_of(fake, real, radius), balls_of(real, real, radius) - 1
    ideal = (others.double() / k).clamp_max(1).mean()
    # Every ball holds its nearest neighbors at least where half of the radii are not clipped: ideal > 0.
    return (generated.double() / k).clamp_max(1) / ideal


def clipped_density(real: Tensor, fake: Tensor, k: int = 5) -> Value:
    """Return clipped density with its interval over other samples.

    Args:
        real, fake: (m, d) and (n, d) features.
        k: neighbors of a ball.

    Raises:
        UsageError: where the features are unfit, or fewer than the neighbors.
    """
    real, fake = _checked(real, fake, k)
    each = density_contributions(real, fake, k)
    found = interval(float(each.mean()), each, least=0.0)
    assert found.interval is not None
    ends = Interval(low=min(1.0, found.interval.low), high=min(1.0, found.interval.high))
    return Value(value=min(1.0, found.value), interval=ends, n=len(fake))


def expected_coverage(real: int, fake: int, k: int) -> Tensor:
    """Return the expected clipped count of a ball over k for 0 to `fake` good samples, (fake + 1,) float64.

    A ball holds the k nearest of real - 1 others, so its probability is Beta(k, real - k) distributed,
    whatever the distribution of the data. The number J of m good samples in it is then beta-binomial, and the
    expectation is that of min(J, k) / k. It is 0 for fewer than k good samples, as the authors have it.
    """
    m, j = torch.arange(k, fake + 1, dtype=torch.float64)[:, None], torch.arange(k, dtype=torch.float64)
    ways = torch.lgamma(m + 1) - torch.lgamma(j + 1) - torch.lgamma(m - j + 1)
    few = (ways + _log_beta(k + j, real - k + m - j) - _log_beta(torch.tensor(float(k)), real - k)).exp()
    return torch.cat((torch.zeros(min(k, fake + 1), dtype=torch.float64), 1 - few @ (1 - j / k)))


def _log_beta(a: Tensor, b: Tensor | float) -> Tensor:
    b = torch.as_tensor(b, dtype=torch.float64)
    a = a.double()
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def equivalent_fraction(mean: float, expected: Tensor) -> float:
    """Return the smallest fraction of good samples whose expected mean is at least `mean`; 1 without one."""
    place = int(torch.searchsorted(expected, torch.tensor(mean, dtype=torch.float64)))
    return place / len(expected)


def clipped_coverage(real: Tensor, fake: Tensor, k: int = 5) -> Value:
    """Return clipped coverage with its interval over other samples.

    The mean over real examples of the number of samples in their ball, at most k, over k; and of that the
    fraction of good samples that has it in expectation. The interval is that of the mean, by what leaving a
    sample out moves it, put through the same function.

    Args, raises: as `clipped_density`.
    """
    real, fake = _checked(real, fake, k)
    (radius,) = squared_radii(real, (k,))
    count = torch.zeros(len(real), dtype=torch.int64)
    for rows, block in squared_distances(fake, real):
        count += inside(block, radius, fake[rows], real).sum(0)
    mean = float((count.double() / k).clamp_max(1).mean())
    needed = count <= k  # a sample in a fuller ball can be left out
    moved = balls_of(fake, real[needed], radius[needed]) if needed.any() else torch.zeros(len(fake))
    found = interval(mean, moved.double() * len(fake) / (len(real) * k), least=0.0, most=1.0)
    assert found.interval is not None
    expected = expected_coverage(len(real), len(fake), k)
    value, low, high = (
        equivalent_fraction(y, expected) for y in (mean, found.interval.low, found.interval.high)
    )
    return Value(value=value, interval=Interval(low=low, high=high), n=len(fake))


def _checked(real: Tensor, fake: Tensor, k: int) -> tuple[Tensor, Tensor]:
    return check_features(real, "real features", k + 1), check_features(fake, "generated features", k)


# -- as registered metrics


def _sides(ctx: EvalContext) -> tuple[Tensor, Tensor, str]:
    """Return as many features of each side, and the note that names their number and the neighbors."""
    n = ctx.protocol.neighbors_n
    rows = torch.randperm(len(ctx.train), generator=generator(0, "neighbors"))[:n]
    real, fake = ctx.train.values[rows], ctx.generated.values[:n]
    note = f"k={ctx.protocol.density_k}, {len(fake):,} samples, {len(real):,} of the training split"
    return real, fake, note


def density_column(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the column `clipped-density[extractor]`."""
    real, fake, note = _sides(ctx)
    found = clipped_density(real, fake, ctx.protocol.density_k)
    return {ctx.column("clipped-density"): found.noted(note)}


def coverage_column(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the column `clipped-coverage[extractor]`."""
    real, fake, note = _sides(ctx)
    found = clipped_coverage(real, fake, ctx.protocol.density_k)
    return {ctx.column("clipped-coverage"): found.noted(note)}
