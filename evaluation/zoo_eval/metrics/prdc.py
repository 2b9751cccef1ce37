"""Precision, recall, density and coverage: how two sets of features lie in each other's neighbourhoods.

Kynkaanniemi et al. 2019, arXiv:1904.06991, Eqs. 1 and 2; Naeem et al. 2020, arXiv:2002.09797, Eqs. 3 and 4.
Distances are computed in blocks, so memory does not grow with the square of the number of pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.interfaces import EvalContext
from zoo_core.results import NotApplicable, Value
from zoo_core.seeds import generator
from zoo_eval.features import check_features
from zoo_eval.statistics.intervals import interval

_BLOCK = 1024


def squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows of x, their squared distances to all of y) block by block, in the precision of x."""
    centre = y.mean(0)  # the expansion below loses digits where points lie far from the origin
    x, y = x - centre, y - centre
    y_norm = y.square().sum(1)
    for start in range(0, len(x), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(x)))
        part = x[rows]
        block = torch.addmm(part.square().sum(1, keepdim=True) + y_norm, part, y.T, alpha=-2)
        yield rows, block.clamp_min_(0)


def squared_radii(x: Tensor, ks: tuple[int, ...]) -> list[Tensor]:
    """Return, for each k, each row's squared distance to its k-th nearest other row.

    Raises:
        UsageError: where there are no k other rows.
    """
    if len(x) <= max(ks):
        raise UsageError(f"{max(ks)} neighbours among {len(x)} pictures", f"expected: more than {max(ks)}")
    found = torch.empty(len(x), len(ks), dtype=x.dtype)
    for rows, block in squared_distances(x, x):
        block[torch.arange(len(block)), torch.arange(rows.start, rows.stop)] = -1  # itself: always first
        nearest = block.topk(max(ks) + 1, largest=False).values
        found[rows] = nearest[:, list(ks)]
    return list(found.clamp_min_(0).unbind(1))


@dataclass(frozen=True)
class Neighbourhoods:
    """Who lies in whose neighbourhood.

    Attributes:
        precise: (n,) whether a generated picture lies in a real one's, of precision_k.
        recalled: (m,) whether a real picture lies in a generated one's, of precision_k.
        within: (n,) in how many real ones', of density_k, a generated picture lies.
        covered: (m,) whether a real one's, of density_k, holds a generated picture.
        density_k: as said.
    """

    precise: Tensor
    recalled: Tensor
    within: Tensor
    covered: Tensor
    density_k: int

    @property
    def contributions(self) -> dict[str, Tensor]:
        """What each picture adds to a figure, whose mean the figure is."""
        return {
            "precision": self.precise.double(),
            "recall": self.recalled.double(),
            "density": self.within.double() / self.density_k,
            "coverage": self.covered.double(),
        }


def find(real: Tensor, fake: Tensor, *, precision_k: int = 3, density_k: int = 5) -> Neighbourhoods:
    """Return who lies in whose neighbourhood.

    Args:
        real, fake: (n, d) features, more rows than neighbours.
        precision_k: neighbours that make a neighbourhood for precision and recall.
        density_k: likewise for density and coverage.

    Raises:
        UsageError: where the features are unfit, or fewer than the neighbours.
    """
    real = check_features(real, "real features", precision_k + 1)
    fake = check_features(fake, "generated features", precision_k + 1)
    narrow, wide = squared_radii(real, (precision_k, density_k))
    (own,) = squared_radii(fake, (precision_k,))
    precise = torch.empty(len(fake), dtype=torch.bool)
    within = torch.empty(len(fake), dtype=torch.int64)
    recalled = torch.zeros(len(real), dtype=torch.bool)
    covered = torch.zeros(len(real), dtype=torch.bool)
    for rows, block in squared_distances(fake, real):
        precise[rows] = (block < narrow).any(1)
        recalled |= (block < own[rows, None]).any(0)
        inside = block < wide
        covered |= inside.any(0)
        within[rows] = inside.sum(1)
    return Neighbourhoods(precise, recalled, within, covered, density_k)


def prdc(real: Tensor, fake: Tensor, *, precision_k: int = 3, density_k: int = 5) -> dict[str, float]:
    """Return precision, recall, density and coverage of generated features.

    precision: share of generated pictures within a real picture's neighbourhood; recall: share of real ones
    within a generated picture's. density: neighbourhoods of real pictures that a generated one lies in, over
    k (not bounded by 1); coverage: share of real neighbourhoods that hold a generated picture.

    Args, raises: as `find`.
    """
    found = find(real, fake, precision_k=precision_k, density_k=density_k)
    return {name: float(each.mean()) for name, each in found.contributions.items()}


def neighborhoods(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the columns precision, recall, density and coverage, from equally many examples on each side.

    The intervals are of the mean over the examples that are counted: generated ones for precision and
    density, real ones for recall and coverage.
    """
    settings = ctx.protocol
    n = settings.neighbors_n
    rows = torch.randperm(len(ctx.train), generator=generator(0, "neighbours"))[:n]
    found = find(
        ctx.train.values[rows],
        ctx.generated.values[:n],
        precision_k=settings.precision_k,
        density_k=settings.density_k,
    )
    return {
        ctx.column(name): interval(
            float(each.mean()), each, least=0.0, most=inf if name == "density" else 1.0
        )
        for name, each in found.contributions.items()
    }
