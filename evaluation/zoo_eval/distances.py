"""Distances between distributions of features, and the Inception Score: torchmetrics' arithmetic, with the
checks, precision and seeds that it leaves to its caller.

Features are extracted once and reach torchmetrics through an identity network, in float64.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.errors import UsageError
from zoo_eval.features import Features, check_features

SEED = 0
"""Of the random subsets and splits; compute() is repeatable because of it."""


class _Identity(nn.Module):
    """Features pass as they are; torchmetrics asks such a module for its `num_features`."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


@contextmanager
def _repeatable() -> Iterator[None]:
    """Seed the global generator that torchmetrics draws from and restore it after; hush warnings."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(SEED)
        yield


def _same_width(real: Tensor, fake: Tensor) -> None:
    if real.shape[1] != fake.shape[1]:
        raise UsageError(
            f"real features have {real.shape[1]} dimensions and generated ones {fake.shape[1]}",
            "expected: features of one extractor",
        )


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of two sets of features, through torchmetrics.

    Heusel et al. 2017, arXiv:1706.08500, Eq. 6; covariances have n - 1 in their denominator.

    Args:
        real, fake: (n, d) float32 or float64; at least 2 rows each.

    Raises:
        UsageError: where the features are unfit (see `check_features`).
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    real = check_features(real, "real features")
    fake = check_features(fake, "generated features")
    _same_width(real, fake)
    metric = FrechetInceptionDistance(feature=_Identity(real.shape[1])).set_dtype(torch.float64)
    # The distance does not change when both sets are moved; a mean near zero loses no digits in E[x^2] - m^2.
    centre = real.mean(0)
    metric.update(real - centre, real=True)
    metric.update(fake - centre, real=False)
    return max(0.0, float(metric.compute()))  # equal sets come out a rounding error below zero


def kernel_distance(
    real: Tensor, fake: Tensor, *, subsets: int = 100, subset_size: int = 1000
) -> tuple[float, float]:
    """Return (mean, standard deviation over subsets) of the unbiased squared MMD with k = (x.y / d + 1)^3.

    Binkowski et al. 2018, arXiv:1801.01401, section 4, through torchmetrics. Being unbiased, it may be
    negative.

    Args:
        real, fake: (n, d) features, n at least `subset_size`.

    Raises:
        UsageError: where the features are unfit or too few for a subset.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    if subset_size < 2:
        raise UsageError(f"a kernel distance over subsets of {subset_size}", "expected: at least 2")
    real = check_features(real, "real features", subset_size)
    fake = check_features(fake, "generated features", subset_size)
    _same_width(real, fake)
    with _repeatable():
        metric = KernelInceptionDistance(_Identity(real.shape[1]), subsets=subsets, subset_size=subset_size)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        mean, spread = metric.compute()
    return float(mean), float(spread)


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
    with _repeatable():
        metric = InceptionScore(_Identity(logits.shape[1]), splits=splits)
        metric.update(logits)
        mean, spread = metric.compute()
    return float(mean), None if math.isnan(float(spread)) else float(spread)


# -- as registered metrics


def frechet(real: Features, fake: Features) -> dict[str, Any]:
    """Return the column `FD[extractor]`, or `FID`; unranked where samples are fewer than features."""
    cell: dict[str, Any] = {"value": frechet_distance(real.values, fake.values)}
    n, d = min(len(real), len(fake)), real.values.shape[1]
    if n < d:
        cell |= {
            "better": "",
            "note": f"{n:,} pictures for {d:,} features: a singular covariance, never ranked",
        }
    return {fake.column("FD"): cell}


def kernel(real: Features, fake: Features) -> dict[str, Any]:
    """Return the column `KD[extractor]`, or `KID`."""
    settings = fake.protocol
    size = settings.kid_subset_size
    mean, spread = kernel_distance(real.values, fake.values, subsets=settings.kid_subsets, subset_size=size)
    return {fake.column("KD"): {"value": mean, "subset_std": spread}}


def inception(real: Features, fake: Features) -> dict[str, Any]:
    """Return the column `IS[extractor]`; nothing where the extractor is no classifier."""
    if fake.logits is None:
        return {}
    mean, spread = inception_score(fake.logits, splits=fake.protocol.is_splits)
    return {fake.column("IS"): {"value": mean} | ({} if spread is None else {"split_std": spread})}
