"""The networks that a game's options ask for: shapes, the residual ones' table, features and head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from zoo_core.nn.resnet import ResidualBlock, ResNetCritic, ResNetGenerator
from zoo_core.registry.resolution import resolve
from zoo_gan.networks import NetworksModel, build_critic, build_generator

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 12, 20)]


@pytest.mark.parametrize("net", ["dcgan", "resnet", "perceptron"])
@pytest.mark.parametrize("shape", SHAPES)
def test_networks_fit_any_even_image(net: Any, shape: tuple[int, ...]) -> None:
    """Images come out in [-1, 1], one score each; the score is the head's of the features."""
    model = NetworksModel(net=net, generator_width=4, critic_width=4, hidden=8, critic_norm="layer")
    x = build_generator(model, shape, latent_dim=5)(3 * torch.randn(3, 5))
    assert tuple(x.shape) == (3, *shape)
    assert float(x.detach().abs().max()) <= 1
    critic = build_critic(model, shape)
    features = critic.features(x)
    assert tuple(features.shape) == (3, critic.feature_dim)
    torch.testing.assert_close(critic.head(features).squeeze(1), critic(x))


def test_points_are_unbounded_and_fully_connected_whatever_is_asked() -> None:
    model = NetworksModel(net="resnet")
    x = build_generator(model, (2,), latent_dim=5)(1000 * torch.randn(64, 5))
    assert float(x.detach().abs().max()) > 1
    assert tuple(build_critic(model, (2,))(x).shape) == (64,)


def test_the_residual_networks_of_the_papers_at_32_pixels() -> None:
    """Gulrajani et al., appendix C: 4 x 4 x 128 doubled three times; a critic that halves twice, to 8 x 8,
    and stays there for two blocks; batch norm in the generator only."""
    config: Any = resolve(["plugin=wgan-gp", "preset=paper"])
    generator = build_generator(config.model, (3, 32, 32), config.model.latent_dim)
    critic = build_critic(config.model, (3, 32, 32))
    assert isinstance(generator, ResNetGenerator)
    assert isinstance(critic, ResNetCritic)
    assert generator._bottom == (128, 4, 4)
    up = [m.resample for m in generator.modules() if isinstance(m, ResidualBlock)]
    down = [m.resample for m in critic.modules() if isinstance(m, ResidualBlock)]
    assert (up, down) == (["up"] * 3, ["down", "down", "none", "none"])
    assert sum(isinstance(m, nn.BatchNorm2d) for m in generator.modules()) == 7
    assert not any(isinstance(m, nn.BatchNorm2d) for m in critic.modules())
    assert critic.pool == "mean"
    # By hand: 9 c c' + c' a convolution of 3 x 3, c c' + c' a shortcut of 1 x 1, 2 c a batch norm.
    wide = 9 * 128 * 128 + 128
    project = 128 * 2048 + 2048
    block = 2 * wide + 128 * 128 + 128 + 4 * 128
    made = project + 3 * block + 2 * 128 + 9 * 128 * 3 + 3
    assert sum(p.numel() for p in generator.parameters()) == made
    first = 9 * 3 * 128 + 128 + wide + 3 * 128 + 128
    evaluated = first + (2 * wide + 128 * 128 + 128) + 2 * 2 * wide + 129
    assert sum(p.numel() for p in critic.parameters()) == evaluated


@pytest.mark.parametrize("resample", ["up", "down", "none"])
def test_a_block_adds_to_its_shortcut(resample: Any) -> None:
    """With its second convolution at zero a block is its shortcut, resampled; catches a branch left out, and
    a pooling that does not commute with the shortcut."""
    block = ResidualBlock(3, 5, resample)
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    x = torch.randn(2, 3, 8, 8)
    y = nn.functional.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    if resample == "up":
        y = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
    elif resample == "down":
        y = y.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    torch.testing.assert_close(block(x), y)


def test_a_layer_norm_scores_each_image_by_itself() -> None:
    """What the gradient penalty needs: batch norm's scores change with the batch, layer norm's do not."""
    x = torch.randn(8, 1, 8, 8)
    for norm, same in (("layer", True), ("batch", False)):
        torch.manual_seed(0)
        critic = build_critic(NetworksModel(critic_norm=norm, critic_width=8), (1, 8, 8))
        assert torch.allclose(critic(x)[:4], critic(x[:4]), atol=1e-5) == same
