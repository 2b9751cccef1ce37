"""What losses of translation ask for, against torch's statistics."""

from __future__ import annotations

import pytest
import torch

from zoo_course.translation import MAPS, TOPIC, best_constant, cycle_loss, domains, identity_loss, patch_side
from zoo_gan.cyclegan import Translators


def test_absolute_errors_ask_for_the_median_and_squares_for_the_mean() -> None:
    values = torch.tensor([0.1, 0.4, 1.7], dtype=torch.float64)
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert best_constant(values, weights, 1) == pytest.approx(0.4, abs=2e-4)
    assert best_constant(values, weights, 2) == pytest.approx(float(values.mean()), abs=2e-4)


def test_both_maps_have_no_cycle_loss_and_the_same_distribution() -> None:
    a, content, b = domains(4000, seed=0)
    ends = []
    for there, back in MAPS.values():
        assert cycle_loss(there, back, a, b) == pytest.approx(0, abs=1e-12)
        ends.append(there(a))
    torch.testing.assert_close(ends[0].mean(0), ends[1].mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(ends[0].T.cov(), ends[1].T.cov(), atol=0.05, rtol=0)
    first = [end[content == 0].mean(0) for end in ends]
    assert float((first[0] - first[1]).norm()) > 1.9
    right, wrong = (identity_loss(there, b) for there, _ in MAPS.values())
    assert right < 0.3 < wrong


def test_the_losses_are_those_of_the_model() -> None:
    a, _, b = domains(20, seed=3)
    there, back = MAPS["content exchanged"]
    model = Translators(torch.nn.Identity(), torch.nn.Identity())
    assert float(model.identity(a, b)) == 0
    found = cycle_loss(lambda x: x + 1, lambda x: x, a, b)
    assert found == pytest.approx(2.0)
    assert cycle_loss(there, back, a, b) == pytest.approx(0, abs=1e-12)


def test_the_answers() -> None:
    first, second = TOPIC.exercises
    y = torch.tensor([0.0] * 6 + [1.0] * 4)
    assert first.answer() == pytest.approx(float(y.median()), abs=1e-4)
    assert second.answer() == 1 + 3 * (1 + 2 + 4 + 4)
    assert patch_side(3) == 70
