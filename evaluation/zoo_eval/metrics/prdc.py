"""Precision, recall, density and coverage: which features lie in whose neighborhoods.

Kynkaanniemi et al. 2019, arXiv:1904.06991, Eqs. 1 and 2; Naeem et al. 2020, arXiv:2002.09797, Eqs. 3 and 4.
A neighborhood is a closed ball: images at a distance of its radius, as repeated rows have it, lie in it.
Distances are computed in blocks, so memory does not grow with the square of the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.interfaces import EvalContext
from zoo_core.results import NotApplicable, Value
from zoo_core.seeds import generator
from zoo_eval.features import arithmetic_device, check_features
from zoo_eval.statistics.intervals import fraction, interval, score_interval

SPLITS = 30
"""Random splits into two half-samples, from which the intervals of recall and coverage come."""
LARGEST = 1000
"""Images per side that are split; of more, as many at random, and the variance is scaled."""
_BLOCK = 1024
_ROUNDING = 1e-11
"""Of the squared norms: distances that differ by less are computed again, without cancellation."""


def squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows of x, their squared distances to all of y) block by block, in the precision of x."""
    center = y.mean(0)  # the expansion below loses digits where points lie far from the origin
    x, y = x - center, y - center
    y_norm = y.square().sum(1)
    for start in range(0, len(x), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(x)))
        part = x[rows]
        block = torch.addmm(part.square().sum(1, keepdim=True) + y_norm, part, y.T, alpha=-2)
        yield rows, block.clamp_min_(0)


def exact_squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared distances of pairs of rows, (n,), from their differences: equal rows have 0."""
    parts = zip(x.split(_BLOCK), y.split(_BLOCK), strict=True)
    return torch.cat([(a - b).square().sum(1) for a, b in parts])


def squared_radii(x: Tensor, ks: tuple[int, ...]) -> list[Tensor]:
    """Return, for each k, each row's squared distance to its k-th nearest other row.

    Raises:
        UsageError: where there are no k other rows.
    """
    most = max(ks)
    if len(x) <= most:
        raise UsageError(f"{most} neighbors among {len(x)} images", f"expected: more than {most}")
    nearest = x.new_empty(len(x), most, dtype=torch.int64)
    for rows, block in squared_distances(x, x):
        block[torch.arange(len(block)), torch.arange(rows.start, rows.stop)] = -1  # itself: always first
        nearest[rows] = block.topk(most + 1, largest=False).indices[:, 1:]
    exact = exact_squared_distances(x.repeat_interleave(most, 0), x[nearest.flatten()])
    ordered = exact.view(len(x), most).sort(1).values
    return [ordered[:, k - 1].contiguous() for k in ks]


def inside(block: Tensor, squared_radius: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return which distances are at most a radius, (r, m) bool; rounding decides none of them.

    Args:
        block: (r, m) squared distances of the rows of x to those of y.
        squared_radius: (m,) of the rows of y, or (r, 1) of the rows of x.
        x, y: (r, d) and (m, d), whose pairs at a distance within rounding of the radius are computed again.
    """
    found = block <= squared_radius
    center = y.mean(0)
    size = (x - center).square().sum(1, keepdim=True) + (y - center).square().sum(1)
    i, j = ((block - squared_radius).abs_() <= _ROUNDING * size).nonzero(as_tuple=True)
    if len(i):
        found[i, j] = exact_squared_distances(x[i], y[j]) <= squared_radius.expand_as(block)[i, j]
    return found


@dataclass(frozen=True)
class Neighborhoods:
    """Which images lie in whose neighborhoods.

    Attributes:
        precise: (n,) whether a generated image lies in a real one's, of precision_k.
        recalled: (m,) whether a real image lies in a generated one's, of precision_k.
        within: (n,) in how many real ones', of density_k, a generated image lies.
        covered: (m,) whether a real one's, of density_k, holds a generated image.
        density_k: number of neighbors that `within` and `covered` are of.
    """

    precise: Tensor
    recalled: Tensor
    within: Tensor
    covered: Tensor
    density_k: int

    @property
    def contributions(self) -> dict[str, Tensor]:
        """The values whose means are the metrics, by metric."""
        return {
            "precision": self.precise.double(),
            "recall": self.recalled.double(),
            "density": self.within.double() / self.density_k,
            "coverage": self.covered.double(),
        }


def find(real: Tensor, fake: Tensor, *, precision_k: int = 3, density_k: int = 5) -> Neighborhoods:
    """Return which images lie in whose neighborhoods.

    Args:
        real, fake: (n, d) features, more rows than neighbors.
        precision_k: neighbors that make a neighborhood for precision and recall.
        density_k: likewise for density and coverage.

    Raises:
        UsageError: where the features are unfit, or fewer than the neighbors.
    """
    real = check_features(real, "real features", precision_k + 1)
    fake = check_features(fake, "generated features", precision_k + 1)
    narrow, wide = squared_radii(real, (precision_k, density_k))
    (own,) = squared_radii(fake, (precision_k,))
    precise = fake.new_empty(len(fake), dtype=torch.bool)
    within = fake.new_empty(len(fake), dtype=torch.int64)
    recalled = real.new_zeros(len(real), dtype=torch.bool)
    covered = real.new_zeros(len(real), dtype=torch.bool)
    for rows, block in squared_distances(fake, real):
        part = fake[rows]
        precise[rows] = inside(block, narrow, part, real).any(1)
        recalled |= inside(block, own[rows, None], part, real).any(0)
        dense = inside(block, wide, part, real)
        covered |= dense.any(0)
        within[rows] = dense.sum(1)
    return Neighborhoods(precise, recalled, within, covered, density_k)


def prdc(real: Tensor, fake: Tensor, *, precision_k: int = 3, density_k: int = 5) -> dict[str, float]:
    """Return precision, recall, density and coverage of generated features.

    precision: fraction of generated images within a real image's neighborhood; recall: fraction of real ones
    within a generated image's. density: neighborhoods of real images that a generated one lies in, over k
    (not bounded by 1); coverage: fraction of real neighborhoods that hold a generated image.

    Args, raises: as `find`.
    """
    found = find(real, fake, precision_k=precision_k, density_k=density_k)
    return {name: float(each.mean()) for name, each in found.contributions.items()}


def recall_and_coverage_variances(
    real: Tensor, fake: Tensor, means: Sequence[float], *, precision_k: int = 3, density_k: int = 5
) -> list[float]:
    """Return the variances of recall and coverage over other samples of the same model.

    They come from half-samples. Neighborhoods among half as many images are larger, so a half's coverage c'
    may differ from c, that of all, and its variance with it. What carries over is the design effect (Kish
    1965, Survey Sampling, section 8.2): the variance over that of a fraction of independent images. So the
    variance is the half's, times c (1 - c) / (c' (1 - c')), times the ratio of their numbers.

    Args:
        real, fake: (m, d) and (n, d) float64.
        means: recall and coverage of all images.
        precision_k, density_k: as in `find`; halves need more rows.
    """
    halves = half_samples(real, fake, precision_k=precision_k, density_k=density_k)
    n = min(len(fake), LARGEST) // 2
    found = []
    for mean, of_halves in zip(means, halves, strict=True):
        variance = float((of_halves[:, 0] - of_halves[:, 1]).square().mean()) / 2
        half = float(of_halves.mean())
        independent = half * (1 - half)
        found.append(variance * mean * (1 - mean) / independent * n / len(fake) if independent > 0 else 0.0)
    return found


def half_samples(
    real: Tensor, fake: Tensor, *, precision_k: int = 3, density_k: int = 5
) -> tuple[Tensor, Tensor]:
    """Return recall and coverage of both halves of the samples, each (2 SPLITS, 2).

    Both count real images, and what varies is the samples: one sample decides of several real images, so they
    are not independent. The samples are split into two halves at random, and the real images too: halves of
    both sets have neighborhoods with as many images in them as the whole sets. The halves of the samples are
    compared with the same half of the real images. No image is repeated, which would shrink the
    neighborhoods.

    Args: as `recall_and_coverage_variances`.
    """
    rng = generator(0, "half-samples")
    r, f = (x[torch.randperm(len(x), generator=rng)[:LARGEST]] for x in (real, fake))
    among_real, among_fake, between = _Nearest(r, density_k), _Nearest(f, precision_k), _dense(f, r)
    n, m = len(f) // 2, len(r) // 2
    recall, coverage = [], []
    for _ in range(SPLITS):
        samples = torch.randperm(len(f), generator=rng)[: 2 * n].split(n)
        images = torch.randperm(len(r), generator=rng)[: 2 * m].split(m)
        tables = [between[half] for half in samples]
        own = [among_fake.squared_radii(half) for half in samples]
        recalled = [(block - o[:, None]).amin(0) <= 0 for block, o in zip(tables, own, strict=True)]
        nearest = [block.amin(0) for block in tables]
        for half in images:
            wide = among_real.squared_radii(half)
            recall.append([float(one[half].double().mean()) for one in recalled])
            coverage.append([float((one[half] <= wide).double().mean()) for one in nearest])
    return torch.tensor(recall, dtype=torch.float64), torch.tensor(coverage, dtype=torch.float64)


class _Nearest:
    """The nearest other rows of each row, among which the k-th nearest of a half is looked up.

    Args:
        x: (n, d) float64.
        k: of the neighbor. 8 k + 40 are kept, each in a half with a probability of 1/2: fewer than k of them
            are in a half less than once in 10^11.
    """

    def __init__(self, x: Tensor, k: int) -> None:
        distances = _dense(x, x).fill_diagonal_(-1)
        nearest = distances.topk(min(len(x), 8 * k + 41), largest=False)
        self.k, self.distances, self.rows = k, nearest.values[:, 1:], nearest.indices[:, 1:]

    def squared_radii(self, half: Tensor) -> Tensor:
        """Return the squared distances of a half's rows to their k-th nearest others in it, (h,)."""
        member = self.rows.new_zeros(len(self.rows), dtype=torch.bool)
        member[half] = True
        counted = member[self.rows[half]].cumsum(1)
        place = (counted < self.k).sum(1).clamp_max(self.rows.shape[1] - 1)
        return self.distances[half].gather(1, place[:, None])[:, 0]


def _dense(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([block for _, block in squared_distances(x, y)])


def values(real: Tensor, fake: Tensor, *, precision_k: int = 3, density_k: int = 5) -> dict[str, Value]:
    """Return precision, recall, density and coverage with their intervals over other samples.

    Samples are independent, so precision is a fraction of n and density a mean of n numbers; for recall and
    coverage see `recall_and_coverage_variances`. They have no interval for fewer than 4 k images per side.

    Args, raises: as `find`.
    """
    found = find(real, fake, precision_k=precision_k, density_k=density_k)
    within, most = found.contributions["density"], max(precision_k, density_k)
    cells = {
        "precision": fraction(found.precise),
        "density": interval(float(within.mean()), within, least=0.0),
    }
    means = {name: float(found.contributions[name].mean()) for name in ("recall", "coverage")}
    smaller = min(len(real), len(fake))
    if smaller < 4 * most:
        return cells | {name: Value(value=mean, n=len(fake)) for name, mean in means.items()}
    variances = recall_and_coverage_variances(
        real.double(), fake.double(), list(means.values()), precision_k=precision_k, density_k=density_k
    )
    for (name, mean), variance in zip(means.items(), variances, strict=True):
        # At 0 and 1: a neighborhood with k images holds or misses about k real ones together.
        ends = score_interval(mean, variance, smaller / most)
        cells[name] = Value(value=mean, interval=ends, n=len(fake))
    return cells


# -- as a registered metric


def neighborhoods(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the columns precision, recall, density and coverage, from equally many images on each side."""
    settings = ctx.protocol
    n = settings.neighbors_n
    rows = torch.randperm(len(ctx.train), generator=generator(0, "neighbors"))[:n]
    on = arithmetic_device(ctx.device)
    found = values(
        ctx.train.values[rows].to(on),
        ctx.generated.values[:n].to(on),
        precision_k=settings.precision_k,
        density_k=settings.density_k,
    )
    return {ctx.column(name): found[name] for name in ("precision", "recall", "density", "coverage")}
