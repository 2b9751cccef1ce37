"""How often the intervals of `zoo lottery` cover known components of variance, beside a bootstrap.

    python ci/studies/lottery.py [--repeats 200]

Scores are simulated from normal effects with known variances, in the designs that the command has: 10
training seeds with 3 sampling seeds each, and 4 x 4 x 4 initializations, orders and noises. For the crossed
design the noise of the highest interaction makes up nearly all of the spread, as it does in trainings whose
score any one seed spreads as far as all of them (Summers and Dinneen 2021, arXiv:2103.04514). Printed: the
share of repeats whose 95 % interval holds the truth.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from zoo_lottery.components import Array, crossed, mean_squares, nested

TRAINING, SAMPLING = 0.04, 0.01
"""Variances of the nested design."""
MAIN = (0.010, 0.004, 0.0)
PAIR, REST = 0.003, 0.030
"""Variances of the crossed design: of each factor, of each pair of factors, of the cell."""
RESAMPLES = 300


def nested_scores(rng: np.random.Generator, seeds: int = 10, repeats: int = 3) -> Array:
    """Return scores (training seeds, sampling seeds)."""
    training = rng.normal(0, TRAINING**0.5, (seeds, 1))
    return training + rng.normal(0, SAMPLING**0.5, (seeds, repeats))


def crossed_scores(rng: np.random.Generator, levels: int = 4) -> Array:
    """Return scores (initializations, orders, noises), one a cell."""
    shape = (levels,) * 3
    scores = rng.normal(0, REST**0.5, shape)
    for axis, variance in enumerate(MAIN):
        own = [levels if k == axis else 1 for k in range(3)]
        scores = scores + rng.normal(0, variance**0.5, own)
        pair = [1 if k == axis else levels for k in range(3)]
        scores = scores + rng.normal(0, PAIR**0.5, pair)
    return scores


def main_effect(scores: Array, axis: int) -> float:
    """Return the unbiased estimate of a factor's main effect, which may be negative."""
    squares = mean_squares(scores)
    others = scores.size / scores.shape[axis]
    found = sum((-1.0) ** (len(e) - 1) * one.value for e, one in squares.items() if axis in e)
    return float(found / others)


def bootstrapped(rng: np.random.Generator, scores: Array, axis: int) -> tuple[float, float]:
    """Return the percentile interval of a main effect, over resampled levels of every factor."""
    found = []
    for _ in range(RESAMPLES):
        index = [rng.integers(0, n, n) for n in scores.shape]
        found.append(main_effect(scores[np.ix_(*index)], axis))
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def coverage(repeats: int, bootstrap: int) -> dict[str, float]:
    """Return the share of repeats in which each interval covers its component."""
    rng = np.random.default_rng(0)
    total = [variance + 2 * PAIR + REST for variance in MAIN]
    hits: dict[str, list[bool]] = {}

    def count(name: str, low: float, value: float, high: float) -> None:
        hits.setdefault(name, []).append(low <= value <= high)

    for repeat in range(repeats):
        found = nested(nested_scores(rng))
        count("nested: training", found.training.low, TRAINING, found.training.high)
        count("nested: sampling", found.sampling.low, SAMPLING, found.sampling.high)
        count("nested: single run", found.single.low, TRAINING + SAMPLING, found.single.high)
        scores = crossed_scores(rng)
        for axis, source in enumerate(crossed(scores)):
            count(f"crossed: main effect {axis}", source.main.low, MAIN[axis], source.main.high)
            count(f"crossed: total effect {axis}", source.total.low, total[axis], source.total.high)
        if repeat < bootstrap:
            low, high = bootstrapped(rng, scores, 0)
            count("crossed: main effect 0, bootstrap over levels", low, MAIN[0], high)
    return {name: float(np.mean(its)) for name, its in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--bootstrap", type=int, default=200, help="of the repeats that are bootstrapped too")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = coverage(args.repeats, args.bootstrap)
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for name, share in found.items():
        print(f"{name:48} {share:.1%}")


if __name__ == "__main__":
    main()
