"""The memorisation check catches what replays the training set, and nothing else."""

from __future__ import annotations

import pytest
import torch

from zoo_core.data.loading import Resident
from zoo_core.errors import UsageError
from zoo_eval.memorisation import judge_distances, nearest_distances


@pytest.fixture(scope="module")
def held_out(digits):
    return nearest_distances(digits.test.x, digits.train)


def test_distances_are_the_exact_ones(rng):
    # catches a rounding error at 0, a block's row skipped, a root or a mean left out
    train = torch.randint(0, 256, (100, 3, 5, 5), generator=rng, dtype=torch.uint8)
    x = torch.randint(0, 256, (40, 3, 5, 5), generator=rng, dtype=torch.uint8)
    x[:7] = train[90:97]
    expected = torch.cdist(
        x.flatten(1).double(), train.flatten(1).double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    found = nearest_distances(x, Resident(train), block=33)
    assert torch.allclose(found, expected.amin(1) / 75**0.5, rtol=1e-12, atol=0)
    assert torch.equal(found[:7], torch.zeros(7, dtype=torch.float64))


def test_a_copycat_is_caught(digits, held_out):
    # catches distances to the wrong split, and a verdict upside down
    found = judge_distances(nearest_distances(digits.train.x[:300], digits.train), held_out)
    assert found.memorises
    assert found.median_ratio == 0
    assert found.close_share == 1
    assert "MEMORISES" in found.verdict


def test_copies_with_a_level_of_noise_are_caught(digits, held_out, rng):
    # catches a check for equality, which one level of noise on each pixel defeats
    x = digits.train.x[:300].int()
    noisy = (x + torch.randint(0, 2, x.shape, generator=rng) * 2 - 1).clamp(0, 16).to(torch.uint8)
    found = judge_distances(nearest_distances(noisy, digits.train), held_out)
    assert found.memorises
    assert found.close_share > 0.9


def test_a_model_that_copies_a_fifth_of_the_time_is_caught(digits, held_out):
    # catches a verdict from the median alone
    mixed = torch.cat((digits.test.x[:280], digits.train.x[:70]))
    assert judge_distances(nearest_distances(mixed, digits.train), held_out).memorises


def test_real_pictures_that_were_held_out_are_not_flagged(digits, held_out):
    # catches a limit so wide that an honest model of the data is accused
    one = judge_distances(held_out[::2], held_out[1::2])
    assert not one.memorises
    assert one.median_ratio == pytest.approx(1, abs=0.1)
    half = Resident(digits.train.x[::2])
    other = nearest_distances(digits.train.x[1::2], half)
    assert not judge_distances(other, nearest_distances(digits.test.x, half)).memorises


def test_blurred_pictures_are_not_flagged(digits, held_out):
    # catches closeness to the mean mistaken for closeness to one picture: a VAE's means are such pictures
    train, test = digits.train.x.flatten(1).double(), digits.test.x.flatten(1).double()
    axes = torch.linalg.svd(train - train.mean(0), full_matrices=False).Vh
    for kept in (2, 8, 16, 24):
        blurred = (test - train.mean(0)) @ axes[:kept].T @ axes[:kept] + train.mean(0)
        levels = blurred.round().clamp(0, 16).to(torch.uint8).reshape(-1, 1, 8, 8)
        assert not judge_distances(nearest_distances(levels, digits.train), held_out).memorises, kept


def test_points_of_the_plane(rng):
    # catches float points rounded to levels; a copy of points is caught, and new points are not
    train = torch.randn(2000, 2, generator=rng)
    new, test = torch.randn(2, 500, 2, generator=rng)
    split = Resident(train)
    distances = nearest_distances(test, split)
    assert judge_distances(nearest_distances(train[:500], split), distances).memorises
    assert not judge_distances(nearest_distances(new, split), distances).memorises


def test_data_that_repeat_themselves_accuse_nobody(rng):
    # catches a limit of zero: where test pictures are copies too, copies are what the data hold
    train = torch.randint(0, 2, (200, 1, 2, 2), generator=rng, dtype=torch.uint8)
    test = torch.randint(0, 2, (200, 1, 2, 2), generator=rng, dtype=torch.uint8)
    distances = nearest_distances(test, Resident(train))
    found = judge_distances(nearest_distances(train, Resident(train)), distances)
    assert not found.memorises
    assert found.median_ratio == 1


def test_a_copycat_is_caught_where_a_few_test_pictures_are_copies_too():
    # catches a strict comparison with a limit of zero: then no copy is ever close
    test = torch.cat((torch.zeros(5), torch.rand(95) + 1)).double()
    assert judge_distances(torch.zeros(50).double(), test).memorises
    assert not judge_distances(test, test).memorises


def test_nothing_to_judge_is_refused():
    # catches a quantile of an empty set
    with pytest.raises(UsageError, match="no distances"):
        judge_distances(torch.empty(0), torch.rand(3))
