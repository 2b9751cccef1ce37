"""An interval says where the figure of as many other samples lies, and costs no second covariance."""

from __future__ import annotations

import pytest
import torch

from tests.eval.fakes import context, protocol
from zoo_eval.features import Features
from zoo_eval.metrics import frechet
from zoo_eval.metrics.kernel import kernel
from zoo_eval.statistics.intervals import (
    fraction,
    interval,
    normal_interval,
    resampled_means,
    score_interval,
    squared_distance_interval,
)
from zoo_eval.statistics.student import mean_interval


def test_of_a_mean_it_is_the_normal_one(rng):
    # catches quantiles of the wrong tails, a root of n left out, the mean counted twice
    x = torch.randn(4000, generator=rng).double() + 5
    found = interval(float(x.mean()), x)
    half = 1.96 * float(x.std()) / 4000**0.5
    assert found.interval.low == pytest.approx(float(x.mean()) - half, abs=half / 8)
    assert found.interval.high == pytest.approx(float(x.mean()) + half, abs=half / 8)
    wider = interval(5.0, x, n=1000)
    assert wider.interval.high - wider.interval.low == pytest.approx(4 * half, rel=0.1)


def test_a_fraction_has_wilsons_interval():
    # catches a precision above 1, and a normal interval where it is skewed
    from scipy.stats import binomtest

    for hits in (3, 50, 99):
        found = fraction(torch.arange(100) < hits)
        theirs = binomtest(hits, 100).proportion_ci(method="wilson")
        assert (found.interval.low, found.interval.high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)
        assert (found.value, found.n) == (hits / 100, 100)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_at_0_and_1_the_bound_is_one_sided(value):
    # catches an interval of no width: 50 of 50 are seen in 5 % of all draws at a rate of 0.05^(1/50)
    ends = score_interval(value, 0.0, 50)
    inner = ends.high if value == 0 else 1 - ends.low
    assert (1 - inner) ** 50 == pytest.approx(0.05)
    assert (ends.low if value == 0 else ends.high) == value


def test_a_score_interval_knows_its_variance():
    # catches the number of samples used in the place of the variance
    wide = score_interval(0.5, 4 * 0.25 / 100, 100)
    assert (wide.low, wide.high) == pytest.approx(tuple(vars(score_interval(0.5, 0.25 / 25, 7)).values()))


@pytest.mark.parametrize("value", [-0.02, 0.0, 0.003, 1.0])
@pytest.mark.parametrize(("variance", "slope"), [(1e-4, 0.01), (1e-4, 0.0), (0.0, 0.04)])
def test_an_interval_of_a_squared_distance_holds_what_does_not_contradict_it(value, variance, slope):
    # catches an end outside 0, and a variance taken at the estimate instead of at each squared distance
    ends = squared_distance_interval(value, variance, slope)
    held = [
        d for k in range(40_001)
        if abs(value - (d := k / 20_000)) <= 1.959964 * (variance + slope * d) ** 0.5
    ]  # fmt: skip
    expected = (held[0], held[-1]) if held else (0.0, 0.0)
    assert (ends.low, ends.high) == pytest.approx(expected, abs=1e-4)


def test_a_normal_interval_is_of_two_standard_errors():
    # catches a variance taken for a standard error
    ends = normal_interval(-1.0, 0.5)
    assert (ends.low, ends.high) == pytest.approx((-1.98, -0.02), abs=1e-4)


def test_resampling_is_the_same_at_every_call(rng):
    # catches an interval that moves when nothing did
    x = torch.randn(100, generator=rng)
    before = torch.get_rng_state()
    assert torch.equal(resampled_means(x), resampled_means(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_influence_on_the_frechet_distance_is_its_derivative(rng):
    # catches a transport map transposed or inverted, a mean's sign, a forgotten factor of two
    real = torch.randn(300, 5, generator=rng).double()
    mix = torch.randn(5, 5, generator=rng).double()
    fake = torch.randn(200, 5, generator=rng).double() @ mix + 0.4
    found = frechet.influence(frechet.moments(real), frechet.moments(fake), fake)

    def weighted(weights):
        mean = weights @ fake
        covariance = (fake - mean).T @ (weights[:, None] * (fake - mean)) * 200 / 199
        upper = torch.linalg.cholesky(covariance).T
        return frechet.distance(frechet.moments(real), frechet.Moments(200, mean, upper, None))

    even = torch.full((200,), 1 / 200, dtype=torch.float64)
    for k in (0, 17, 199):
        towards = torch.zeros(200, dtype=torch.float64)
        towards[k] = 1
        slope = (weighted(even + 1e-5 * (towards - even)) - weighted(even - 1e-5 * (towards - even))) / 2e-5
        expected = float(found[k] - found.mean())
        assert slope == pytest.approx(expected, rel=0.02, abs=0.02 * float(found.std()))


@pytest.mark.parametrize("metric", [frechet.frechet, kernel])
def test_nineteen_of_twenty_intervals_hold_the_mean_of_many_figures(metric, rng):
    # catches intervals that are too narrow or too wide: 95 % of 200, give or take 4.5 standard errors
    real = torch.randn(600, 4, generator=rng).double()
    settings = protocol(kid_subsets=10, kid_subset_size=100)
    cells = []
    for _ in range(200):
        fake = 1.3 * torch.randn(250, 4, generator=rng).double() + 0.3
        (cell, *_) = metric(context(Features(real), Features(fake), settings)).values()
        cells.append(cell)
    mean = sum(cell.value for cell in cells) / 200
    held = sum(cell.interval.low <= mean <= cell.interval.high for cell in cells) / 200
    assert abs(held - 0.95) < 4.5 * (0.95 * 0.05 / 200) ** 0.5


def test_the_interval_of_a_mean_agrees_with_scipy():
    # catches n for n - 1, and one tail for two
    from scipy import stats

    values = [1.0, 1.4, 0.8, 1.1]
    mean, width = mean_interval(values)
    low, high = stats.t.interval(0.95, 3, loc=mean, scale=stats.sem(values))
    assert (mean - width, mean + width) == pytest.approx((low, high), rel=1e-6)
    assert mean_interval([2.0]) == (2.0, None)
