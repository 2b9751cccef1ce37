"""The feature network that needs no download."""

from __future__ import annotations

import pytest
import torch

from tests.eval.fakes import context, protocol
from zoo_core.config import EvalConfig
from zoo_core.errors import MachineError, UsageError
from zoo_core.interfaces import HasLayers
from zoo_core.types import DataInfo
from zoo_eval import zoo_extractors
from zoo_eval.extractors import effnet
from zoo_eval.features import Features
from zoo_eval.metrics import frechet, kernel

INFO = DataInfo("icons", (3, 32, 32), 256)


@pytest.fixture(scope="module")
def extractor():
    return effnet.effnet_lite0(EvalConfig(extractor="effnet-lite0"), "cpu")


def images(n: int, channels: int = 3, side: int = 32) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, channels, side, side), generator=rng, dtype=torch.uint8)


def test_features_are_those_of_the_reference_network(extractor):
    """Catches weights loaded in another order, another padding, epsilon or input range."""
    from efficientnet_lite_pytorch import EfficientNet

    reference = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(effnet.weights_path()))
    x = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        expected = reference.eval().extract_features(x).mean((2, 3))
        found = extractor.net(x)
    assert expected.abs().max() > 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_input_is_resized_and_scaled(extractor):
    """Catches another side, another interpolation, or values that are not in [-1, 1]."""
    levels = images(2)
    with torch.no_grad():
        found, logits = extractor(levels, INFO)
        x = torch.nn.functional.interpolate(levels / 255, (96, 96), mode="bicubic", antialias=True)
        expected = extractor.net(2 * x.clamp(0, 1) - 1)
    assert found.shape == (2, effnet.EffNetLite0.dim)
    assert logits is None
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_large_images_are_seen_at_the_networks_own_size(extractor):
    """Catches a fixed side: 64x64 images are brought to 224, as the protocol's resize field says."""
    seen = []
    handle = extractor.net.register_forward_pre_hook(lambda net, args: seen.append(args[0].shape[-1]))
    with torch.no_grad():
        for side in (48, 64):
            extractor(images(1, side=side), DataInfo("icons", (3, side, side), 256))
    handle.remove()
    assert seen == [96, 224]


def test_gray_images_count_as_three_equal_channels_and_points_are_refused(extractor):
    gray = images(1, channels=1)
    with torch.no_grad():
        one = extractor(gray, DataInfo("gray", (1, 32, 32), 256))[0]
        three = extractor(gray.expand(-1, 3, -1, -1), INFO)[0]
    torch.testing.assert_close(one, three)
    with pytest.raises(UsageError, match="ring"):
        extractor(torch.zeros(1, 2), DataInfo("ring", (2,), None))


def test_another_file_is_refused(tmp_path):
    """Catches weights that nobody checked."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"x")
    with pytest.raises(MachineError, match="sha256"):
        effnet.load(path)


def test_the_axes_are_orthonormal_and_features_are_centered_on_them(extractor):
    """Catches axes that stretch, a mean that is added, and axes in another order than their variance."""
    mean, axes = extractor._axes
    assert axes.shape == (1280, effnet.AXES)
    torch.testing.assert_close(axes.T @ axes, torch.eye(64).double(), rtol=0, atol=2e-3)
    wanted = torch.arange(64).double()
    found = extractor.project((mean + wanted @ axes.T)[None])[0]
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.3)
    assert f"64 principal axes, {effnet.PROJECTION_SHA256[:12]}" == extractor.projection


def test_damage_off_the_axes_is_seen_by_all_features_and_the_kernel(extractor):
    """Catches a ranked distance that is not on the axes alone, and one of all features that misses others."""
    rng = torch.Generator().manual_seed(0)
    mean, axes = extractor._axes
    basis, _ = torch.linalg.qr(axes)

    def drawn(n):
        on = torch.randn(n, 64, generator=rng).double() @ basis.T
        return mean + on + 0.1 * torch.randn(n, 1280, generator=rng).double()

    real, fake = drawn(400), drawn(400)
    rest = torch.randn(1280, generator=rng).double()
    rest -= basis @ (basis.T @ rest)
    rest /= rest.norm()
    spread = torch.randn(400, 1, generator=rng).double()
    moved = {"shifted": fake + 4 * rest, "widened": fake + 10 * spread * rest}

    def columns(values):
        one, two = (Features(x, projected=extractor.project(x)) for x in (real, values))
        ctx = context(one, two, protocol(kid_subset_size=200))
        found = frechet.frechet(ctx) | kernel.kernel(ctx)
        return [found[f"{name}[digits]"].value for name in ("FD", "FD-full", "KD")]

    plain = columns(fake)
    for values in moved.values():
        on_axes, full, kd = columns(values)
        assert on_axes == pytest.approx(plain[0], rel=1e-9)
        assert full > plain[1] + 8
        assert kd > plain[2] + 0.005
    along = columns(fake + 4 * basis[:, 0])
    assert along[0] > plain[0] + 8


def test_a_changed_file_of_axes_is_refused(tmp_path, monkeypatch):
    """Catches a distance on other axes under the same name."""
    path = tmp_path / "axes.npz"
    path.write_bytes(effnet.PROJECTION.read_bytes() + b"x")
    monkeypatch.setattr(effnet, "PROJECTION", path)
    with pytest.raises(MachineError, match="sha256"):
        effnet.EffNetLite0("cpu").project(torch.zeros(1, 1280))


def test_the_layers_are_those_of_the_network(extractor):
    """Catches a part left out, maps that are not rectified, and a network that gray images can't enter."""
    parts = extractor.layers((3, 32, 32))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    maps, shapes = x, []
    with torch.no_grad():
        for part in parts:
            maps = part(maps)
            shapes.append(tuple(maps.shape[1:]))
            assert 0 <= float(maps.min()) < float(maps.max()) <= 6
        first = extractor.net.blocks[0](extractor.net.bn1(extractor.net.conv_stem(x)))
        block = extractor.net.blocks[1][0]
        expected = block.bn2(block.conv_dw(block.bn1(block.conv_pw(first))))
        torch.testing.assert_close(parts[1](parts[0](x)), expected)
        gray = extractor.layers((1, 32, 32))[0](x[:, :1])
    assert shapes == [(32, 16, 16), (96, 8, 8), (144, 4, 4), (240, 2, 2), (672, 1, 1)]
    assert gray.shape == (2, 32, 16, 16)
    assert isinstance(extractor, HasLayers)
    with pytest.raises(UsageError, match="channels"):
        extractor.layers((2, 32, 32))


def test_the_distance_of_images_is_that_of_their_maps(extractor):
    """Catches maps that are not normalized, an unequal pair at 0, and a distance that has a direction."""
    a, b = images(3).float() / 255, images(3).roll(1, 0).float() / 255
    with torch.no_grad():
        apart = extractor.apart(a, b)
        torch.testing.assert_close(extractor.apart(b, a), apart)
        assert float(extractor.apart(a, a).abs().max()) < 1e-6
        near = extractor.apart(a, (a + 0.05 * (b - a)))
    assert apart.shape == (3,)
    assert bool((apart > 0).all())
    assert bool((near < apart).all())
    assert float(apart.max()) < 4 * len(extractor.layers((3, 96, 96)))
    gray = a[:, :1]
    with torch.no_grad():
        torch.testing.assert_close(extractor.apart(gray, b), extractor.apart(gray.expand(-1, 3, -1, -1), b))


def test_the_listing_states_the_sides(extractor):
    """Catches a side that the listing does not state, and a listing of another side than the network's."""
    (spec,) = (one for one in zoo_extractors() if one.name == extractor.name)
    assert (
        f"{extractor.name}@{effnet.SIDE} up to {effnet.SMALL} pixels, else @{effnet.FULL_SIDE}"
        in spec.summary
    )
    for side, expected in ((effnet.SMALL, effnet.SIDE), (effnet.SMALL + 1, effnet.FULL_SIDE)):
        assert extractor._resized(torch.zeros(1, 3, side, side)).shape[2:] == (expected, expected)
