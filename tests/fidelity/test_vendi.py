"""Vendi score: closed forms, the whole kernel matrix, and what a sample moves."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.eval.fakes import context
from zoo_core.results import NotApplicable
from zoo_eval.features import Features
from zoo_fidelity.vendi import spectrum, unit_rows, vendi, vendi_column


def by_hand(x):
    """From the eigenvalues of the whole kernel matrix of cosines."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(x @ x.T / len(x))
    values = values[values > 1e-12]
    return np.exp(-(values * np.log(values)).sum())


@pytest.mark.parametrize(("n", "d"), [(40, 6), (12, 30), (20, 20)])
def test_it_is_the_entropy_of_the_kernel_matrix(rng, n, d):
    # catches eigenvalues of the smaller matrix that are not those of the larger
    x = torch.randn(n, d, generator=rng).double() + 0.5
    assert vendi(unit_rows(x)).value == pytest.approx(by_hand(x.numpy()), rel=1e-9)
    values, coordinates = spectrum(unit_rows(x))
    assert float(values.sum()) == pytest.approx(1)
    assert coordinates.sum(1).tolist() == pytest.approx([1.0] * n)
    assert coordinates.mean(0).tolist() == pytest.approx(values.tolist(), abs=1e-12)


def test_equal_rows_count_as_one_and_orthogonal_ones_as_many():
    # catches a sum of logarithms of the wrong sign or base
    assert vendi(unit_rows(torch.full((9, 4), 3.0).double())).value == pytest.approx(1)
    assert vendi(unit_rows(7 * torch.eye(6).double())).value == pytest.approx(6)


def test_orthogonal_groups_count_by_their_entropy():
    # catches groups that count alike whatever their sizes
    sizes = torch.tensor([5, 3, 2])
    x = torch.eye(3).double().repeat_interleave(sizes, 0)
    p = sizes / 10.0
    assert vendi(x).value == pytest.approx(float((-p * p.log()).sum().exp()))


def test_repeats_and_lengths_change_nothing(rng):
    # catches a score that grows with the number of samples, or that sees the norm of features
    x = torch.randn(30, 5, generator=rng).double()
    once = vendi(unit_rows(x)).value
    assert vendi(unit_rows(x.repeat(3, 1))).value == pytest.approx(once)
    assert vendi(unit_rows(x * torch.rand(30, 1, generator=rng).double().add(0.1))).value == pytest.approx(
        once
    )


def test_the_interval_is_as_wide_as_the_spread_over_other_samples(rng):
    # catches an influence without the factor of the value, or with the wrong sign
    found = [vendi(unit_rows(torch.randn(200, 6, generator=rng).double() + 0.8)) for _ in range(40)]
    spread = float(np.std([one.value for one in found]))
    width = sum(one.interval.high - one.interval.low for one in found) / len(found)
    assert 0.75 < width / (2 * 1.96 * spread) < 1.35


def ctx(rng, fake, image=True):
    data = SimpleNamespace(info=SimpleNamespace(is_image=image))
    return context(None, Features(fake), test=Features(torch.randn(50, 4, generator=rng).double()), data=data)


def test_as_a_metric_it_names_its_kernel_and_the_test_splits_score(rng):
    found = vendi_column(ctx(rng, torch.randn(80, 4, generator=rng).double()))["vendi[digits]"]
    assert found.note.startswith("cosine kernel, 80 samples; test split of 50: 3.")
    assert found.n == 80


def test_points_and_features_without_a_direction_have_none(rng):
    # catches a cosine of points, or a division by 0
    fake = torch.randn(80, 4, generator=rng).double()
    assert isinstance(vendi_column(ctx(rng, fake, image=False))["vendi[digits]"], NotApplicable)
    fake[3] = 0
    assert isinstance(vendi_column(ctx(rng, fake))["vendi[digits]"], NotApplicable)
