"""The networks: sizes, places of attention, and the starting point."""

from __future__ import annotations

import math

import pytest
import torch

from zoo_core.errors import UsageError
from zoo_core.nn.embedding import sinusoidal
from zoo_core.nn.mlp import MLP
from zoo_core.nn.unet import SelfAttention, UNet, group_norm


def randomised(net):
    """Undo the zero start, behind which a fault would hide."""
    torch.manual_seed(0)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return net


def test_the_papers_cifar_network_has_its_size():
    """Catches a missing layer: 35.7 M parameters, and to the last one those of another implementation."""
    with torch.device("meta"):
        ours = UNet(3, 32, 128, (1, 2, 2, 2), 2, (16,), dropout=0.1)
    count = sum(p.numel() for p in ours.parameters())
    assert round(count / 1e6, 1) == 35.7
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        theirs = diffusers.UNet2DModel(
            sample_size=32,
            block_out_channels=(128, 256, 256, 256),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=None,
        )
    assert count == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(
    ("shape", "mult"),
    [
        ((1, 8, 8), (1, 2)),
        ((1, 28, 28), (1, 2, 2)),
        ((3, 7, 7), (1, 1, 2)),
        ((2, 9, 13), (1, 2)),
        ((1, 1, 1), (1,)),
    ],
)
def test_any_size(shape, mult):
    """Catches a skip that does not fit where a side is odd on its way down."""
    net = randomised(UNet(shape[0], shape[1], 8, mult, 1, (4, 7)))
    x = torch.randn(2, *shape)
    out = net(x, torch.tensor([1.0, 900.0]))
    assert out.shape == x.shape
    assert bool(torch.isfinite(out).all())


def test_too_many_levels_for_the_picture():
    """Catches a convolution's own error where a preset meets small pictures."""
    with pytest.raises(UsageError, match="side 8"):
        UNet(1, 8, 8, (1, 1, 1, 1, 1))


def test_attention_stands_where_it_is_asked_for():
    """Catches attention at the wrong side: two blocks down and three up at 16, one at the bottom."""

    def places(attention):
        with torch.device("meta"):
            net = UNet(3, 32, 16, (1, 2, 2), 2, attention)
        return sum(isinstance(module, SelfAttention) for module in net.modules())

    assert places(()) == 1
    assert places((16,)) == 1 + 2 + 3
    assert places((5,)) == 1


def test_attention_is_over_pixels():
    """Catches tokens and channels swapped: a permutation of pixels permutes the result and nothing else."""
    layer = randomised(SelfAttention(8))
    x = torch.randn(2, 8, 3, 4)
    order = torch.randperm(12)

    def shuffled(pictures):
        return pictures.flatten(2)[..., order].unflatten(2, (3, 4))

    torch.testing.assert_close(layer(shuffled(x)), shuffled(layer(x)), rtol=1e-4, atol=1e-5)
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).chunk(3, 1)
    weights = (torch.einsum("nci,ncj->nij", q, k) / math.sqrt(8)).softmax(-1)
    expected = x + layer.project(torch.einsum("nij,ncj->nci", weights, v).unflatten(2, (3, 4)))
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", [UNet(1, 8, 8, (1, 2), 1, (4,)), MLP(8, 16)], ids=["unet", "mlp"])
def test_start_and_use_of_inputs(net):
    """Catches a last layer that is not zero at the start, a time that is not used, and a dead parameter."""
    x = torch.randn(3, 1, 8, 8) if isinstance(net, UNet) else torch.randn(3, 8)
    t = torch.tensor([1.0, 500.0, 1000.0])
    assert not net(x, t).any()
    net = randomised(net)
    assert not torch.allclose(net(x, t), net(x, t.flip(0)), atol=1e-4)
    net(x, t).square().sum().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("channels", [8, 16, 24, 32, 48, 128, 384])
def test_norm_leaves_the_time_in(channels):
    """Catches groups of one channel, whose normalisation removes a constant over the picture: the time."""
    x, shift = torch.randn(2, channels, 4, 4), torch.randn(channels, 1, 1)
    norm = group_norm(channels)
    assert norm.num_groups == 32 or channels / norm.num_groups >= 4
    assert not torch.allclose(norm(x), norm(x + shift), atol=0.1)


def test_dropout_only_in_training():
    """Catches dropout that is left on in evaluation, or never on."""
    net = randomised(UNet(1, 8, 8, (1,), 1, (), dropout=0.5))
    x, t = torch.randn(2, 1, 8, 8), torch.ones(2)
    assert not torch.equal(net(x, t), net(x, t))
    net.eval()
    assert torch.equal(net(x, t), net(x, t))


def test_sinusoids():
    """Catches frequencies that leave out an end, and times that no longer differ in float32."""
    found = sinusoidal(torch.tensor([3.0]), 6)[0]
    rates = [1, 1e-2, 1e-4]
    expected = [math.sin(3 * r) for r in rates] + [math.cos(3 * r) for r in rates]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert len(sinusoidal(torch.arange(1000), 32).unique(dim=0)) == 1000
