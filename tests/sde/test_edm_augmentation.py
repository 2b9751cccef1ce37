"""EDM's augmentation in training: what conditions the network, and what does not change without it."""

from __future__ import annotations

import pytest
import torch

from zoo_core.errors import UsageError
from zoo_core.registry.resolution import resolve
from zoo_core.types import Batch, Cond, Context, DataInfo
from zoo_sde.edm import EDM, EDMConfig

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10)


def recipe(prob: float, info: DataInfo = DIGITS) -> EDM:
    words = ["plugin=edm", f"data={info.name}", "preset=tiny", f"model.augment_prob={prob}"]
    config = resolve(words)
    assert isinstance(config, EDMConfig)
    torch.manual_seed(0)
    return EDM(config, info)


def test_the_network_learns_from_the_label_of_the_augmentation() -> None:
    """Catches a label that never reaches the network."""
    made = recipe(0.5)
    for layer in made.net.modules():  # the last layer starts at zero, behind which nothing has a gradient
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.1)
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    rng = torch.Generator().manual_seed(2)
    loss = made.loss(Batch(x, Cond(), torch.arange(16)), Context(0, 0.0, 0, rng))
    loss.loss.backward()
    weight = made.net.net.condition.augment.weight
    assert weight.shape[1] == 9
    assert bool((weight.grad != 0).any(0).all())


def test_no_label_and_a_label_of_zeros_are_the_same_network() -> None:
    """Catches samples drawn as if they were augmented: sampling passes no label."""
    made = recipe(0.5)
    x, t = torch.rand(4, 1, 8, 8), torch.zeros(4)
    torch.testing.assert_close(made.net(x, t, None), made.net(x, t, Cond(augment=torch.zeros(4, 9))))


def test_without_augmentation_the_network_has_no_parameters_for_it() -> None:
    assert recipe(0.0).net.net.condition.augment is None


def test_points_are_not_augmented() -> None:
    with pytest.raises(UsageError, match="points"):
        recipe(0.5, DataInfo("ring", (2,), None))
