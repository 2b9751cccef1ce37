"""Does a model replay its training set? Distances in pixel space from samples to their nearest training
example, held against the same distances of the test split, which can't have been memorised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.loading import Split
from zoo_core.errors import UsageError

PERCENTILE = 0.01
"""Of the test distances: what lies closer to a training example is called close."""

EXCESS = 0.1
"""Share of close samples, beyond the test split's own, from which a model is said to memorise."""

_BLOCK = 512
_CANDIDATES = 4


def nearest_distances(x: Tensor, train: Split, *, block: int = 8192) -> Tensor:
    """Return each example's root mean squared distance, per value, to its nearest training example.

    Candidates are found in float32 and measured exactly in float64, so a copy is at 0 and not at a rounding
    error.

    Args:
        x: (n, *shape), integer levels or float points.
        train: the training split; its rows are read `block` at a time.

    Returns:
        (n,) float64, in levels for pictures.
    """
    flat = x.flatten(1)
    best = torch.full((len(flat),), torch.inf, dtype=torch.float64)
    for index in torch.arange(len(train)).split(block):
        rows = train.rows(index).cpu().flatten(1)
        shift = rows[:1].float()
        near = rows.float() - shift
        norm = near.square().sum(1)
        for start in range(0, len(flat), _BLOCK):
            part = flat[start : start + _BLOCK]
            rough = torch.addmm(norm, part.float() - shift, near.T, alpha=-2)
            candidates = rough.topk(min(_CANDIDATES, len(rows)), largest=False).indices
            exact = (part[:, None].double() - rows[candidates].double()).square().mean(2).amin(1)
            best[start : start + _BLOCK] = torch.minimum(best[start : start + _BLOCK], exact)
    return best.sqrt()


@dataclass(frozen=True)
class Memorisation:
    """What the distances say.

    Attributes:
        median_ratio: median distance of samples over that of the test split; 0 for copies, about 1 for new
            examples of the same distribution.
        close_share: share of samples no farther than the first percentile of test distances.
        expected_share: the test split's own such share: 0.01, more where it repeats training examples.
    """

    median_ratio: float
    close_share: float
    expected_share: float

    @property
    def memorises(self) -> bool:
        return self.close_share > self.expected_share + EXCESS

    @property
    def verdict(self) -> str:
        """One line for the user."""
        share = (
            f"{self.close_share:.1%} of samples are copies or nearly (test split: {self.expected_share:.1%})"
        )
        return f"{'MEMORISES' if self.memorises else 'does not memorise'}: {share}"

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "median_ratio": self.median_ratio,
            "close_share": self.close_share,
            "expected_share": self.expected_share,
            "memorises": self.memorises,
            "verdict": self.verdict,
        }


def judge_distances(generated: Tensor, test: Tensor) -> Memorisation:
    """Hold the nearest-training distances of samples against those of the test split.

    Args:
        generated, test: (n,) and (m,) distances, as `nearest_distances` returns them.

    Raises:
        UsageError: where a set is empty.
    """
    if not len(generated) or not len(test):
        raise UsageError(
            "no distances to judge memorisation by", "expected: at least 1 sample and 1 test example"
        )
    limit = test.quantile(PERCENTILE, interpolation="higher")
    median = float(test.median())
    return Memorisation(
        # A test split that mostly repeats the training split has median 0: the ratio then says nothing.
        median_ratio=float(generated.median()) / median if median > 0 else 1.0,
        close_share=float((generated <= limit).double().mean()),
        expected_share=float((test <= limit).double().mean()),
    )
