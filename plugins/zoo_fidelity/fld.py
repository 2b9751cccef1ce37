"""Feature likelihood divergence (Jiralerspong et al. 2023, arXiv:2302.04440).

A Gaussian is put around every sample, its width fitted to the training split, and the likelihood of the test
split under the mixture is compared with that of a mixture around training examples. Around a copy of a
training example the fitted width shrinks to nothing, and the test split becomes unlikely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.interfaces import EvalContext
from zoo_core.results import Interval, NotApplicable, Value
from zoo_core.seeds import generator
from zoo_eval.features import check_features
from zoo_eval.metrics.prdc import squared_distances

STEPS = 50
"""Most steps of Adam that the widths are fitted in."""
RATE = 0.5
"""Learning rate of Adam, for logarithms of variances."""
ENOUGH = 5e-4
"""Loss in nats per dimension: steps end where none of the last four moved it by as much."""
FEWEST = 6
"""Steps before that is asked."""
SOFTENED = 1e-3
"""Added to the squared distance that a width starts from, so that a copy has one."""
ORIGIN = 0.9**2
"""Factor of squared distances to the mean, around which the fit has one more Gaussian of weight 1."""
SMALLEST = -40.0
"""Least logarithm of a variance; the largest is 40."""
LEAST = -80.0
"""Logarithm of a share of the density below which it is rounded up: numbers near the least one are slow."""
LARGEST = 10_000.0
"""Larger values are cut: of copies, they only say how far the widths shrank in the last of the steps."""
SPLITS = 5
"""Random splits of the samples into halves, from which the interval comes."""
STUDENT = 2.571
"""Standard errors of half a 95 % interval, for a variance that is the mean of so many squares."""
SCALE = 100.0
"""Nats per dimension are reported times this, as in the paper."""
_BLOCK = 1024


def standardized(train: Tensor, test: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return features with mean 0 and variance 1 over the test split, without those constant there."""
    std, mean = torch.std_mean(test, 0)
    varies = std > 0
    if not bool(varies.any()):
        raise UsageError("the features of the test split are all equal", "expected: features that differ")
    train, test, fake = (((x - mean) / std)[:, varies] for x in (train, test, fake))
    return train, test, fake


@dataclass(frozen=True)
class Mixture:
    """Gaussians of equal weights.

    Attributes:
        centers: (m, d).
        log_variances: (m,) of each one, the same in all directions.
    """

    centers: Tensor
    log_variances: Tensor

    def log_terms(self, squared: Tensor) -> Tensor:
        """Return the logarithm of weight times density of Gaussians, (n, m), at squared distances (n, m)."""
        return log_normal(squared, self.log_variances, self.centers.shape[1]) - math.log(len(self.centers))

    def nats(self, x: Tensor) -> float:
        """Return the mean negative log-likelihood of rows, (n, d), per dimension."""
        total = 0.0
        for _, squared in squared_distances(x, self.centers):
            total += float(self.log_terms(squared).logsumexp(1).sum())
        return -total / x.numel()


def log_normal(squared: Tensor, log_variance: Tensor, d: int) -> Tensor:
    """Return the logarithm of normal densities in d dimensions at squared distances from their centers."""
    return -0.5 * squared * (-log_variance).exp() - d / 2 * (log_variance + math.log(2 * math.pi))


def fitted(centers: Tensor, x: Tensor) -> Mixture:
    """Return the mixture around centers whose variances are fitted to rows of x by maximum likelihood.

    As the authors' code: from the variance that is best for the nearest row, by Adam, beside a Gaussian
    around the mean of x that keeps rows which no center is near from deciding, and is left out of the result.

    Args:
        centers, x: (m, d) and (n, d) float64. Their n m squared distances are kept, in float32.
    """
    d = x.shape[1]
    squared = torch.cat([block.float() for _, block in squared_distances(x, centers)])
    away = ORIGIN * (x - x.mean(0)).square().sum(1)
    variances = ((squared.amin(0).double() + SOFTENED) / d).log()
    origin = torch.zeros(1, dtype=torch.float64)
    adam = torch.optim.Adam([variances, origin], lr=RATE)
    losses: list[float] = []
    while len(losses) < STEPS:
        loss, variances.grad, origin.grad = _loss(squared, away, variances, origin, d)
        adam.step()
        variances.clamp_(SMALLEST, -SMALLEST)
        losses.append(loss)
        if len(losses) > FEWEST and all(abs(loss - before) < ENOUGH for before in losses[-5:-1]):
            break
    return Mixture(centers, variances)


def _loss(
    squared: Tensor, away: Tensor, variances: Tensor, origin: Tensor, d: int
) -> tuple[float, Tensor, Tensor]:
    """Return the mean negative log-likelihood per dimension, and its derivatives by the log variances.

    With responsibilities r, the derivative by the j-th is -mean_i r_ij (D_ij / v_j - d) / (2 d).
    """
    n, log_m = len(squared), math.log(squared.shape[1])
    inverse = (-variances).exp().float()
    offset = (d / 2 * (variances + math.log(2 * math.pi)) + log_m).float()
    background = log_normal(away, origin, d).float()
    slope, total = torch.zeros(len(variances), dtype=torch.float64), 0.0
    origin_slope = torch.zeros(1, dtype=torch.float64)
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        scaled = squared[rows] * inverse
        terms = torch.sub(-offset, scaled, alpha=0.5)
        most = torch.maximum(terms.amax(1), background[rows])
        taken = terms.sub_(most[:, None]).clamp_min_(LEAST).exp_()
        likelihood = (taken.sum(1) + (background[rows] - most).exp()).log_() + most
        taken *= (most - likelihood).exp_()[:, None]
        far = (background[rows] - likelihood).exp().double()
        slope += taken.mul_(scaled.sub_(d)).sum(0).double()
        origin_slope += (far * (away[rows] * (-origin).exp() - d)).sum()
        total += float(likelihood.double().sum())
    return -total / (n * d), -slope / (2 * n * d), -origin_slope / (2 * n * d)


def reference_nats(train: Tensor, test: Tensor, n: int) -> float:
    """Return what `Mixture.nats` gives for the test split around training examples.

    The training split is shuffled. At most its first half is centers, as many as there are samples, and the
    variances are fitted to the rest.
    """
    order = torch.randperm(len(train), generator=generator(0, "fld"))
    part = min(n, len(train) // 2)
    return fitted(train[order[:part]], train[order[part:]]).nats(test)


def standard_error(train: Tensor, test: Tensor, fake: Tensor) -> float:
    """Return the standard error of the nats around samples, over other samples: from random half-samples.

    A half-sample has twice the variance. The difference between both halves has four times that of all.
    """
    found = []
    for k in range(SPLITS):
        order = torch.randperm(len(fake), generator=generator(0, "fld halves", k))
        one, other = (fitted(fake[half], train).nats(test) for half in order.chunk(2))
        found.append((one - other) ** 2 / 4)
    return math.sqrt(sum(found) / SPLITS)


def fld(train: Tensor, test: Tensor, fake: Tensor) -> Value:
    """Return 100 times the nats per dimension that the test split loses against a mixture of real examples.

    About 0 for new examples, large for copies of training examples and for samples that miss part of the
    data; below 0 where more samples than half of the training split describe the data better.

    Args:
        train, test, fake: (l, d), (n, d) and (m, d) features.

    Raises:
        UsageError: where features are unfit, or all constant.
    """
    sides = ((train, "training features"), (test, "test features"), (fake, "generated features"))
    train, test, fake = standardized(*(check_features(x, f"{what}") for x, what in sides))
    value = SCALE * (fitted(fake, train).nats(test) - reference_nats(train, test, len(fake)))
    note = f"{train.shape[1]} features that vary"
    if value > LARGEST:
        ends = Interval(low=LARGEST, high=LARGEST)
        return Value(value=LARGEST, interval=ends, n=len(fake), note=f"{note}; cut at {LARGEST:,.0f}")
    half = STUDENT * SCALE * standard_error(train, test, fake)
    return Value(value=value, interval=Interval(low=value - half, high=value + half), n=len(fake), note=note)


# -- as a registered metric


def fld_column(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the column `FLD[extractor]`, from at most `neighbors_n` examples of each set."""
    n = ctx.protocol.neighbors_n
    rows = torch.randperm(len(ctx.train), generator=generator(0, "neighbors"))[:n]
    train, test, fake = ctx.train.values[rows], ctx.test.values[:n], ctx.generated.values[:n]
    found = fld(train, test, fake)
    note = (
        f"Gaussians around {len(fake):,} samples, fitted to {len(train):,} of the training split, "
        f"likelihood of {len(test):,} of the test split; {found.note}"
    )
    return {ctx.column("FLD"): found.noted(note)}
