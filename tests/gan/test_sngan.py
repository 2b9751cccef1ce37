"""SNGAN: every layer of the critic has spectral norm 1; hinge losses; nothing else is normalized."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from zoo_core.registry.resolution import resolve
from zoo_core.types import DataInfo
from zoo_gan.losses import HINGE, hinge_critic
from zoo_gan.sngan import SNGAN

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10)


def built(*words: str, data: DataInfo = DIGITS) -> SNGAN:
    config: Any = resolve(["plugin=sngan", "preset=tiny", *words])
    torch.manual_seed(0)
    return SNGAN(config, data)


def layers(net: nn.Module) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]


@torch.no_grad()
def converged(net: nn.Module, times: int = 300) -> None:
    """Let the power iteration of every layer converge: one step at each look at a weight in training mode."""
    net.train()
    for _ in range(times):
        for layer in layers(net):
            assert layer.weight is not None
    net.eval()


@pytest.mark.parametrize("net", ["dcgan", "resnet", "perceptron"])
def test_the_largest_singular_value_of_each_weight_is_one(net: str) -> None:
    """By torch's SVD of the matrix (outputs, inputs x height x width); catches a layer left out."""
    critic = built(f"model.net={net}").critic
    converged(critic)
    found = layers(critic)
    assert len(found) >= 3
    for layer in found:
        sigma = float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2))
        assert sigma == pytest.approx(1.0, abs=1e-3)
        original = layer.parametrizations.weight.original.detach()  # type: ignore[union-attr]
        assert float(torch.linalg.matrix_norm(original.flatten(1), ord=2)) != pytest.approx(1.0, abs=1e-2)


def test_a_critic_of_points_is_one_lipschitz() -> None:
    """Fully connected with ReLUs: |f(x) - f(y)| <= |x - y|, for the layers' norms multiply."""
    recipe = built(data=DataInfo("points", (2,), None))
    converged(recipe.critic)
    x, y = 3 * torch.randn(2, 4096, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        slope = (recipe.critic(x) - recipe.critic(y)).abs() / (x - y).norm(dim=1)
    assert 0 < float(slope.max()) <= 1 + 1e-3


def test_the_generator_and_the_option_switched_off_are_left_alone() -> None:
    recipe = built()
    assert not any(parametrize.is_parametrized(m) for m in recipe.generator.modules())
    plain = built("model.spectral_norm=false").critic
    assert not any(parametrize.is_parametrized(m) for m in plain.modules())


def test_initial_weights_are_laid_down_before_they_are_normalized() -> None:
    """Catches DCGAN's start written into a weight that is computed, and so lost."""
    critic = built("model.init=dcgan", "model.critic_width=32").critic
    original = layers(critic)[1].parametrizations.weight.original.detach()  # type: ignore[union-attr]
    assert float(original.std()) == pytest.approx(0.02, rel=0.05)


def test_the_hinge_lets_go_beyond_its_margin() -> None:
    """Eq. 16: real scores above 1 and generated ones below -1 cost nothing; at 0 each costs 1."""
    assert float(hinge_critic(torch.tensor([1.0, 5.0]), torch.tensor([-1.0, -9.0]))) == 0
    assert float(hinge_critic(torch.zeros(3), torch.zeros(3))) == 2
    assert float(hinge_critic(torch.tensor([-1.0]), torch.tensor([2.0]))) == 5
    fake = torch.zeros(3, requires_grad=True)
    HINGE.generator(fake).backward()  # Eq. 17 has no margin
    torch.testing.assert_close(fake.grad, torch.full((3,), -1 / 3))
    assert built().adversarial is HINGE


def test_resnets_pool_by_a_sum_only_where_weights_are_normalized() -> None:
    """Miyato's sum against Gulrajani's mean: the two differ by the number of places."""
    x = torch.randn(4, 1, 8, 8)
    critic = built("model.net=resnet").critic.eval()
    with torch.no_grad():
        summed = critic.features(x)
        critic.pool = "mean"
        torch.testing.assert_close(summed, 16 * critic.features(x))
    assert built("model.net=resnet", "model.spectral_norm=false").critic.pool == "mean"
