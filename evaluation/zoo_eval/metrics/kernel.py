"""Kernel distance of features, with its checks, seeds and interval."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.interfaces import EvalContext
from zoo_core.results import Interval, NotApplicable, Value
from zoo_core.seeds import generator
from zoo_eval.features import arithmetic_device
from zoo_eval.metrics.frechet import check_pair
from zoo_eval.metrics.identity import repeatable
from zoo_eval.statistics.intervals import interval

INFLUENTIAL = 2000
"""Samples a side that a kernel's interval is told from: enough for a variance."""


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return (x.y / d + 1)^3, (n, m)."""
    return (x @ y.T / x.shape[1] + 1).pow_(3)


def kernel_distance(
    real: Tensor, fake: Tensor, *, subsets: int = 100, subset_size: int = 1000
) -> tuple[float, float]:
    """Return (mean, standard deviation over subsets) of the unbiased squared MMD with k = (x.y / d + 1)^3.

    Binkowski et al. 2018, arXiv:1801.01401, section 4. Being unbiased, it may be negative. The subsets and
    the figure are those of torchmetrics at the same seed, which computes each pair anew in every subset.

    Args:
        real, fake: (n, d) features, n at least `subset_size`.

    Raises:
        UsageError: where the features are unfit or too few for a subset.
    """
    if subset_size < 2:
        raise UsageError(f"a kernel distance over subsets of {subset_size}", "expected: at least 2")
    real, fake = check_pair(real, fake, subset_size, center=False)
    # Many large subsets of a small set cost more than all of its pairs, once.
    once = max(len(real), len(fake)) ** 2 <= subsets * subset_size**2
    tables = [polynomial_kernel(x, y) for x, y in ((real, real), (fake, fake), (real, fake))] if once else []
    pairs = subset_size * (subset_size - 1)
    found = torch.empty(subsets, dtype=torch.float64)
    with repeatable():
        for k in range(subsets):
            i, j = (torch.randperm(len(x))[:subset_size] for x in (real, fake))
            if once:
                own = [table[rows[:, None], rows] for table, rows in zip(tables, (i, j), strict=False)]
                across = tables[2][i[:, None], j]
            else:
                own = [polynomial_kernel(x, x) for x in (real[i], fake[j])]
                across = polynomial_kernel(real[i], fake[j])
            found[k] = sum((table.sum() - table.trace()) / pairs for table in own) - 2 * across.mean()
    return float(found.mean()), float(found.std(correction=0))


# -- as a registered metric


def kernel_influence(within: Tensor, across: Tensor) -> Tensor:
    """Return what each generated sample moves a squared MMD by, (n,): 2 (E k(y, Y) - E k(y, X)).

    Args:
        within: (n, n) kernel among generated samples; its diagonal is left out.
        across: (n, m) kernel of generated with real samples.
    """
    n = len(within)
    return 2 * ((within.sum(1) - within.diagonal()) / (n - 1) - across.mean(1))


def kernel(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the column `KD[extractor]`, or `KID`, with its interval."""
    settings = ctx.protocol
    size = settings.kid_subset_size
    on = arithmetic_device(ctx.device)
    sets = (ctx.train.values.to(on), ctx.generated.values.to(on))
    mean, spread = kernel_distance(*sets, subsets=settings.kid_subsets, subset_size=size)
    some = [
        x[torch.randperm(len(x), generator=generator(0, "kernel", k))[:INFLUENTIAL]]
        for k, x in enumerate(sets)
    ]
    moved = kernel_influence(polynomial_kernel(some[1], some[1]), polynomial_kernel(some[1], some[0]))
    found = interval(mean, moved, n=len(sets[1]))
    assert found.interval is not None
    # What the choice of subsets adds to what the choice of samples moves.
    chance = 1.96 * spread / settings.kid_subsets**0.5
    low, high = (math.hypot(end - mean, chance) for end in (found.interval.low, found.interval.high))
    ends = Interval(low=mean - low, high=mean + high)
    note = f"standard deviation over subsets {spread:.4g}"
    return {ctx.column("KD"): Value(value=mean, interval=ends, n=len(sets[1]), note=note)}
