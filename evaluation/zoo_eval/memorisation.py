"""Does a model replay its training set? A copy lies closer to a training example than to any held-out one.

For every sample: its distance to the nearest training example over its distance to the nearest held-out one.
A picture that is flat, blurred or noise lies about as far from both, however near everything it may be; a
copy does not. What ratios honest pictures have is told by the test split itself: each of its examples is held
against the training split and the rest of the test split. The comparison is Meehan et al.'s (2020,
arXiv:2004.05675), picture by picture; it is made among the pixels and among the features, and authenticity
(Alaa et al. 2022, arXiv:2102.08921, section 4.3) stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.loading import Table
from zoo_core.distributed import share, world
from zoo_core.errors import UsageError
from zoo_eval.features import gathered

PERCENTILE = 0.05
"""Of the test split's ratios: what lies below is called close to the training split."""

EXCESS = 0.1
"""Share of close samples, beyond the test split's own, from which a model is said to memorise."""

_BLOCK = 512
_CANDIDATES = 4


@dataclass(frozen=True)
class Nearest:
    """The nearest example of a split.

    Attributes:
        distance: (n,) float64, root mean square over an example's values: in levels for pictures.
        index: (n,) int64, its row.
    """

    distance: Tensor
    index: Tensor


def nearest(x: Tensor, split: Table, *, own: Tensor | None = None, block: int = 8192) -> Nearest:
    """Return each example's nearest example of a split.

    Candidates are found in float32 and measured exactly in float64, so a copy is at 0 and not at a rounding
    error.

    Args:
        x: (n, *shape), integer levels, float points or features.
        split: its rows are read `block` at a time.
        own: (n,) for each example a row of the split that does not count, because it is the example itself.
    """
    flat = x.flatten(1)
    best = torch.full((len(flat),), torch.inf, dtype=torch.float64)
    place = torch.zeros(len(flat), dtype=torch.int64)
    for index in torch.arange(len(split)).split(block):
        rows = split.examples(index).cpu().flatten(1)
        shift = rows[:1].float()
        near = rows.float() - shift
        norm = near.square().sum(1)
        for start in range(0, len(flat), _BLOCK):
            these = slice(start, min(start + _BLOCK, len(flat)))
            part = flat[these]
            rough = torch.addmm(norm, part.float() - shift, near.T, alpha=-2)
            candidates = rough.topk(min(_CANDIDATES, len(rows)), largest=False).indices
            exact = (part[:, None].double() - rows[candidates].double()).square().mean(2)
            if own is not None:
                exact.masked_fill_(index[candidates] == own[these, None], torch.inf)
            least, which = exact.min(1)
            closer = least < best[these]
            found = index[candidates.gather(1, which[:, None])[:, 0]]
            place[these] = torch.where(closer, found, place[these])
            best[these] = torch.minimum(best[these], least)
    return Nearest(best.sqrt(), place)


def nearest_of_all(x: Tensor, split: Table) -> Nearest:
    """Return `nearest` of x, the work dealt out among the processes."""
    mine = share(len(x), world())
    found = nearest(x[mine.start : mine.stop], split) if len(mine) else None
    distance = gathered(None if found is None else found.distance)
    index = gathered(None if found is None else found.index)
    assert distance is not None
    assert index is not None
    return Nearest(distance, index)


def ratios(to_train: Tensor, to_held_out: Tensor) -> Tensor:
    """Return distance to the training split over distance to held-out examples, (n,); 1 where both are 0."""
    neither = (to_train == 0) & (to_held_out == 0)
    return torch.where(neither, 1.0, to_train / to_held_out.clamp_min(torch.finfo(torch.float64).tiny))


@dataclass(frozen=True)
class Closeness:
    """How close samples are to the training split, in one space.

    Attributes:
        median_ratio: median ratio of samples over that of the test split; 0 for copies, about 1 for new
            examples of the same distribution.
        close_share: share of samples whose ratio is within the test split's lowest `PERCENTILE`.
        expected_share: the test split's own such share: 0.05, more where it repeats training examples.
    """

    median_ratio: float
    close_share: float
    expected_share: float

    @property
    def too_close(self) -> bool:
        return self.close_share > self.expected_share + EXCESS


def judge_ratios(generated: Tensor, test: Tensor) -> Closeness:
    """Hold the ratios of samples against those of the test split.

    Args:
        generated, test: (n,) and (m,) ratios.

    Raises:
        UsageError: where a set is empty.
    """
    if not len(generated) or not len(test):
        raise UsageError(
            "no distances to judge memorisation by", "expected: at least 1 sample and 1 test example"
        )
    limit = test.quantile(PERCENTILE, interpolation="lower")
    median = float(test.median())
    return Closeness(
        # A test split that mostly repeats the training split has median 0: the ratio then says nothing.
        median_ratio=float(generated.median()) / median if median > 0 else 1.0,
        close_share=float((generated <= limit).double().mean()),
        expected_share=float((test <= limit).double().mean()),
    )


@dataclass(frozen=True)
class Reference:
    """A split of the data in one space, and what its held-out part says of itself.

    Attributes:
        train, test: the splits, as pixels or as features.
        held_out: (m,) ratios of test examples: to the training split over to the rest of the test split.
    """

    train: Table
    test: Table
    held_out: Tensor


def held_out_ratios(train: Table, test: Table, n: int) -> Tensor:
    """Return the ratios of the first n test examples, each left out of the split it is held against."""
    own = torch.arange(min(n, len(test)))
    x = test.examples(own)
    return ratios(nearest(x, train).distance, nearest(x, test, own=own).distance)


@dataclass(frozen=True)
class Found:
    """What was found in one space.

    Attributes:
        train, test: the samples' nearest examples of each split.
        closeness: the verdict's figures.
    """

    train: Nearest
    test: Nearest
    closeness: Closeness

    @property
    def ratio(self) -> Tensor:
        """(n,) of the samples."""
        return ratios(self.train.distance, self.test.distance)


def look(x: Tensor, reference: Reference) -> Found:
    """Return what is found of samples, (n, *shape), in one space."""
    to_train, to_test = nearest_of_all(x, reference.train), nearest_of_all(x, reference.test)
    closeness = judge_ratios(ratios(to_train.distance, to_test.distance), reference.held_out)
    return Found(to_train, to_test, closeness)


def authentic(found: Nearest, train: Table) -> Tensor:
    """Return which samples are authentic, (n,) bool: farther from their nearest training example than that is
    from its own nearest other one. Alaa et al. 2022, arXiv:2102.08921, Eq. 10.
    """
    rows, back = found.index.unique(return_inverse=True)
    return found.distance > nearest(train.examples(rows), train, own=rows).distance[back]


def record(pixels: Found, features: Found | None = None) -> dict[str, Any]:
    """Return the verdict and its figures as plain data.

    Args:
        pixels: what was found among the examples themselves.
        features: among their features; None where the features are the examples.
    """
    near, far = pixels.closeness, (features or pixels).closeness
    memorises = near.too_close or far.too_close
    said = near if near.too_close or not memorises else far
    where = "" if said is near else " in features"
    return {
        "median_ratio": near.median_ratio,
        "close_share": near.close_share,
        "expected_share": near.expected_share,
        "feature_median_ratio": far.median_ratio,
        "feature_close_share": far.close_share,
        "feature_expected_share": far.expected_share,
        "memorises": memorises,
        "verdict": f"{'MEMORISES' if memorises else 'does not memorise'}: {said.close_share:.1%} of samples "
        f"are copies or nearly{where} (test split: {said.expected_share:.1%})",
    }
