"""Components of variance: recovered from simulated scores whose components are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from zoo_lottery.components import (
    Component,
    MeanSquare,
    combined,
    crossed,
    mean_squares,
    nested,
    seeds_needed,
    swap_probability,
)

REPEATS = 400


def covers(one: Component, truth: float) -> bool:
    return one.low <= truth <= one.high


@pytest.mark.parametrize(("training", "sampling"), [(1.0, 0.1), (0.3, 1.0), (1.0, 1.0)])
def test_nested_intervals_hold_the_truth(training: float, sampling: float) -> None:
    """Ten training seeds with three sampling seeds each, as `zoo lottery` draws them."""
    rng = np.random.default_rng(0)
    held = np.zeros(3)
    values = np.zeros(3)
    truth = (training, sampling, training + sampling)
    for _ in range(REPEATS):
        scores = 5 + rng.normal(0, training**0.5, (10, 1)) + rng.normal(0, sampling**0.5, (10, 3))
        found = nested(scores)
        held += [covers(one, true) for one, true in zip(found, truth, strict=True)]
        values += [one.value for one in found]
    assert ((held / REPEATS >= 0.9) & (held / REPEATS <= 0.98)).all(), held / REPEATS
    assert values / REPEATS == pytest.approx(truth, rel=0.12)


def simulated(rng: np.random.Generator, variances: dict[tuple[int, ...], float]) -> np.ndarray:
    """Return scores (4, 4, 4) with a normal effect of each variance for every set of axes."""
    scores = np.zeros((4, 4, 4))
    for effect, variance in variances.items():
        shape = [4 if k in effect else 1 for k in range(3)]
        scores = scores + rng.normal(0, variance**0.5, shape)
    return scores


EVERY = [effect for size in (1, 2, 3) for effect in itertools.combinations(range(3), size)]
CASES = {
    "only what no seed explains": {(0, 1, 2): 1.0},
    "main effects": {(0,): 1.0, (1,): 0.5, (2,): 0.2, (0, 1, 2): 0.3},
    "all": dict.fromkeys(EVERY, 1.0),
}


@pytest.mark.slow(depends=("plugins/zoo_lottery",))
@pytest.mark.parametrize("name", CASES)
def test_crossed_intervals_hold_the_truth(name: str) -> None:
    """Total effects of a 4 x 4 x 4 design, whose truth is the sum of the variances with the axis in them."""
    rng = np.random.default_rng(1)
    variances = CASES[name]
    held, values, mains = np.zeros(3), np.zeros(3), np.zeros(3)
    truth = [sum(v for effect, v in variances.items() if axis in effect) for axis in range(3)]
    main = [variances.get((axis,), 0.0) for axis in range(3)]
    for _ in range(REPEATS):
        found = crossed(simulated(rng, variances))
        held += [covers(one.total, true) for one, true in zip(found, truth, strict=True)]
        mains += [covers(one.main, true) for one, true in zip(found, main, strict=True)]
        values += [one.total.value for one in found]
    assert ((held / REPEATS >= 0.9) & (held / REPEATS <= 0.985)).all(), held / REPEATS
    assert (mains / REPEATS >= 0.9).all(), mains / REPEATS  # at 0 the interval is one-sided
    assert values / REPEATS == pytest.approx(truth, rel=0.15)


def test_the_total_effect_is_the_mean_variance_along_an_axis() -> None:
    """Written out once more: the sample variance along the axis, averaged over the cells of the others."""
    scores = np.random.default_rng(2).normal(size=(3, 4, 5))
    for axis, one in enumerate(crossed(scores)):
        assert one.total.value == pytest.approx(scores.var(axis=axis, ddof=1).mean())


def test_mean_squares_add_up() -> None:
    """The sums of squares of all effects are the sum of squares about the mean; their df are n - 1."""
    scores = np.random.default_rng(3).normal(size=(3, 4, 5))
    squares = mean_squares(scores)
    assert sum(one.df for one in squares.values()) == 59
    assert sum(one.df * one.value for one in squares.values()) == pytest.approx(
        ((scores - scores.mean()) ** 2).sum()
    )


def test_one_mean_square_has_the_interval_of_chi_squared() -> None:
    """With a single term the modified large-sample interval is exact: df s^2 / chi^2 at 97.5 and 2.5 %."""
    found = combined([1.0], [MeanSquare(2.0, 20)])
    assert found.value == 2
    assert found.low == pytest.approx(40 / 34.16961, rel=1e-6)
    assert found.high == pytest.approx(40 / 9.590777, rel=1e-6)


def test_no_spread_is_no_component() -> None:
    found = nested(np.ones((4, 3)))
    assert found.training == found.sampling == (0, 0, 0)
    with pytest.raises(ValueError, match="two levels"):
        nested(np.ones((1, 3)))
    with pytest.raises(ValueError, match="finite"):
        crossed(np.full((2, 2, 2), np.nan))


def test_models_swap_as_often_as_two_normals() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(0, 1, 200_000), rng.normal(1, 1, 200_000)
    assert swap_probability(first, second) == pytest.approx(float((first > second).mean()), abs=3e-3)
    assert swap_probability(np.zeros(3), np.ones(3)) == 0
    assert swap_probability(np.zeros(3), np.zeros(3)) == 0.5


def test_the_seeds_needed_are_those_of_the_tables() -> None:
    """Cohen 1988, table 2.4.1: 26 a group for d = 0.8, 64 for d = 0.5, at 5 % two-sided and power 0.8."""
    unit = np.array([-1.0, 0.0, 1.0])
    assert seeds_needed(unit, unit + 0.8) == 26
    assert seeds_needed(unit, unit + 0.5) == 64
    assert seeds_needed(unit, unit) is None
