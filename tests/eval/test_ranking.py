"""Ranks of rows: the moderated t-test, Holm's correction and tie groups, against plain implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from zoo_eval.statistics.ranking import Moderated, Rows, holm, moderate, prior, rank, tie_groups


def lognormal(rng, spread, n, medians):
    return [np.exp(math.log(m) + spread * rng.standard_normal(n)).tolist() for m in medians]


def moderated(seed, rows):
    rng = np.random.default_rng(seed)
    mean, error = np.sort(rng.normal(0, 2, rows)), rng.gamma(2, 0.1, rows)
    return Moderated(mean, error, rng.choice([4.0, 7.0], rows), 2.0, 1.0)


def plain_holm(rows, level=0.05):
    """The significant pairs of the definition: p-values sorted, each against its own level."""
    i, j = np.triu_indices(len(rows.mean), 1)
    t = np.abs(rows.mean[i] - rows.mean[j]) / np.sqrt(rows.error[i] ** 2 + rows.error[j] ** 2)
    p = 2 * stats.t.sf(t, np.minimum(rows.df[i], rows.df[j]))
    pairs = set()
    for step, k in enumerate(np.argsort(p)):
        if p[k] > level / (len(p) - step):
            break
        pairs.add((int(i[k]), int(j[k])))
    return pairs


@pytest.mark.parametrize("rows", [2, 3, 10, 40])
@pytest.mark.parametrize("seed", range(5))
def test_holm_is_its_definition(rows, seed):
    # catches Bonferroni, a threshold one step off, pairs counted twice, other degrees of freedom
    table = moderated(seed, rows)
    threshold, different = holm(table)
    pairs = plain_holm(table)
    assert different == len(pairs)
    assert threshold == pytest.approx(0.05 / max(1, rows * (rows - 1) // 2 - len(pairs)))


def test_holm_of_a_large_table_errs_on_the_safe_side():
    # catches buckets that count with their smallest error
    table = moderated(0, 400)
    threshold, different = holm(table)
    exact = len(plain_holm(table))
    assert 0.9 * exact < different <= exact
    assert threshold <= 0.05 / (400 * 399 // 2 - exact)


@pytest.mark.parametrize("seed", range(10))
def test_a_tie_group_holds_no_two_rows_that_differ(seed):
    # catches a comparison with the group's first row only, and a representative of larger error
    table = moderated(seed, 40)
    threshold, _ = holm(table)
    groups = tie_groups(table, threshold)
    pairs = plain_holm(table)
    assert (np.diff(groups) >= 0).all()
    assert not any(groups[i] == groups[j] for i, j in pairs)
    for k in range(1, 40):
        if groups[k] > groups[k - 1]:  # it had to start
            assert any((i, k) in pairs for i in range(k) if groups[i] == groups[k - 1])


@pytest.mark.parametrize("d0", [3.0, 12.0])
def test_the_prior_of_variances_is_found(d0):
    # catches s0^2 for its inverse, d0 / 2 for d0, exchanged degrees of freedom
    rng = np.random.default_rng(0)
    df = rng.choice([2.0, 4.0], 20_000)
    found_d0, found_s0 = prior(0.04 * rng.f(df, d0), df)
    assert found_d0 == pytest.approx(d0, rel=0.1)
    assert found_s0 == pytest.approx(0.04, rel=0.05)
    assert prior(0.04 * rng.chisquare(df) / df, df)[0] > 100


def test_a_moderated_variance_lies_between_the_rows_own_and_the_tables():
    # catches weights exchanged, and n for n - 1
    rng = np.random.default_rng(1)
    scores = (0.2 * np.sqrt(4 / rng.chisquare(4, 500)))[:, None] * rng.standard_normal((500, 3))
    rows = Rows(scores.ravel(), np.full(500, 3))
    assert rows.variances == pytest.approx(scores.var(1, ddof=1))
    found = moderate(rows, np.arange(500))
    own, table, d0 = rows.variances, found.prior_variance, found.prior_df
    assert math.isfinite(d0)
    assert found.error**2 * 3 == pytest.approx((d0 * table + 2 * own) / (d0 + 2))
    assert found.df == pytest.approx(d0 + 2)


def test_two_rows_are_students_test():
    # catches a variance or degrees of freedom of one row only: with two rows there is one variance for both
    a, b = [1.0, 1.3, 0.9], [1.6, 2.1, 1.9]
    found = rank([a, b], better="lower", testable=[True, True])
    expected = stats.ttest_ind(np.log(a), np.log(b)).pvalue
    assert found.places[1].p_above == pytest.approx(expected, rel=1e-9)
    assert [place.rank for place in found.places] == [1, 2]
    assert found.pairs == found.different == 1


def test_ranks_are_competition_ranks_in_either_direction():
    # catches ranks 1, 2 after a tie of two, and the order of "higher"
    rng = np.random.default_rng(2)
    rows = lognormal(rng, 0.05, 5, [8, 1, 1.01, 8.1, 64])
    lower = rank(rows, better="lower", testable=[True] * 5)
    assert [place.rank for place in lower.places] == [3, 1, 1, 3, 5]
    assert [place.tied for place in lower.places] == [True, True, True, True, False]
    higher = rank(rows, better="higher", testable=[True] * 5)
    assert [place.rank for place in higher.places] == [2, 4, 4, 2, 1]
    assert higher.order[0] == 4
    assert lower.order == higher.order[::-1]
    for place in (*lower.places, *higher.places):
        assert place.interval[0] < place.center < place.interval[1]


def test_the_separable_ratio_is_where_a_pair_becomes_significant():
    # catches a difference of logs given as a ratio, one error for two
    base = [1.0, 1.2, 0.9]
    ratio = rank([base, [2 * x for x in base]], better="lower", testable=[True] * 2).separable
    for factor, ranks in ((0.999, [1, 1]), (1.001, [1, 2])):
        rows = [base, [ratio * factor * x for x in base]]
        assert [p.rank for p in rank(rows, better="lower", testable=[True] * 2).places] == ranks


def test_rows_that_cannot_be_tested_have_no_rank_and_change_none():
    # catches a deterministic baseline whose variance of zero enters the table's, and a rank from one seed
    rng = np.random.default_rng(3)
    rows = lognormal(rng, 0.1, 3, [1, 5, 25])
    alone = rank(rows, better="lower", testable=[True] * 3)
    beside = [*rows, [0.1], [7.0, 7.0, 7.0], [3.0, 3.1, 3.2], [1.0, -1.0]]
    found = rank(beside, better="lower", testable=[True] * 5 + [False, True])
    assert found.places[:3] == alone.places
    assert [place.rank for place in found.places[3:]] == [None] * 4
    assert [place.reason for place in found.places[3:]] == [
        "one seed",
        "the same score at all seeds",
        "deterministic",
        "a score <= 0 has no logarithm",
    ]
    assert found.order == (6, 3, 0, 5, 1, 4, 2)


def test_rows_beside_count_in_the_pairs_and_in_the_variance_of_the_table():
    # catches a state that is corrected for its own pairs only, and rows beside that get a place
    rng = np.random.default_rng(6)
    rows = lognormal(rng, 0.1, 3, [1, 1.3, 1.7, 2.2]) + lognormal(rng, 0.3, 3, [0.9, 1.5, 1.6, 40])
    whole = rank(rows, better="lower", testable=[True] * 8)
    some = rank(rows[:4], better="lower", testable=[True] * 4, beside=[*rows[4:], [1.0], [2.0, 2.0]])
    assert (some.pairs, some.different, some.threshold) == (28, whole.different, whole.threshold)
    assert (some.prior_df, some.prior_variance) == (whole.prior_df, whole.prior_variance)
    assert [p.interval for p in some.places] == [p.interval for p in whole.places[:4]]
    assert some.order == (0, 1, 2, 3)
    assert some.places[0].rank == 1
    alone = rank(rows[:4], better="lower", testable=[True] * 4)
    assert some.threshold < alone.threshold


def test_scores_below_zero_are_compared_on_the_linear_scale():
    # catches a logarithm of a likelihood in nats
    rows = [[-3.0, -3.1, -2.9], [1.0, 1.1, 0.95], [1.02, 1.1, 0.97]]
    found = rank(rows, better="higher", testable=[True] * 3, scale="linear")
    assert [place.rank for place in found.places] == [3, 1, 1]
    assert found.places[0].center == pytest.approx(-3)


def test_tables_without_pairs():
    # catches a division by no pairs
    one = rank([[1.0, 2.0]], better="lower", testable=[True])
    assert (one.places[0].rank, one.pairs, one.separable) == (1, 0, None)
    none = rank([[1.0], [0.5]], better="lower", testable=[True, True])
    assert none.order == (1, 0)
    assert [place.rank for place in none.places] == [None, None]


@pytest.mark.parametrize("rows", [[], [[1.0], []], [[math.nan, 1.0]], [[math.inf]]])
def test_scores_that_are_none_are_refused(rows):
    # catches a NaN that sorts anywhere
    with pytest.raises(ValueError, match="not finite"):
        rank(rows, better="lower", testable=[True] * len(rows))


def test_identical_models_seldom_get_two_ranks():
    # catches a test without a correction for pairs: 4.5 standard errors above 5 % of 300 tables
    rng = np.random.default_rng(4)
    bad = 0
    for _ in range(300):
        rows = lognormal(rng, 0.2, 3, [1] * 10)
        bad += max(place.rank for place in rank(rows, better="lower", testable=[True] * 10).places) > 1
    assert bad / 300 < 0.05 + 4.5 * (0.05 * 0.95 / 300) ** 0.5
