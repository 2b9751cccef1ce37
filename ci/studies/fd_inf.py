"""Whether FD-inf and its interval are right, on Gaussian features.

Run from the checkout:

    python ci/studies/fd_inf.py

The reference is 20,000 draws from N(0, S), S white or with variances 1/k. Samples are from the same law, from
a near one (2 % wider, its mean off by .02 standard deviations) or a far one (30 %, .3). The limit is the
distance of that law itself to the reference. Coverage: 95 % intervals that hold the limit.
"""

from __future__ import annotations

import argparse

import torch

from zoo_eval.metrics.frechet import Moments, at_infinity, distance, moments

LAWS = {"same": (1.0, 0.0), "near": (1.02, 0.02), "far": (1.3, 0.3)}
"""Factor of the standard deviations, and shift in standard deviations."""


def row(dim: int, per_feature: int, spectrum: str, law: str, repeats: int) -> str:
    """Return a row of the table."""
    rng = torch.Generator().manual_seed(0)
    std = torch.ones(dim, dtype=torch.float64)
    if spectrum == "1/k":
        std = torch.arange(1, dim + 1, dtype=torch.float64).rsqrt()
    real = moments(torch.randn(20_000, dim, generator=rng, dtype=torch.float64) * std)
    factor, shift = LAWS[law]
    truth = distance(real, Moments(0, shift * std, torch.diag(factor * std), None))
    found = []
    for _ in range(repeats):
        samples = torch.randn(per_feature * dim, dim, generator=rng, dtype=torch.float64)
        fake = samples * std * factor + shift * std
        limit = at_infinity(real, fake)
        assert limit is not None
        found.append((distance(real, moments(fake)), *limit))
    plain, values, errors = torch.tensor(found, dtype=torch.float64).unbind(1)
    error = float(values.mean()) - truth
    held = float(((values - truth).abs() <= 1.96 * errors).double().mean())
    cells = (
        f"{per_feature}",
        spectrum,
        law,
        f"{truth:.4f}",
        f"{float(plain.mean()):.4f}",
        f"{float(values.mean()):.4f}",
        f"{error / float(errors.mean()):+.2f}",
        f"{100 * held:.1f} %",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--dim", type=int, default=24)
    parser.add_argument("--per-feature", type=int, nargs="+", default=[30])
    given = parser.parse_args()
    print(f"{given.repeats} repeats, {given.dim} features\n")
    print("| n/d | spectrum | law | limit | mean FD | mean FD-inf | error / standard error | coverage |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for per_feature in given.per_feature:
        for spectrum in ("white", "1/k"):
            for law in LAWS:
                print(row(given.dim, per_feature, spectrum, law, given.repeats), flush=True)


if __name__ == "__main__":
    main()
