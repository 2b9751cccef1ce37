"""Divergences of pairs, and the optimum of GAN-CLS by search."""

from __future__ import annotations

import math

import pytest
import torch

from zoo_course.conditional import (
    TOPIC,
    class_densities,
    joint_divergence,
    labeled_divergence,
    matching_optimum,
)
from zoo_gan.text_gan import matching_aware


def test_e24_without_the_condition_swapped_classes_are_not_seen() -> None:
    """Catches a discriminator without y: it is satisfied by a generator that swaps all classes."""
    data = class_densities() / 2
    swapped = data.flip(0)
    assert joint_divergence(data.sum(0, keepdim=True), swapped.sum(0, keepdim=True)) == pytest.approx(
        0, abs=1e-12
    )
    assert joint_divergence(data, swapped) > 0.6
    assert joint_divergence(data, data) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("densities", [(1.0, 0.0, 1.0), (0.7, 0.2, 0.4)])
def test_the_optimum_of_gan_cls(densities: tuple[float, float, float]) -> None:
    right, wrong, fake = densities
    d = torch.linspace(1e-6, 1 - 1e-6, 500_001, dtype=torch.float64)
    value = right * d.log() + (wrong + fake) / 2 * (1 - d).log()
    found = matching_optimum(*(torch.tensor(v).double() for v in densities))
    assert float(found) == pytest.approx(float(d[value.argmax()]), abs=1e-5)


def test_the_loss_at_one_half_is_log_four() -> None:
    zero = torch.zeros(1)
    assert float(matching_aware(zero, zero, zero)) == pytest.approx(math.log(4))


def test_the_answers() -> None:
    first, second = TOPIC.exercises
    assert first.answer() == pytest.approx(2 / 3)
    by_hand = 0.5 * math.log(8 / 7) + 0.5 * (0.75 * math.log(6 / 7) + 0.25 * math.log(2))
    assert second.answer() == pytest.approx(by_hand)
    assert labeled_divergence(1.0) == 0
    assert labeled_divergence(0.0) == pytest.approx(math.log(2))
