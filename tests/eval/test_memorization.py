"""The memorization check catches what replays the training set, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from zoo_core.data.loading import Resident
from zoo_core.errors import UsageError
from zoo_core.results import Value
from zoo_eval.metrics import memorization
from zoo_eval.metrics.memorization import (
    Reference,
    authentic,
    compare_ratios,
    draw_neighbors,
    held_out_ratios,
    nearest,
    neighbors,
    ratios,
)
from zoo_eval.verdicts import EXCESS, memorization_text, memorizes


@pytest.fixture(scope="module")
def pixels(digits):
    return Reference(digits.train, digits.test, held_out_ratios(digits.train, digits.test, 360))


def noisy(x, size, rng):
    """Images with `size` levels added to or taken from every pixel."""
    moved = x.int() + (torch.randint(0, 2, x.shape, generator=rng) * 2 - 1) * size
    return moved.clamp(0, 16).to(torch.uint8)


def test_distances_are_the_exact_ones(rng, monkeypatch):
    # catches a rounding error at 0, a block's row skipped, a root or a mean left out, another row's number
    train = torch.randint(0, 256, (100, 3, 5, 5), generator=rng, dtype=torch.uint8)
    x = torch.randint(0, 256, (40, 3, 5, 5), generator=rng, dtype=torch.uint8)
    x[:7] = train[90:97]
    every = torch.cdist(
        x.flatten(1).double(), train.flatten(1).double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    found = nearest(x, Resident(train), block=33)
    assert torch.allclose(found.distance, every.amin(1) / 75**0.5, rtol=1e-12, atol=0)
    assert torch.equal(found.distance[:7], torch.zeros(7, dtype=torch.float64))
    assert torch.equal(found.index, every.argmin(1))
    sizes = []

    class Seen(Resident):
        def examples(self, index):
            sizes.append(len(index))
            return super().examples(index)

    monkeypatch.setattr(memorization, "VALUES", 10 * 75)  # as if the images were large
    again = nearest(x, Seen(train))
    assert torch.equal(again.index, found.index)
    assert torch.equal(again.distance, found.distance)
    assert max(sizes) == 10


def test_an_example_is_not_its_own_neighbor(rng):
    # catches a test image found at distance 0 from itself, which would hide every copy
    x = torch.randint(0, 256, (60, 1, 4, 4), generator=rng, dtype=torch.uint8)
    every = torch.cdist(x.flatten(1).double(), x.flatten(1).double()).fill_diagonal_(torch.inf)
    found = nearest(x[10:], Resident(x), own=torch.arange(10, 60), block=7)
    assert torch.equal(found.index, every[10:].argmin(1))


def test_a_copycat_is_caught(digits, pixels):
    # catches distances to the wrong split, and a verdict upside down
    found = neighbors(digits.train.x[:300], pixels)
    assert found.closeness.excess > EXCESS
    assert found.closeness.median_ratio == 0
    assert found.closeness.close == 1
    assert found.closeness.excess == 1 - found.closeness.expected


@pytest.mark.parametrize("size", [1, 2])
def test_noisy_copies_are_caught(digits, pixels, rng, size):
    # catches a check for equality; with two levels on every pixel a copy lies as far as new digits do
    assert neighbors(noisy(digits.train.x, size, rng), pixels).closeness.excess > EXCESS
    new = neighbors(noisy(digits.test.x[::2], size, rng), without(digits, slice(0, None, 2)))
    assert new.closeness.excess <= EXCESS


def without(digits, rows):
    """The reference of the digits with some test images taken out: they are then new images."""
    kept = torch.ones(360, dtype=torch.bool)
    kept[rows] = False
    test = Resident(digits.test.x[kept])
    return Reference(digits.train, test, held_out_ratios(digits.train, test, 360))


def test_a_model_that_copies_a_fifth_of_the_time_is_caught(digits):
    # catches a verdict from the median alone
    reference = without(digits, slice(0, 160))
    mixed = torch.cat((digits.test.x[:160], digits.train.x[:40]))
    assert neighbors(mixed, reference).closeness.excess > EXCESS


def test_real_images_that_were_held_out_are_not_flagged(digits):
    # catches a limit so wide that an honest model of the data is accused
    for rows in (slice(0, 180), slice(180, 360)):
        found = neighbors(digits.test.x[rows], without(digits, rows)).closeness
        assert found.excess <= EXCESS
        assert found.median_ratio == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("level", [0, 8, 16])
def test_flat_images_are_not_flagged(digits, pixels, rng, level):
    # catches closeness to everything mistaken for closeness to one: an untrained model's gray
    gray = level + torch.randint(-1, 2, (300, 1, 8, 8), generator=rng)
    found = neighbors(gray.clamp(0, 16).to(torch.uint8), pixels).closeness
    assert found.close < 0.05
    assert found.excess <= EXCESS


@pytest.mark.parametrize("kept", [2, 8, 16, 24])
def test_blurred_images_are_not_flagged(digits, kept):
    # catches closeness to the mean mistaken for closeness to one image: a VAE's means are such images
    train, test = digits.train.x.flatten(1).double(), digits.test.x[:180].flatten(1).double()
    axes = torch.linalg.svd(train - train.mean(0), full_matrices=False).Vh
    blurred = (test - train.mean(0)) @ axes[:kept].T @ axes[:kept] + train.mean(0)
    levels = blurred.round().clamp(0, 16).to(torch.uint8).reshape(-1, 1, 8, 8)
    assert neighbors(levels, without(digits, slice(0, 180))).closeness.excess <= EXCESS


def result(**excess):
    """Return what the verdict reads of a result."""
    metrics = {f"memorization[{space}]": Value(value=value) for space, value in excess.items()}
    return SimpleNamespace(metrics=metrics, not_applicable={})


def test_features_catch_what_pixels_do_not():
    # catches a verdict that forgets the second space, or takes it from anything but the numbers
    assert memorizes(result(pixels=0.0, digits=0.3))
    assert memorizes(result(pixels=0.3, digits=0.0))
    assert not memorizes(result(pixels=0.1, digits=-0.05))
    assert memorizes(result()) is None
    assert memorization_text(result(pixels=0.0, digits=0.3)).startswith("DETECTED: +30.0%")
    assert memorization_text(result(pixels=0.0)).startswith("not detected")


def test_points_of_the_plane(rng):
    # catches float points rounded to levels; a copy of points is caught, and new points are not
    train = Resident(torch.randn(2000, 2, generator=rng))
    test = Resident(torch.randn(500, 2, generator=rng))
    new = torch.randn(500, 2, generator=rng)
    reference = Reference(train, test, held_out_ratios(train, test, 500))
    assert neighbors(train.x[:500], reference).closeness.excess > EXCESS
    assert neighbors(new, reference).closeness.excess <= EXCESS


def test_data_that_repeat_themselves_accuse_nobody(rng):
    # catches a limit of zero: where test images are copies too, copies are what the data hold
    train, test = (
        Resident(torch.randint(0, 2, (200, 1, 2, 2), generator=rng, dtype=torch.uint8)) for _ in range(2)
    )
    reference = Reference(train, test, held_out_ratios(train, test, 200))
    assert neighbors(train.x, reference).closeness.excess <= EXCESS
    assert torch.equal(ratios(torch.zeros(1).double(), torch.zeros(1).double()), torch.ones(1).double())


def test_a_copycat_is_caught_where_a_few_test_images_are_copies_too():
    # catches a strict comparison with a limit of zero: then no copy is ever close
    test = torch.cat((torch.zeros(6), torch.rand(94) + 1)).double()
    assert compare_ratios(torch.zeros(50).double(), test).excess > EXCESS
    assert compare_ratios(test, test).excess == 0


def test_authenticity_is_its_definition(rng):
    # catches the neighbor's distance to the sample in the place of its distance to the training set
    train = torch.tensor([[0.0], [1.0], [10.0]])
    x = torch.tensor([[0.0], [0.4], [2.5], [11.0], [25.0]])
    found = nearest(x, Resident(train))
    # Nearest other training example: of 0 at 1, of 1 at 0, of 10 at 9.
    assert authentic(found, Resident(train)).tolist() == [False, False, True, False, True]


def test_nothing_to_classifier_is_refused():
    # catches a quantile of an empty set
    with pytest.raises(UsageError, match="no distances"):
        compare_ratios(torch.empty(0), torch.rand(3))


def test_the_image_shows_the_closest_first_with_their_neighbors(digits, pixels):
    # catches rows exchanged, and neighbors of other samples
    x = digits.test.x[:40].clone()
    x[33] = digits.train.x[700]
    found = neighbors(x, pixels)
    plot = draw_neighbors(x, found, digits)
    assert int(plot.numbers["sample"][0]) == 33
    assert int(plot.numbers["training_row"][0]) == 700
    assert float(plot.numbers["training_distance"][0]) == 0
    assert (plot.numbers["ratio"].diff() >= 0).all()
    sheet = plot.figure.axes[0].images[0].get_array()
    scale = round((sheet.shape[1] - 11 * 4) / 12 / 8)
    shown = digits.train.x[700, 0].double() / 16 * 255
    starts = [
        k for k in range(sheet.shape[0]) if k == 0 or (sheet[k - 1] == 255).all() > (sheet[k] == 255).all()
    ]
    blocks = [torch.tensor(sheet[top : top + 8 * scale : scale, : 8 * scale : scale, 0]) for top in starts]
    assert len(blocks) == 3
    for block in blocks[:2]:
        assert torch.allclose(block.double(), shown, atol=1)
    assert not torch.allclose(blocks[2].double(), shown, atol=1)
