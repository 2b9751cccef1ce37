"""Feature likelihood divergence: the authors' steps by automatic differentiation, closed forms, copies."""

from __future__ import annotations

import math

import pytest
import torch

from tests.eval.fakes import context, protocol
from zoo_core.errors import UsageError
from zoo_core.seeds import generator
from zoo_eval.features import Features
from zoo_fidelity import fld as module
from zoo_fidelity.fld import Mixture, fitted, fld, fld_column, standardized


def log_normal(x, centers, log_variance):
    squared = (x[:, None] - centers[None]).square().sum(2)
    d = x.shape[1]
    return -0.5 * squared / log_variance.exp() - d / 2 * (log_variance + math.log(2 * math.pi))


def nats(centers, variances, x):
    terms = log_normal(x, centers, variances) - math.log(len(centers))
    return float(-terms.logsumexp(1).mean() / x.shape[1])


def fit(centers, x):
    """The logarithms of variances, by autograd in float64, as the authors' code goes about it."""
    d = x.shape[1]
    squared = (x[:, None] - centers[None]).square().sum(2)
    variances = ((squared.min(0).values + 1e-3) / d).log().requires_grad_()
    origin = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([variances, origin], lr=0.5)
    losses = []
    for epoch in range(50):
        adam.zero_grad()
        own = log_normal(x, centers, variances) - math.log(len(centers))
        near_mean = log_normal(0.9 * (x - x.mean(0)), torch.zeros(1, d).double(), origin)
        loss = -torch.cat((own, near_mean), 1).logsumexp(1).mean() / d
        loss.backward()
        adam.step()
        with torch.no_grad():
            variances.clamp_(-40, 40)
        losses.append(loss.item())
        if epoch > 5 and max(abs(losses[-1] - losses[-j]) for j in range(1, 6)) < 5e-4:
            break
    return variances.detach(), len(losses)


def by_hand(train, test, fake):
    mean, std = test.mean(0), test.std(0)
    train, test, fake = ((x - mean) / std for x in (train, test, fake))
    order = torch.randperm(len(train), generator=generator(0, "fld"))
    half = min(len(fake), len(train) // 2)
    a, b = train[order[:half]], train[order[half:]]
    return 100 * (nats(fake, fit(fake, train)[0], test) - nats(a, fit(a, b)[0], test))


@pytest.mark.parametrize("scale", [1.0, 0.4, 3.0])
def test_it_agrees_with_the_authors_steps(rng, scale):
    # catches a wrong derivative, another stopping rule, a baseline of another size
    train, test = torch.randn(120, 5, generator=rng).double(), torch.randn(60, 5, generator=rng).double()
    fake = scale * torch.randn(45, 5, generator=rng).double() + 0.1
    assert fld(train, test, fake).value == pytest.approx(by_hand(train, test, fake), abs=0.02)


def test_the_fit_takes_as_many_steps_and_ends_where_they_do(rng):
    # catches losses that are compared with themselves, and widths that are not clamped
    x, centers = torch.randn(80, 4, generator=rng).double(), torch.randn(30, 4, generator=rng).double()
    expected, steps = fit(centers, x)
    assert 7 <= steps < 50
    found = fitted(centers, x).log_variances
    assert found.tolist() == pytest.approx(expected.tolist(), abs=2e-3)
    centers[:5] = x[:5]  # copies, whose widths shrink
    expected, steps = fit(centers, x)
    assert steps == 50
    found = fitted(centers, x).log_variances
    assert found.tolist() == pytest.approx(expected.tolist(), abs=2e-2)
    assert float(found[:5].max()) < float(found[5:].min())


def test_blocks_do_not_change_the_fit(rng, monkeypatch):
    # catches rows lost at a block's edge
    x, centers = torch.randn(70, 3, generator=rng).double(), torch.randn(20, 3, generator=rng).double()
    whole = fitted(centers, x).log_variances
    monkeypatch.setattr(module, "_BLOCK", 16)
    assert fitted(centers, x).log_variances.tolist() == pytest.approx(whole.tolist(), abs=1e-4)


def test_one_gaussian_has_its_closed_form(rng):
    # catches a missing dimension, weight or constant
    x = torch.randn(50, 3, generator=rng).double()
    made = Mixture(torch.zeros(1, 3).double(), torch.tensor([0.7]).double())
    expected = 0.5 * (float(x.square().sum(1).mean()) / 3 / math.exp(0.7) + 0.7 + math.log(2 * math.pi))
    assert made.nats(x) == pytest.approx(expected)


def test_the_interval_is_as_wide_as_the_spread_over_other_samples(rng):
    # catches the variance of a half-sample taken for that of all
    train, test = torch.randn(2, 50, 3, generator=rng).double()
    found = [fld(train, test, 1.3 * torch.randn(40, 3, generator=rng).double()) for _ in range(12)]
    spread = float(torch.tensor([one.value for one in found]).std())
    width = sum(one.interval.high - one.interval.low for one in found) / len(found)
    assert 0.7 < width / (2 * module.STUDENT * spread) < 1.5


def test_copies_are_worse_than_new_examples_and_bad_samples_too(rng):
    # catches a fit to the test split, under which copies are best
    train, test, new = torch.randn(3, 200, 4, generator=rng).double()
    fresh = fld(train, test, new).value
    assert abs(fresh) < 10
    copies = fld(train, test, train)
    assert copies.value == copies.interval.high == 10_000
    assert copies.note == "4 features that vary; cut at 10,000"
    assert fld(train, test, torch.cat((train[:100], new[:100]))).value > fresh + 2
    assert fld(train, test, new[:4].repeat(50, 1)).value > fresh + 10
    assert fld(train, test, 4 * new).value > fresh + 10


def test_features_that_are_constant_are_left_out(rng):
    # catches a division by a standard deviation of 0
    sides = [torch.randn(60, 3, generator=rng).double() for _ in range(3)]
    plain = fld(*sides)
    constant = fld(*(torch.cat((x, torch.full((60, 2), 5.0).double()), 1) for x in sides))
    assert constant.value == pytest.approx(plain.value)
    assert constant.note == plain.note == "3 features that vary"
    with pytest.raises(UsageError, match="all equal"):
        standardized(*(torch.ones(30, 2).double() for _ in range(3)))


def test_units_change_nothing(rng):
    # catches features that are not standardized
    sides = [torch.randn(60, 3, generator=rng).double() for _ in range(3)]
    units = torch.tensor([1.0, 30.0, 0.02]).double()
    assert fld(*(x * units + 4 for x in sides)).value == pytest.approx(fld(*sides).value, abs=1e-2)


def test_as_a_metric_it_names_its_splits(rng):
    train, test, fake = (Features(torch.randn(n, 3, generator=rng).double()) for n in (100, 40, 90))
    found = fld_column(context(train, fake, protocol(neighbors_n=70), test=test))["FLD[digits]"]
    assert found.n == 70
    assert "around 70 samples, fitted to 70 of the training split, likelihood of 40 of the test" in found.note
