"""The distance class by class: of what was asked for, to the same class, over all classes evenly."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.image.fid import _compute_fid

from tests.eval.fakes import protocol
from zoo_eval.features import Features
from zoo_eval.metrics.by_class import class_distances
from zoo_eval.metrics.frechet import frechet_distance

COLUMN = "FD[digits] by class"


def classes(rng, n, apart=4.0):
    """Return features of three classes, and their labels; the last class is half as frequent."""
    label = torch.arange(n) % 5 // 2
    x = torch.randn(n, 4, generator=rng).double()
    x[:, 0] += apart * label
    return Features(x, None, protocol()), label


def test_it_is_the_mean_of_each_classs_distance(rng):
    """By torchmetrics' formula; catches a mean weighted by size, and classes that are compared crosswise."""
    (real, label), (fake, asked) = classes(rng, 1000), classes(rng, 700)
    cell = class_distances(real, label, fake, asked)[COLUMN]
    own = []
    for k in range(3):
        a, b = real.values[label == k], fake.values[asked == k]
        own.append(float(_compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())))
    assert list(cell["classes"].values()) == pytest.approx(own, rel=1e-6)
    assert cell["value"] == pytest.approx(sum(own) / 3, rel=1e-6)
    assert cell["better"] == ""
    assert cell["n"] == 140
    assert "3 classes of at least 140 examples" in cell["note"]


def test_classes_that_are_drawn_well_and_elsewhere_are_seen_here_alone(rng):
    """Catches a distance of all samples told once more."""
    (real, label), (fake, asked) = classes(rng, 2000), classes(rng, 2000)
    obedient = class_distances(real, label, fake, asked)[COLUMN]["value"]
    muddled = class_distances(real, label, fake, asked[torch.randperm(2000, generator=rng)])[COLUMN]["value"]
    assert frechet_distance(real.values, fake.values) < 0.05
    assert obedient < 0.1
    assert muddled > 3


def test_few_samples_of_a_class_cost_and_are_told(rng):
    (real, label), (fake, asked) = classes(rng, 2000), classes(rng, 15)
    cell = class_distances(real, label, fake, asked)[COLUMN]
    assert cell["value"] > 1
    assert "singular" in cell["note"]


def test_a_class_with_no_samples_is_left_out_and_the_rest_counted(rng):
    (real, label), (fake, asked) = classes(rng, 200), classes(rng, 200)
    cell = class_distances(real, label, fake, torch.where(asked == 2, 1, asked))[COLUMN]
    assert list(cell["classes"]) == ["0", "1"]
    assert "2 classes" in cell["note"]


def test_nothing_is_told_where_nothing_was_asked_for(rng):
    real, label = classes(rng, 50)
    assert class_distances(real, label, real, None) == {}
    assert class_distances(real, None, real, label) == {}
    assert class_distances(real, label, real, torch.full((50,), 9)) == {}
