"""Augmentation: exact where nothing or a flip applies, and the stated transformation elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo_core.data.augment import (
    LABELS,
    SCALE,
    draw_labels,
    edm_augment,
    matrices,
    network_labels,
    transform,
    warp,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 6, side: int = 16) -> Tensor:
    return torch.rand(n, 3, side, side, generator=rng(9)) * 2 - 1


def only(place: int, value: float, n: int = 6) -> Tensor:
    parameters = torch.zeros(n, 8)
    parameters[:, place] = value
    return parameters


def test_probability_zero_changes_nothing() -> None:
    x = images()
    found, label = edm_augment(x, rng(), 0.0)
    assert torch.equal(found, x)
    assert torch.equal(label, torch.zeros(len(x), LABELS))


def test_an_image_whose_label_is_zero_is_returned_as_it_is() -> None:
    """Catches a resampling that blurs images no transformation applies to."""
    x = images(500, 8)
    found, label = edm_augment(x, rng(), 0.12)
    unchanged = (label == 0).all(1)
    assert 50 < int(unchanged.sum()) < 450
    assert torch.equal(found[unchanged], x[unchanged])
    assert bool((found[~unchanged] != x[~unchanged]).flatten(1).any(1).all())


def test_transformations_are_as_frequent_as_the_paper_has_them() -> None:
    """Catches a flip that p scales down, and parameters drawn for all images at once."""
    parameters = draw_labels(20_000, rng(), 0.12)
    rates = (parameters != 0).float().mean(0)
    expected = torch.tensor([0.5, 0.06, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12])
    torch.testing.assert_close(rates, expected, rtol=0, atol=0.012)
    for place in (2, 5, 6, 7):
        drawn = parameters[:, place][parameters[:, place] != 0]
        assert abs(float(drawn.std()) - 1) < 0.06
    assert math.pi * 0.98 < float(parameters[:, 3].abs().max()) <= math.pi


def test_the_network_is_told_angles_by_sine_and_cosine() -> None:
    """Table 6 of the paper: cos a - 1 and sin a, so that no rotation is 0."""
    parameters = torch.tensor([[1.0, 0.0, 0.5, math.pi / 2, math.pi, -2.0, 0.1, 0.2]])
    expected = torch.tensor([[1.0, 0.0, 0.5, -1.0, 1.0, 2.0, 0.0, 0.1, 0.2]])
    torch.testing.assert_close(network_labels(parameters), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("place", "dim"), [(0, 3), (1, 2)])
def test_flips_are_exact(place: int, dim: int) -> None:
    x = images()
    assert torch.equal(transform(x, only(place, 1.0)), x.flip(dim))
    assert torch.equal(transform(transform(x, only(place, 1.0)), only(place, 1.0)), x)


def test_parameters_of_opposite_sign_are_inverse_maps() -> None:
    for place in (2, 3, 6, 7):
        both = matrices(only(place, 0.7), 16, 16) @ matrices(only(place, -0.7), 16, 16)
        torch.testing.assert_close(both, torch.eye(3).double().expand(6, 3, 3), rtol=0, atol=1e-12)
    stretch = torch.zeros(1, 8)
    stretch[:, 4], stretch[:, 5] = 0.4, 1.3
    opposite = stretch * torch.tensor([1, 1, 1, 1, 1, -1, 1, 1])
    both = matrices(stretch, 16, 16) @ matrices(opposite, 16, 16)
    torch.testing.assert_close(both, torch.eye(3).double()[None], rtol=0, atol=1e-12)


def test_the_maps_scale_and_keep_areas_as_stated() -> None:
    """Catches a scaling by the wrong base, and an anisotropy that changes the area."""
    assert float(torch.linalg.det(matrices(only(2, 1.0), 16, 16))[0]) == pytest.approx(SCALE**2, rel=1e-5)
    for place in (3, 5, 6):
        assert float(torch.linalg.det(matrices(only(place, 0.9), 16, 16))[0]) == pytest.approx(1, rel=1e-5)
    shift = matrices(torch.tensor([[0, 0, 0, 0, 0, 0, 1.0, 2.0]]), 16, 32)[0, :2, 2]
    torch.testing.assert_close(shift, torch.tensor([4.0, 4.0]).double())  # an eighth of 32, and 2 of 16


def ramp(side: int) -> Tensor:
    """Return images whose values are the pixel coordinates from the center, (1, 2, side, side)."""
    place = torch.arange(side) + 0.5 - side / 2
    return torch.stack((place[None].expand(side, -1), place[:, None].expand(-1, side)))[None]


@pytest.mark.parametrize("place", [2, 3, 5, 6, 7])
def test_a_linear_image_is_mapped_exactly(place: int) -> None:
    """Catches a map applied backwards, about a corner, or with x and y exchanged.

    Torch's bicubic kernel displaces linear images by up to 0.01 pixels.
    """
    side, parameters = 32, only(place, 0.6, 1)
    found = warp(ramp(side), matrices(parameters, side, side))[0]
    back = torch.linalg.inv(matrices(parameters, side, side))[0].float()
    expected = torch.einsum("ij,jhw->ihw", back[:2, :2], ramp(side)[0]) + back[:2, 2, None, None]
    inside = (slice(None), slice(12, 20), slice(12, 20))
    torch.testing.assert_close(found[inside], expected[inside], rtol=0, atol=0.02)


def test_a_quarter_turn_is_a_rotation_of_pixels() -> None:
    """Compared with the resampling at no transformation, which blurs as much."""
    x = images()
    still = warp(x, torch.eye(3).double().expand(len(x), 3, 3))
    for angle, turns in ((math.pi / 2, 1), (math.pi, 2), (-math.pi / 2, 3)):
        turned = warp(x, matrices(only(3, angle), 16, 16))
        torch.testing.assert_close(turned, torch.rot90(still, turns, (2, 3)), rtol=0, atol=1e-4)


def test_a_translation_by_whole_pixels_moves_pixels() -> None:
    x = images()
    still = warp(x, torch.eye(3).double().expand(len(x), 3, 3))
    moved = warp(x, matrices(only(6, 1.0), 16, 16))  # two pixels to the right
    torch.testing.assert_close(moved[..., 4:14], still[..., 2:12], rtol=0, atol=1e-4)
