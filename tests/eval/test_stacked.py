"""Stacked digits: three digits a picture, each channel read by the digits' judge."""

from __future__ import annotations

import torch

from zoo_core.config import DataConfig
from zoo_core.data.digits import load, load_stacked
from zoo_eval.metrics.modes import judge_card, modes, modes_of_pictures


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


def test_the_digits_judge_reads_each_channel() -> None:
    """Its errors on single digits, cubed: catches channels read in another order."""
    stack = load_stacked(DataConfig(name="stacked-digits"))
    card = judge_card(stack)
    assert card is not None
    assert card["name"] == "digits-classifier"
    seen = modes_of_pictures(stack.test.x.split(500), stack, torch.device("cpu"))
    assert seen.count == 1000
    right = (seen.index == stack.test.label).double().mean()
    digits = load(DataConfig())
    alone = modes_of_pictures([digits.test.x], digits, torch.device("cpu"))
    once = (alone.index == digits.test.label).double().mean()
    # A stack's digits come from 360: allow for their uneven use, and for the stacks' own error.
    assert abs(float(right) - float(once) ** 3) < 0.03


def test_a_collapsed_model_is_seen_by_its_modes() -> None:
    """2,000 stacks of 10 classes show 10 modes; of all classes, drawn at random, about 1,000 (1 - e^-2)."""
    from types import SimpleNamespace

    stack = load_stacked(DataConfig(name="stacked-digits"))

    def features(index: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(modes=SimpleNamespace(name="digits-classifier", index=index, count=1000))

    real = features(stack.train.label)
    few = features(torch.arange(2000) % 10)
    assert modes(real, few)["modes[digits-classifier]"]["value"] == 10  # type: ignore[arg-type]
    drawn = torch.randint(1000, (2000,), generator=torch.Generator().manual_seed(0))
    many = modes(real, features(drawn))["modes[digits-classifier]"]["value"]  # type: ignore[arg-type]
    assert 830 < many < 900  # its standard deviation is 9
