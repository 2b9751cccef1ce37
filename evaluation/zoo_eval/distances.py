"""Kernel distance of features, and the Inception Score by torchmetrics, with the checks, seeds and intervals
that a library leaves to its caller.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.seeds import generator
from zoo_eval.features import Features, check_features
from zoo_eval.frechet import check_pair
from zoo_eval.identity import LOCAL, Identity, repeatable
from zoo_eval.intervals import interval

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
    real, fake = check_pair(real, fake, subset_size, centre=False)
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


def divergences(logits: Tensor) -> Tensor:
    """Return KL(p(y|x) || p(y)) of each row in nats, (n,) float64, with p(y) their mean."""
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    # A probability that underflows to zero in every row makes 0 * (log 0 - log 0); e^-700 does not.
    return (p * (log_p - p.mean(0).clamp_min(math.exp(-700)).log())).sum(1)


def inception_score(logits: Tensor, *, splits: int = 10) -> tuple[float, float | None]:
    """Return exp(E KL(p(y|x) || p(y))), averaged over random splits, and its standard deviation over them.

    Salimans et al. 2016, arXiv:1606.03498, section 4, through torchmetrics. From 1 to the number of classes.

    Args:
        logits: (n, K), K at least 2; n at least `splits`.

    Raises:
        UsageError: where the logits are unfit, of one class, or fewer than the splits.
    """
    from torchmetrics.image.inception import InceptionScore

    logits = check_features(logits, "logits", splits)
    if logits.shape[1] < 2:
        raise UsageError("an Inception Score from a classifier of one class", "expected: at least 2 classes")
    # A probability that underflows to zero in every row makes 0 * (log 0 - log 0); e^-700 does not.
    logits = (logits - logits.amax(1, keepdim=True)).clamp_min(-700)
    with repeatable():
        metric = InceptionScore(Identity(logits.shape[1]), splits=splits, **LOCAL)
        metric.update(logits)
        mean, spread = metric.compute()
    return float(mean), None if math.isnan(float(spread)) else float(spread)


# -- as registered metrics


def kernel_influence(within: Tensor, across: Tensor) -> Tensor:
    """Return what each generated sample moves a squared MMD by, (n,): 2 (E k(y, Y) - E k(y, X)).

    Args:
        within: (n, n) kernel among generated samples; its diagonal is left out.
        across: (n, m) kernel of generated with real samples.
    """
    n = len(within)
    return 2 * ((within.sum(1) - within.diagonal()) / (n - 1) - across.mean(1))


def kernel(real: Features, fake: Features) -> dict[str, Any]:
    """Return the column `KD[extractor]`, or `KID`, with its interval."""
    settings = fake.protocol
    size = settings.kid_subset_size
    mean, spread = kernel_distance(real.values, fake.values, subsets=settings.kid_subsets, subset_size=size)
    some = [
        x.values[torch.randperm(len(x), generator=generator(0, "kernel", k))[:INFLUENTIAL]]
        for k, x in enumerate((real, fake))
    ]
    moved = kernel_influence(polynomial_kernel(some[1], some[1]), polynomial_kernel(some[1], some[0]))
    cell = interval(mean, moved, n=len(fake))
    # What the choice of subsets adds to what the choice of samples moves.
    chance = 1.96 * spread / settings.kid_subsets**0.5
    low, high = (math.hypot(cell[end] - mean, chance) for end in ("low", "high"))
    return {fake.column("KD"): {"value": mean, "low": mean - low, "high": mean + high, "subset_std": spread}}


def inception(real: Features, fake: Features) -> dict[str, Any]:
    """Return the column `IS[extractor]` with its interval; why there is none where the extractor is no
    classifier."""
    if fake.logits is None:
        return {fake.column("IS"): f"{fake.protocol.extractor} is no classifier"}
    if fake.logits.shape[1] < 2:
        return {fake.column("IS"): f"{fake.protocol.extractor} knows one class"}
    mean, spread = inception_score(fake.logits, splits=fake.protocol.is_splits)
    cell = interval(mean, mean * divergences(fake.logits), least=1.0, most=float(fake.logits.shape[1]))
    return {fake.column("IS"): cell | ({} if spread is None else {"split_std": spread})}
