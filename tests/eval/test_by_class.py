"""The distance class by class: of what was asked for, to the same class, over all classes evenly."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torchmetrics.image.fid import _compute_fid

from tests.eval.fakes import context
from zoo_core.registry.metrics import direction
from zoo_eval.features import Features
from zoo_eval.metrics.by_class import by_class, class_distances
from zoo_eval.metrics.frechet import frechet_distance

COLUMN = "FD by class[digits]"


def classes(rng, n, apart=4.0):
    """Return features of three classes, and their labels; the last class is half as frequent."""
    label = torch.arange(n) % 5 // 2
    x = torch.randn(n, 4, generator=rng).double()
    x[:, 0] += apart * label
    return x, label


def asked_for(real, label, fake, asked):
    """Return the context of samples that were asked for by class."""
    data = SimpleNamespace(train=SimpleNamespace(label=label))
    return context(Features(real), Features(fake), data=data, label=asked)


def mean(real, label, fake, asked):
    return by_class(asked_for(real, label, fake, asked))[COLUMN].value


def test_it_is_the_mean_of_each_classs_distance(rng):
    """By torchmetrics' formula; catches a mean weighted by size, and classes that are compared crosswise."""
    (real, label), (fake, asked) = classes(rng, 1000), classes(rng, 700)
    found, n = class_distances(real, label, fake, asked)
    own = []
    for k in range(3):
        a, b = real[label == k], fake[asked == k]
        own.append(float(_compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())))
    assert list(found.values()) == pytest.approx(own, rel=1e-6)
    assert n == 140
    ctx = asked_for(real, label, fake, asked)
    value = by_class(ctx)[COLUMN]
    assert value.value == pytest.approx(sum(own) / 3, rel=1e-6)
    assert value.n == 140
    assert "3 classes of at least 140 examples" in value.note
    assert json.loads(ctx.attached["by-class"]) == pytest.approx({str(k): own[k] for k in range(3)}, rel=1e-6)
    assert direction(COLUMN) == ""


def test_classes_that_are_drawn_well_and_elsewhere_are_seen_here_alone(rng):
    """Catches a distance of all samples told once more."""
    (real, label), (fake, asked) = classes(rng, 2000), classes(rng, 2000)
    obedient = mean(real, label, fake, asked)
    muddled = mean(real, label, fake, asked[torch.randperm(2000, generator=rng)])
    assert frechet_distance(real, fake) < 0.05
    assert obedient < 0.1
    assert muddled > 3


def test_few_samples_of_a_class_cost_and_are_told(rng):
    (real, label), (fake, asked) = classes(rng, 2000), classes(rng, 15)
    value = by_class(asked_for(real, label, fake, asked))[COLUMN]
    assert value.value > 1
    assert "singular" in value.note


def test_a_class_with_no_samples_is_left_out_and_the_rest_counted(rng):
    (real, label), (fake, asked) = classes(rng, 200), classes(rng, 200)
    ctx = asked_for(real, label, fake, torch.where(asked == 2, 1, asked))
    assert "2 classes" in by_class(ctx)[COLUMN].note
    assert list(json.loads(ctx.attached["by-class"])) == ["0", "1"]


def test_nothing_is_told_where_nothing_was_asked_for(rng):
    real, label = classes(rng, 50)
    assert class_distances(real, label, real, torch.full((50,), 9)) == ({}, 0)
    why = by_class(asked_for(real, label, real, torch.full((50,), 9)))[COLUMN]
    assert why.reason == "no class has 2 samples and 2 training examples"
