"""The networks: sizes, places of attention, and the starting point."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tests.making import randomized
from zoo_core.errors import UsageError
from zoo_core.nn.embedding import FourierFeatures, sinusoidal
from zoo_core.nn.mlp import MLP, MLPConfig
from zoo_core.nn.resampling import Resampler
from zoo_core.nn.unet import ResidualBlock, SelfAttention, UNet, UNetConfig, folded, group_norm
from zoo_core.types import Cond, DataInfo


def unet(shape, time_range=1000.0, **options):
    """Return a U-Net for images of a shape."""
    return UNet(UNetConfig(**options), DataInfo("images", shape, levels=256), time_range=time_range)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 9, 13)])
def test_patches_are_folded_and_unfolded_in_place(shape):
    """Catches pixels that come out elsewhere, and a border that is cut off, where a side doesn't divide."""
    x = torch.randn(2, *shape)
    x4 = folded(x, 4)
    assert x4.shape == (2, shape[0] * 16, math.ceil(shape[1] / 4), math.ceil(shape[2] / 4))
    assert torch.equal(F.pixel_shuffle(x4, 4)[..., : shape[1], : shape[2]], x)
    net = randomized(unet(shape, channels=8, mult=(1, 2), fold=2)).eval()
    y = net(x, torch.tensor([10.0, 10.0]))
    assert y.shape == x.shape
    moved = x.clone()
    moved[:, :, -1, -1] += 1
    assert not torch.allclose(net(moved, torch.tensor([10.0, 10.0]))[:, :, -1, -1], y[:, :, -1, -1])


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 9, 13)])
def test_refinement_sees_each_pixel_of_the_input_at_its_own_place(shape):
    """With the trunk silenced the output still depends on the input, within three convolutions of 3x3: a
    refinement of folded pixels, or one that is shifted, would reach elsewhere."""
    net = unet(shape, channels=8, mult=(1, 2), fold=4, refine=6)
    x, t = torch.randn(1, *shape), torch.tensor([10.0])
    assert torch.equal(net(x, t), torch.zeros_like(x))
    randomized(net).eval()
    torch.nn.init.zeros_(net.last.weight)
    moved = x.clone()
    moved[:, :, 6, 5] += 1
    changed = (net(moved, t) != net(x, t)).any(1)[0].nonzero()
    assert changed.min(0).values.tolist() == [3, 2]
    assert changed.max(0).values.tolist() == [min(9, shape[1] - 1), 8]


def test_refinement_reads_the_trunk_and_the_image_that_it_is_given():
    data = DataInfo("images", (3, 8, 8), levels=256, task="paired", image_channels=1)
    net = randomized(UNet(UNetConfig(channels=8, mult=(1, 2), fold=4, refine=6), data, outputs=2)).eval()
    x, t, image = torch.randn(1, 3, 8, 8), torch.tensor([10.0]), torch.randn(1, 1, 8, 8)
    y = net(x, t, Cond(image=image))
    assert y.shape == (1, 6, 8, 8)
    assert not torch.allclose(net(x, 2 * t, Cond(image=image)), y)
    torch.nn.init.zeros_(net.last.weight)
    torch.nn.init.zeros_(net.last.bias)
    y = net(x, t, Cond(image=image))
    assert torch.equal(net(x, 2 * t, Cond(image=image)), y)
    image[:, :, 3, 3] += 1
    assert not torch.equal(net(x, t, Cond(image=image)), y)


def test_the_papers_cifar_network_has_its_size():
    """Catches a missing layer: 35.7 M parameters, and to the last one those of another implementation."""
    with torch.device("meta"):
        ours = unet((3, 32, 32), channels=128, mult=(1, 2, 2, 2), blocks=2, attention=(16,), dropout=0.1)
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
    net = randomized(unet(shape, channels=8, mult=mult, attention=(4, 7)))
    x = torch.randn(2, *shape)
    out = net(x, torch.tensor([1.0, 900.0]))
    assert out.shape == x.shape
    assert bool(torch.isfinite(out).all())


def test_too_many_levels_for_the_image():
    """Catches a convolution's own error where a preset meets small images."""
    with pytest.raises(UsageError, match="side 8"):
        unet((1, 8, 8), channels=8, mult=(1, 1, 1, 1, 1))


def test_attention_stands_where_it_is_asked_for():
    """Catches attention at the wrong side: two blocks down and three up at 16, one at the bottom."""

    def places(attention):
        with torch.device("meta"):
            net = unet((3, 32, 32), channels=16, mult=(1, 2, 2), blocks=2, attention=attention)
        return sum(isinstance(module, SelfAttention) for module in net.modules())

    assert places(()) == 1
    assert places((16,)) == 1 + 2 + 3
    assert places((5,)) == 1


def test_attention_is_over_pixels():
    """Catches tokens and channels swapped: a permutation of pixels permutes the result and nothing else."""
    layer = randomized(SelfAttention(8))
    x = torch.randn(2, 8, 3, 4)
    order = torch.randperm(12)

    def shuffled(images):
        return images.flatten(2)[..., order].unflatten(2, (3, 4))

    torch.testing.assert_close(layer(shuffled(x)), shuffled(layer(x)), rtol=1e-4, atol=1e-5)
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).chunk(3, 1)
    weights = (torch.einsum("nci,ncj->nij", q, k) / math.sqrt(8)).softmax(-1)
    expected = x + layer.project(torch.einsum("nij,ncj->nci", weights, v).unflatten(2, (3, 4)))
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "net",
    [
        unet((1, 8, 8), channels=8, attention=(4,)),
        MLP(MLPConfig(width=16), DataInfo("points", (8,), levels=None)),
    ],
    ids=["unet", "mlp"],
)
def test_start_and_use_of_inputs(net):
    """Catches a last layer that is not zero at the start, a time that is not used, and a dead parameter."""
    x = torch.randn(3, 1, 8, 8) if isinstance(net, UNet) else torch.randn(3, 8)
    t = torch.tensor([1.0, 500.0, 1000.0])
    assert not net(x, t).any()
    net = randomized(net)
    assert not torch.allclose(net(x, t), net(x, t.flip(0)), atol=1e-4)
    net(x, t).square().sum().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("channels", [8, 16, 24, 32, 48, 128, 384])
def test_norm_leaves_the_time_in(channels):
    """Catches groups of one channel, whose normalization removes a constant over the image: the time."""
    x, shift = torch.randn(2, channels, 4, 4), torch.randn(channels, 1, 1)
    norm = group_norm(channels)
    assert norm.num_groups == 32 or channels / norm.num_groups >= 4
    assert not torch.allclose(norm(x), norm(x + shift), atol=0.1)


def test_dropout_only_in_training():
    """Catches dropout that is left on in evaluation, or never on."""
    net = randomized(unet((1, 8, 8), channels=8, mult=(1,), dropout=0.5))
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


# -- DDPM++ and NCSN++

PLUS = {
    "channels": 128,
    "mult": (1, 2, 2, 2),
    "attention": (16,),
    "blocks": 4,
    "dropout": 0.1,
    "resample": "box",
    "skip_scale": 0.5**0.5,
    "attend_up": "last",
}
SCORE = PLUS | {"resample": "fir", "pyramid": True, "time": "fourier"}


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (
            PLUS,
            61_804_419,
        ),  # printed by arXiv:2509.15591, appendix C, of rectified flow's copy of the network
        (
            PLUS | {"mult": (2, 2, 2)},
            55_733_891 - 9 * 128,
        ),  # EDM's 55.7 M, without its nine augmentation labels
        # NCSN++ has no published count: DDPM++, a first layer for twice the features, and three convolutions.
        (SCORE, 61_804_419 + 128 * 512 + (3 * 9 + 1) * 128 + (128 * 9 + 1) * 256 + (256 * 9 + 1) * 256),
    ],
    ids=["ddpm++", "edm", "ncsn++"],
)
def test_song_networks_have_their_sizes(options, count):
    """Catches attention after every block on the way up, a missing shortcut, a pyramid of other widths."""
    with torch.device("meta"):
        net = unet((3, 32, 32), **options)
    assert sum(p.numel() for p in net.parameters()) == count


def small(**options):
    return randomized(unet((1, 8, 8), 1.0, channels=8, attention=(4,), **options))


@pytest.mark.parametrize(
    "options",
    [
        {"time": "fourier", "fourier_scale": 2.0},
        {"resample": "box"},
        {"resample": "fir"},
        {"pyramid": True},
        {"resample": "fir", "pyramid": True, "skip_scale": 0.5**0.5, "attend_up": "last"}
        | {"time": "fourier", "fourier_scale": 2.0},
    ],
    ids=["fourier", "box", "fir", "pyramid", "all"],
)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 7, 9)])
def test_an_option_is_used_and_its_parameters_are_alive(options, shape):
    """Catches a layer that is built and left out, an odd side that does not come back, a time not read."""
    net = small(**options)
    x, t = torch.randn(3, *shape), torch.tensor([1.0, 500.0, 1000.0])
    out = net(x, t)
    assert out.shape == x.shape
    assert not torch.allclose(out, net(x, t.flip(0)), atol=1e-4)
    out.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_smaller_sum_keeps_the_variance():
    """Catches a scale that is forgotten in a block or in attention: (x + h) / sqrt(2)."""
    torch.manual_seed(0)
    x, time = torch.randn(4, 64, 8, 8), torch.randn(4, 16)
    block = ResidualBlock(64, 64, 16, 0.0, 0.5**0.5)
    torch.testing.assert_close(block(x, time), x * 0.5**0.5)  # a new block adds nothing
    torch.testing.assert_close(SelfAttention(64, 0.5**0.5)(x), x * 0.5**0.5)
    torch.nn.init.normal_(
        block.conv2.weight, std=(9 * 64 * 0.36) ** -0.5
    )  # 0.36: what SiLU leaves of a normal
    assert float(block(x, time).var().detach()) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1)])
def test_resampling_is_a_filter(taps):
    """Catches taps that are not normalized, a shift by half a pixel, and channels that are mixed."""
    resampler = Resampler(taps)
    flat = torch.full((1, 2, 8, 8), 3.0)
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(resampler.down(flat)[..., 1:-1, 1:-1], flat[..., 2:4, 2:4])
    torch.testing.assert_close(
        resampler.up(flat, torch.Size((16, 16)))[inner], flat[0, 0, 0, 0].expand(1, 2, 12, 12)
    )
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    torch.testing.assert_close(resampler.down(ramp)[0, 0, 1, 1:-1], torch.tensor([2.5, 4.5]))
    if len(taps) == 2:
        torch.testing.assert_close(resampler.down(ramp), F.avg_pool2d(ramp, 2))
        torch.testing.assert_close(
            resampler.up(ramp, torch.Size((16, 16))), F.interpolate(ramp, scale_factor=2, mode="nearest")
        )
    else:  # a quarter and three quarters of its neighbors, as bilinear interpolation
        torch.testing.assert_close(
            resampler.up(ramp, torch.Size((16, 16)))[inner],
            F.interpolate(ramp, scale_factor=2, mode="bilinear", align_corners=False)[inner],
        )
    apart = torch.cat((flat[:, :1], -flat[:, :1]), 1)
    torch.testing.assert_close(resampler.down(apart)[:, 1], -resampler.down(apart)[:, 0])


def test_the_pyramid_shows_the_input_to_every_level():
    """Catches a pyramid that starts from the noise-free features: what it adds depends on the input alone."""
    plain, shown = small(), small(pyramid=True)
    x = torch.randn(1, 1, 8, 8)
    assert len(shown.pyramid) == 1
    assert len(plain.pyramid) == 0
    conv = shown.pyramid[0].conv
    expected = F.avg_pool2d(conv(x), 2) + 2.0
    torch.testing.assert_close(shown.pyramid[0](x, torch.full((1, 8, 4, 4), 2.0)), expected)


def test_fourier_features_are_random_and_kept():
    """Catches rates that are trained, or drawn anew at a load of a checkpoint; and a squared spread."""
    torch.manual_seed(0)
    features = FourierFeatures(4000, 16.0)
    assert list(features.parameters()) == []
    assert float(features.rates.std()) == pytest.approx(16, rel=0.05)
    other = FourierFeatures(4000, 16.0)
    other.load_state_dict(features.state_dict())
    t = torch.rand(5)
    torch.testing.assert_close(other(t), features(t))
    near, far = features(torch.tensor([0.3, 0.3001, 0.5]))[1:].sub(features(torch.tensor([0.3]))).norm(dim=1)
    assert float(near) < 0.02 * float(far)
    sine = features(torch.tensor([0.25]))[0, 7]
    assert float(sine) == pytest.approx(math.sin(2 * math.pi * 0.25 * float(features.rates[7])), abs=1e-4)
