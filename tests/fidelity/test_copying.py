"""C_T: the authors' arithmetic on scipy's statistic, its law for new examples, and copies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from tests.eval.fakes import context
from zoo_core.results import NotApplicable
from zoo_eval.features import Features
from zoo_fidelity import copying as module
from zoo_fidelity.copying import cell_scores, copying, copying_column, k_means, rank_score


@pytest.mark.parametrize("levels", [1000, 4])
def test_the_score_is_the_authors_of_scipys_statistic(rng, levels):
    # catches the two sides exchanged, ties counted as wins, the correction of the wrong sign
    samples, test = (torch.randint(levels, (n,), generator=rng).double() for n in (30, 50))
    u = mannwhitneyu(samples.numpy(), test.numpy(), alternative="less").statistic
    expected = (u - (30 * 50 / 2 - 0.5)) / math.sqrt(30 * 50 * 81 / 12)
    assert rank_score(samples, test) == pytest.approx(expected)


def test_c_t_is_the_mean_over_cells_by_their_test_examples(rng):
    # catches weights of the samples, and neighbors in other cells
    train, test, fake = (torch.randn(n, 2, generator=rng).double() for n in (200, 150, 180))
    k = 3  # 150 test examples
    cells = [part.numpy() for part in k_means(train, k, test, fake)]
    total, weight = 0.0, 0.0
    for cell in range(k):
        t, p, q = (x.numpy()[of == cell] for x, of in zip((train, test, fake), cells, strict=True))
        near = [np.sqrt(((x[:, None] - t[None]) ** 2).sum(2)).min(1) for x in (q, p)]
        u = sum((a > near[1]).sum() + 0.5 * (a == near[1]).sum() for a in near[0])
        m, n = len(q), len(p)
        total += n / 150 * (u - m * n / 2 + 0.5) / math.sqrt(m * n * (m + n + 1) / 12)
        weight += n / 150
    value, used, of = copying(train, test, fake)
    assert (used, of) == (k, k)
    assert value == pytest.approx(total / weight, abs=1e-9)


def test_new_examples_are_near_0_copies_far_below_and_noise_far_above(rng):
    # catches a statistic of the wrong sign
    train, test, new = torch.randn(3, 400, 4, generator=rng).double()
    assert abs(copying(train, test, new)[0]) < 2
    near = train + 0.01 * torch.randn(400, 4, generator=rng).double()
    assert copying(train, test, train)[0] < -5
    assert copying(train, test, near)[0] < -5
    assert copying(train, test, 2 * new)[0] > 3


def test_of_one_cell_new_examples_have_a_standard_normal_score(rng):
    # catches a standard deviation of another number of pairs
    scores = torch.tensor([rank_score(*torch.rand(2, 40, generator=rng)) for _ in range(400)])
    assert abs(float(scores.mean())) < 0.2
    assert float(scores.std()) == pytest.approx(1, abs=0.1)


def test_cells_with_few_samples_are_left_out(rng):
    # catches a cell that three samples decide
    train, test = (torch.cat((x, x + 100)) for x in torch.randn(2, 100, 2, generator=rng).double())
    for far, used in ((20, 1), (21, 2)):
        fake = torch.cat(
            (torch.randn(60, 2, generator=rng), torch.randn(far, 2, generator=rng) + 100)
        ).double()
        cells = tuple((x[:, 0] > 50).long() for x in (train, test, fake))
        assert len(cell_scores(train, test, fake, cells)) == used


def test_the_number_of_cells_follows_the_test_split(rng, monkeypatch):
    # catches more cells than there are test examples for
    train, fake = torch.randn(2, 300, 2, generator=rng).double()
    assert copying(train, fake[:120], fake)[2] == 2
    assert copying(train, fake[:30], fake)[2] == 1
    monkeypatch.setattr(module, "CELLS", 3)
    assert copying(train, fake, fake)[2] == 3


def test_as_a_metric_it_names_its_cells_and_splits(rng):
    train, test, fake = (Features(torch.randn(n, 3, generator=rng).double()) for n in (100, 110, 90))
    found = copying_column(context(train, fake, test=test))["C_T[digits]"]
    assert found.note == (
        "2 of 2 cells of k-means, 90 samples and 110 test examples by their nearest of 100 training examples"
    )
    few = Features(fake.values[:15])
    assert isinstance(copying_column(context(train, few, test=test))["C_T[digits]"], NotApplicable)
