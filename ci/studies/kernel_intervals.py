"""Whether the intervals of KD, MMD, SW, IS and FD are right, on Gaussian features.

Run from the checkout:

    python ci/studies/kernel_intervals.py

The real features are one draw of n from N(0, I); samples come from the same law, from a near one (10 % wider,
its mean off by .1 standard deviations) or a far one (40 %, .5). Coverage: 95 % intervals that hold the mean
of the metric over all repeats, against the same real features.
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from zoo_core.results import Interval
from zoo_eval.features import Features
from zoo_eval.metrics.frechet import cell, check_pair
from zoo_eval.metrics.inception_score import inception
from zoo_eval.metrics.kernel import kernel
from zoo_eval.metrics.points import points

LAWS = {"same": (1.0, 0.0), "near": (1.1, 0.1), "far": (1.4, 0.5)}
"""Factor of the standard deviations, and shift in standard deviations."""


def metrics(real: Tensor, fake: Tensor) -> dict[str, Any]:
    """Return every metric with its interval; the Inception Score takes the features as logits."""
    settings = SimpleNamespace(kid_subsets=20, kid_subset_size=100, neighbors_n=len(fake), is_splits=10)
    train, generated = (Features(x, logits=x, points=x) for x in (real, fake))
    ctx: Any = SimpleNamespace(train=train, generated=generated, protocol=settings, column=str)
    return kernel(ctx) | points(ctx) | inception(ctx) | {"FD": cell(*check_pair(real, fake))}


def row(dim: int, n: int, law: str, repeats: int) -> str:
    """Return a row of the table: of each metric its mean and the coverage of its intervals."""
    rng = torch.Generator().manual_seed(0)
    real = torch.randn(n, dim, generator=rng, dtype=torch.float64)
    factor, shift = LAWS[law]
    found = [
        metrics(real, factor * torch.randn(n, dim, generator=rng, dtype=torch.float64) + shift)
        for _ in range(repeats)
    ]
    cells = []
    for name in found[0]:
        mean = sum(one[name].value for one in found) / repeats
        ends = [one[name].interval or Interval(low=0, high=0) for one in found]
        held = sum(e.low <= mean <= e.high for e in ends) / repeats
        cells.append(f"{mean:.4f}: {100 * held:.1f} %")
    return f"| {dim} | {law} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--n", type=int, default=200)
    given = parser.parse_args()
    print(f"{given.repeats} repeats, n = {given.n}; mean value: coverage of its 95 % interval\n")
    print("| features | law | KD | SW | MMD | IS | FD |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for dim in given.dims:
        for law in LAWS:
            print(row(dim, given.n, law, given.repeats), flush=True)


if __name__ == "__main__":
    main()
