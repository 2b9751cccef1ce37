"""Stacked digits: three digits a image, each channel read by the digits' classifier."""

from __future__ import annotations

from typing import Any

import torch

from tests.eval.fakes import context, values
from zoo_core.config import DataConfig
from zoo_core.data.digits import load, load_stacked
from zoo_eval.metrics.modes import modes
from zoo_eval.modes import classifier_card, modes_of_images


def test_channels_are_digits_of_their_own_split_and_the_label_reads_from_the_left() -> None:
    """Catches labels read backwards, and test digits among those that are trained on."""
    single, stack = load(DataConfig()), load_stacked(DataConfig(name="stacked-digits"))
    for name in ("train", "test"):
        split, digits = getattr(stack, name), getattr(single, name)
        known = {row.numpy().tobytes(): int(label) for row, label in zip(digits.x, digits.label, strict=True)}
        for row, label in zip(split.x[:200], split.label[:200], strict=True):
            seen = [known[channel.numpy().tobytes()] for channel in row]
            assert int(label) == 100 * seen[0] + 10 * seen[1] + seen[2]
            assert stack.class_names[int(label)] == "".join(map(str, seen))
    assert len(stack.train.label.unique()) == 1000


def test_the_digits_classifier_reads_each_channel() -> None:
    """Its errors on single digits, cubed: catches channels read in another order."""
    stack = load_stacked(DataConfig(name="stacked-digits"))
    card = classifier_card(stack)
    assert card is not None
    assert card["name"] == "digits-classifier"
    seen = modes_of_images(stack.test.x.split(500), stack, torch.device("cpu"))
    assert seen.count == 1000
    right = (seen.index == stack.test.label).double().mean()
    digits = load(DataConfig())
    alone = modes_of_images([digits.test.x], digits, torch.device("cpu"))
    once = (alone.index == digits.test.label).double().mean()
    # A stack's digits come from 360: allow for their uneven use, and for the stacks' own error.
    assert abs(float(right) - float(once) ** 3) < 0.03


def test_a_collapsed_model_is_seen_by_its_modes() -> None:
    """2,000 stacks of 10 classes show 10 modes; of all classes, drawn at random, about 1,000 (1 - e^-2)."""
    from types import SimpleNamespace

    stack = load_stacked(DataConfig(name="stacked-digits"))

    def features(index: torch.Tensor) -> Any:
        return SimpleNamespace(modes=SimpleNamespace(name="digits-classifier", index=index, count=1000))

    real = features(stack.train.label)
    few = features(torch.arange(2000) % 10)
    column = "modes[digits-classifier]"
    assert values(modes(context(real, few)))[column] == 10
    drawn = torch.randint(1000, (2000,), generator=torch.Generator().manual_seed(0))
    many = values(modes(context(real, features(drawn))))[column]
    assert 830 < many < 900  # its standard deviation is 9
