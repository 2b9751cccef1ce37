"""Whether the intervals of precision, recall, density and coverage are right, on Gaussian features.

Run from the checkout:

    python ci/studies/prdc_intervals.py

The real features are one draw of n from N(0, I). In each repeat n samples come from N(shift, scale^2 I); a
fraction of them is multiplied by .3. Coverage: 95 % intervals that hold the mean of the metric over all
repeats, against the same real features.
"""

from __future__ import annotations

import argparse

import torch

from zoo_eval.metrics.prdc import values

LAWS = ((1.0, 0.0, 0.0), (0.7, 0.0, 0.0), (0.5, 0.0, 0.0), (1.3, 0.3, 0.0), (1.0, 0.5, 0.5))
"""Scale, shift of each feature, fraction of the samples that is shrunk."""
NAMES = ("precision", "recall", "density", "coverage")


def row(dim: int, n: int, law: tuple[float, float, float], repeats: int) -> str:
    """Return a row of the table: of each metric its mean and the coverage of its intervals."""
    rng = torch.Generator().manual_seed(0)
    real = torch.randn(n, dim, generator=rng, dtype=torch.float64)
    scale, shift, shrunk = law
    found = []
    for _ in range(repeats):
        fake = scale * torch.randn(n, dim, generator=rng, dtype=torch.float64) + shift
        fake = torch.where(torch.rand(n, 1, generator=rng) < shrunk, fake * 0.3, fake)
        cells = values(real, fake)
        ends = [cells[name].interval for name in NAMES]
        found.append([(cells[name].value, e.low, e.high) for name, e in zip(NAMES, ends, strict=True) if e])
    numbers = torch.tensor(found, dtype=torch.float64)
    mean = numbers[:, :, 0].mean(0)
    held = ((numbers[:, :, 1] <= mean) & (mean <= numbers[:, :, 2])).double().mean(0)
    cells_text = [f"{float(m):.3f}: {100 * float(h):.1f} %" for m, h in zip(mean, held, strict=True)]
    return f"| {dim} | {scale} | {shift} | {shrunk} | {' | '.join(cells_text)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--dims", type=int, nargs="+", default=[8, 2])
    given = parser.parse_args()
    print(f"{given.repeats} repeats, n = {given.n}; mean value: coverage of its 95 % interval\n")
    print(f"| features | scale | shift | shrunk | {' | '.join(NAMES)} |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for dim in given.dims:
        for law in LAWS:
            print(row(dim, given.n, law, given.repeats), flush=True)


if __name__ == "__main__":
    main()
