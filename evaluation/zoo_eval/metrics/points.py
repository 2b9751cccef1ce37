"""Distances between sets of points themselves, with no network between: sliced Wasserstein and maximum mean
discrepancy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo_core.interfaces import EvalContext
from zoo_core.results import Interval, NotApplicable, Value
from zoo_core.seeds import generator
from zoo_eval.features import arithmetic_device, check_features
from zoo_eval.metrics.kernel import kernel_influence
from zoo_eval.statistics.intervals import interval, squared_distance_interval

PROJECTIONS = 128


def directions(dim: int, count: int = PROJECTIONS) -> Tensor:
    """Return unit vectors (count, dim) float64, the same at every call: evenly turned in the plane."""
    if dim == 2:
        angle = math.pi * torch.arange(count, dtype=torch.float64) / count
        return torch.stack((angle.cos(), angle.sin()), 1)
    drawn = torch.randn(count, dim, generator=generator(0, "directions"), dtype=torch.float64)
    return drawn / drawn.norm(dim=1, keepdim=True)


def transport(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared Wasserstein-2 distance of two samples of the line, and each y's influence on it.

    The optimal plan pairs equal quantiles, so the distance is an integral over pieces of the unit interval
    on which both quantile functions are constant: exact for samples of different sizes. Peyre and Cuturi
    2019, arXiv:1803.00567, remark 2.30. The influence is Kantorovich's potential; its slope is 2 (y - T(y)).

    Args:
        x: (n, p) and y: (m, p) float64: p samples side by side.

    Returns:
        (p,) and (m, p).
    """
    x, _ = x.sort(0)
    ordered, order = y.sort(0)
    n, m = len(x), len(y)
    ends = (x.new_ones(n, dtype=torch.int64).cumsum(0) * m, x.new_ones(m, dtype=torch.int64).cumsum(0) * n)
    edges = torch.cat(ends).unique()  # over n m
    width = edges.diff(prepend=edges.new_zeros(1)).double() / (n * m)
    of_x, of_y = (edges - 1) // m, (edges - 1) // n
    squared = (width[:, None] * (x[of_x] - ordered[of_y]).square()).sum(0)
    goal = torch.zeros_like(ordered).index_add_(0, of_y, width[:, None] * x[of_x]) * m  # T(y), averaged
    slope = 2 * (ordered - goal)
    steps = ordered.diff(dim=0) * (slope[1:] + slope[:-1]) / 2
    potential = torch.cat((torch.zeros_like(ordered[:1]), steps.cumsum(0)))
    return squared, torch.empty_like(potential).scatter_(0, order, potential)


def sliced_wasserstein(real: Tensor, fake: Tensor) -> tuple[float, Tensor]:
    """Return the sliced Wasserstein-2 distance and each generated point's influence on it, (m,).

    The root of the mean squared distance over `PROJECTIONS` directions; Bonneel et al. 2015, J. Math. Imaging
    Vis. 51, Definition 8.

    Args:
        real, fake: (n, D) and (m, D), float32 or float64.
    """
    real = check_features(real, "real points")
    fake = check_features(fake, "generated points")
    lines = directions(real.shape[1]).to(real.device)
    squared, potential = transport(real @ lines.T, fake @ lines.T)
    value = float(squared.mean().sqrt())
    return value, potential.mean(1) / (2 * max(value, 1e-12))


def bandwidth(real: Tensor) -> float:
    """Return the median distance between two of the first 1,000 points: the usual width of the kernel."""
    return float(torch.pdist(real[:1000].double()).median())


def squared_mmd(real: Tensor, fake: Tensor, width: float) -> Value:
    """Return the unbiased squared MMD with k = exp(-|x - y|^2 / (2 width^2)), with its 95 % interval.

    Gretton et al. 2012, JMLR 13, Eq. 3; being unbiased, it may be negative. It estimates, up to a constant of
    the real points, d^2 = |m - mu|^2: their mean embedding m is given, and that of the samples' law is mu. By
    Hoeffding's decomposition (1948, Ann. Math. Stat. 19) its variance has a linear term, 4 / n times that of
    E k(y, Y) - E k(y, X), which is proportional to d^2, and a degenerate one, 2 / (n (n - 1)) times that of
    the centered kernel, which is all that is left where the laws are equal.

    Args:
        real, fake: (m, D) and (n, D), float32 or float64; n at least 2.
        width: standard deviation of the kernel.
    """
    real = check_features(real, "real points")
    fake = check_features(fake, "generated points")
    n = len(fake)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return torch.cdist(x, y).square_().div_(-2 * width**2).exp_()

    def mean_off_diagonal(k: Tensor) -> float:
        return float(k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))

    own = mean_off_diagonal(kernel(real, real))
    within, across = kernel(fake, fake), kernel(fake, real)
    theirs = mean_off_diagonal(within)
    value = own + theirs - 2 * float(across.mean())
    constant = (1 - own) / len(real)  # |m|^2 holds the diagonal
    linear = float(kernel_influence(within, across).var(correction=0)) / n
    centered = centered_(within)
    degenerate = 2 * float(centered.square_().sum()) / (n * (n - 1)) ** 2
    biased = value + constant + (1 - theirs) / n  # |m - the samples' own mean embedding|^2, above 0
    found = squared_distance_interval(value + constant, degenerate, linear / max(biased, 1e-30))
    low, high = (end - constant for end in (found.low, found.high))
    return Value(value=value, interval=Interval(low=min(value, low), high=max(value, high)), n=n)


def centered_(kernel: Tensor) -> Tensor:
    """Return a kernel among n samples without its means by row and by column, in place; its diagonal is 0."""
    kernel.fill_diagonal_(0)
    rows = kernel.sum(1) / (len(kernel) - 1)
    kernel.sub_(rows[:, None]).sub_(rows[None]).add_(rows.mean())
    return kernel.fill_diagonal_(0)


# -- as a registered metric


def points(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the columns SW (sliced Wasserstein) and MMD (squared, unbiased) of points; none for images."""
    real, fake = ctx.train.points, ctx.generated.points
    if real is None or fake is None:
        return {}
    on = arithmetic_device(ctx.device)
    real, fake = real.to(on), fake.to(on)
    distance, moved = sliced_wasserstein(real, fake)
    n = ctx.protocol.neighbors_n
    rows = torch.randperm(len(real), generator=generator(0, "mmd"))[:n]
    return {
        "SW": interval(distance, moved, least=0.0),
        "MMD": squared_mmd(real[rows], fake[:n], bandwidth(real)),
    }
