"""DCGAN's table of layers and its initial weights, at 32 and 64 pixels."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from zoo_core.nn.dcgan import DCGANCritic, DCGANGenerator
from zoo_core.registry.resolution import resolve
from zoo_core.types import DataInfo
from zoo_gan.dcgan import DCGAN, DCGANConfig


def built(size: int, *words: str) -> DCGAN:
    config = resolve(["plugin=dcgan", *words])
    assert isinstance(config, DCGANConfig)
    torch.manual_seed(0)
    return DCGAN(config, DataInfo("any", (3, size, size), 256))


@pytest.mark.parametrize(
    ("size", "up", "down"),
    [
        (64, [1024, 512, 256, 128, 3], [3, 128, 256, 512, 1024]),
        (32, [512, 256, 128, 3], [3, 128, 256, 512]),
    ],
)
def test_the_papers_table(size: int, up: list[int], down: list[int]) -> None:
    """Figure 1 at 64 pixels: 4 x 4 x 1024 doubled to 64 x 64; at 32 one doubling less; convolutions of 4 and
    stride 2 that halve and double exactly."""
    recipe = built(size, "preset=paper")
    generator, critic = recipe.generator, recipe.critic
    assert isinstance(generator, DCGANGenerator)
    assert isinstance(critic, DCGANCritic)
    assert generator._bottom == (up[0], 4, 4)
    assert [m.in_features for m in generator.modules() if isinstance(m, nn.Linear)] == [100]
    ups = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    downs = [m for m in critic.modules() if isinstance(m, nn.Conv2d)]
    assert [ups[0].in_channels, *(m.out_channels for m in ups)] == up
    assert [downs[0].in_channels, *(m.out_channels for m in downs)] == down
    for m in (*ups, *downs):
        assert (m.kernel_size, m.stride, m.padding) == ((4, 4), (2, 2), (1, 1))


def test_batch_norm_stands_everywhere_but_at_the_images() -> None:
    """Section 3: none at the generator's output, none at the critic's input; no bias in front of one."""
    recipe = built(32)
    up = [type(m).__name__ for m in recipe.generator.net]
    assert up[:2] == ["BatchNorm2d", "ReLU"]  # of the projection
    assert up[-2:] == ["ConvTranspose2d", "Tanh"]
    down = [type(m).__name__ for m in recipe.critic.net]
    assert down[:5] == ["Conv2d", "LeakyReLU", "Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert down.count("BatchNorm2d") == 2
    slopes = {m.negative_slope for m in recipe.critic.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.2}
    for net in (recipe.generator.net, recipe.critic.net):
        for layer, after in itertools.pairwise(net):
            if isinstance(after, nn.BatchNorm2d):
                assert getattr(layer, "bias", None) is None


@pytest.mark.parametrize("size", [32, 64])
def test_weights_start_from_a_normal_of_two_hundredths(size: int) -> None:
    """Catches torch's own start, which is several times as wide in the small layers."""
    recipe = built(size)
    for module in recipe.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            weight = module.weight.detach()
            error = 1 / (2 * weight.numel()) ** 0.5  # of a standard deviation, relative
            assert float(weight.std()) == pytest.approx(0.02, rel=5 * error)
            assert abs(float(weight.mean())) < 5 * 0.02 / weight.numel() ** 0.5
            assert module.bias is None or not module.bias.detach().any()
        elif isinstance(module, nn.BatchNorm2d):
            assert float(module.weight.detach().mean()) == pytest.approx(1.0, abs=0.05)
            assert 0 < float(module.weight.detach().std()) < 0.05
            assert not module.bias.detach().any()


def test_the_optimizers_and_the_range() -> None:
    config = resolve(["plugin=dcgan", "preset=paper"])
    assert isinstance(config, DCGANConfig)
    for optimizer in (config.optim.critic, config.optim.generator):
        assert (optimizer.kind, optimizer.lr, optimizer.betas) == ("adam", 2e-4, (0.5, 0.999))
    assert config.train.batch_size == 128
    recipe = built(32)
    x = recipe.generator(50 * torch.randn(8, recipe.config.model.latent_dim))
    assert float(x.detach().abs().max()) <= 1
