"""Clipped density and coverage: the paper's arithmetic again, enumeration, and linear decay."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from tests.eval.fakes import context, protocol
from zoo_core.errors import UsageError
from zoo_eval.features import Features
from zoo_fidelity import clipped


def distances(x, y):
    return np.sqrt(((x[:, None] - y[None]) ** 2).sum(2))


def by_hand(real, fake, k):
    """(clipped density, clipped coverage) from distances of all pairs and scipy's beta-binomial law."""
    among, across = distances(real, real), distances(real, fake)
    radius = np.sort(among, axis=1)[:, k]  # column 0 is the row itself
    narrow = np.minimum(radius, np.median(radius))
    np.fill_diagonal(among, np.inf)
    ideal = np.minimum((among <= narrow[:, None]).sum(0) / k, 1).mean()
    density = min(1.0, np.minimum((across <= narrow[:, None]).sum(0) / k, 1).mean() / ideal)
    mean = np.minimum((across <= radius[:, None]).sum(1) / k, 1).mean()
    n, m = len(real), len(fake)
    expected = [
        sum(min(j, k) * betabinom.pmf(j, good, k, n - k) for j in range(good + 1)) / k if good >= k else 0.0
        for good in range(m + 1)
    ]
    return density, sum(one < mean for one in expected) / (m + 1)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_both_agree_with_the_papers_arithmetic(rng, k):
    # catches radii that are not clipped, a point in its own ball, and the two sides exchanged
    real = torch.randn(90, 4, generator=rng).double()
    fake = 0.8 * torch.randn(61, 4, generator=rng).double() + 0.3
    density, coverage = by_hand(real.numpy(), fake.numpy(), k)
    assert clipped.clipped_density(real, fake, k).value == pytest.approx(density, abs=1e-12)
    assert clipped.clipped_coverage(real, fake, k).value == pytest.approx(coverage, abs=1e-12)


def test_the_radii_are_cut_at_their_median():
    # catches a median of squared distances, which for an even number is another one
    x = torch.tensor([[0.0], [1.0], [10.0], [13.0]], dtype=torch.float64)
    assert clipped.clipped_radii(x, 1).tolist() == pytest.approx([1, 1, 4, 4])


def test_the_expected_coverage_is_that_of_all_orders():
    # catches another law of a ball's probability: real and good samples are equally likely in each place
    real, k = 6, 2
    expected = clipped.expected_coverage(real, 4, k)
    assert expected[:k].tolist() == [0, 0]
    for good in range(k, 5):
        places = list(itertools.combinations(range(real - 1 + good), good))
        inner = []
        for chosen in places:
            others = [place for place in range(real - 1 + good) if place not in chosen]
            inner.append(min(sum(place < others[k - 1] for place in chosen), k))
        assert float(expected[good]) == pytest.approx(sum(inner) / len(places) / k, abs=1e-12)


def test_the_expected_coverage_is_exact_for_many_images():
    # catches digits lost in the logarithms of large factorials
    expected = clipped.expected_coverage(10_000, 10_000, 5)
    law = betabinom(10_000, 5, 10_000 - 5)
    exact = 1 - sum((1 - j / 5) * law.pmf(j) for j in range(5))
    assert float(expected[-1]) == pytest.approx(exact, abs=1e-8)
    assert bool((expected[5:].diff() > 0).all())


def test_real_examples_against_themselves_have_one(rng):
    # catches a value above 1, and copies that a ball does not count
    real = torch.randn(150, 3, generator=rng).double() + 100
    assert clipped.clipped_density(real, real).value == 1
    assert clipped.clipped_coverage(real, real).value == 1


def test_both_fall_linearly_with_the_fraction_of_bad_samples(rng):
    # catches a missing calibration: without it coverage of half good samples is well above one half
    real = torch.randn(600, 4, generator=rng).double()
    good = torch.randn(600, 4, generator=rng).double()
    for fraction in (0.0, 0.25, 0.5, 0.75):
        n = round(fraction * 600)
        fake = torch.cat((good[:n], torch.full((600 - n, 4), 50.0).double()))
        assert clipped.clipped_density(real, fake).value == pytest.approx(fraction, abs=0.06)
        assert clipped.clipped_coverage(real, fake).value == pytest.approx(fraction, abs=0.04)
    assert clipped.clipped_coverage(real, good[:300]).value > 0.9  # half as many samples, all good


def test_an_outlier_of_the_data_makes_nothing_dense(rng):
    # catches the ball of an outlier, in which every bad sample lies
    real = torch.cat((torch.randn(200, 2, generator=rng), 100 * torch.randn(6, 2, generator=rng))).double()
    bad = torch.randn(200, 2, generator=rng).double() * 5 + 20
    assert clipped.clipped_density(real, bad).value == 0


def test_repeating_one_good_sample_covers_little(rng):
    # catches balls that count more than k samples
    real = torch.randn(300, 3, generator=rng).double()
    assert clipped.clipped_coverage(real, real[:1].repeat(300, 1)).value < 0.1


def test_the_intervals_hold_the_mean_over_other_samples(rng):
    # catches a variance that is too small by the number of neighbors, or of samples
    real = torch.randn(250, 3, generator=rng).double()
    sets = [1.4 * torch.randn(250, 3, generator=rng).double() + 0.4 for _ in range(40)]
    for metric in (clipped.clipped_density, clipped.clipped_coverage):
        found = [metric(real, fake) for fake in sets]
        mean = sum(one.value for one in found) / len(found)
        assert 0.05 < mean < 0.95
        spread = float(np.std([one.value for one in found]))
        width = sum(one.interval.high - one.interval.low for one in found) / len(found)
        assert 0.7 < width / (2 * 1.96 * spread) < 1.5


def test_as_metrics_both_sides_count_equally_many_and_say_so(rng):
    # catches neighbors or numbers that the note and the protocol do not name
    real, fake = (Features(torch.randn(n, 3, generator=rng).double()) for n in (130, 90))
    for k in (2, 4):
        ctx = context(real, fake, protocol(neighbors_n=80, density_k=k))
        for metric in (clipped.density_column, clipped.coverage_column):
            ((column, cell),) = metric(ctx).items()
            assert column.endswith("[digits]")
            assert cell.note == f"k={k}, 80 samples, 80 of the training split"
            assert cell.n == 80
    values = {k: clipped.clipped_coverage(real.values, fake.values, k).value for k in (2, 4)}
    assert values[2] != values[4]


def test_too_few_images_are_refused(rng):
    # catches a k-th neighbor that is not there
    with pytest.raises(UsageError, match="5 rows of real"):
        clipped.clipped_density(torch.randn(5, 2, generator=rng), torch.randn(50, 2, generator=rng))
    few = clipped.clipped_coverage(torch.randn(50, 2, generator=rng), torch.randn(5, 2, generator=rng))
    assert math.isfinite(few.value)
