"""Classes and modes: which are drawn, and how evenly."""

from __future__ import annotations

import pytest
import torch

from tests.eval.fakes import context
from zoo_core.data.toy import TOYS
from zoo_eval.features import Features, Modes
from zoo_eval.metrics.modes import balance, modes
from zoo_eval.modes import components, modes_of_points


def features(index, count=10, name="digits-classifier"):
    return Features(torch.zeros(len(index), 2), modes=Modes(name, index, count))


REAL = features(torch.arange(10).repeat(100), name="labels")


def test_every_class_evenly_is_all_modes_in_balance():
    # catches counts of the real side, and a balance that is best at 0
    found = modes(context(REAL, features(torch.arange(10).repeat(50))))
    assert (found["modes[digits-classifier]"].value, found["modes[digits-classifier]"].note) == (10, "of 10")
    assert found["balance[digits-classifier]"].value == pytest.approx(1)
    assert set(found) == {"modes[digits-classifier]", "balance[digits-classifier]"}


@pytest.mark.parametrize("kept", [1, 3, 7])
def test_dropped_classes_are_counted_and_unbalance(kept):
    # catches a total variation without its half: with k of 10 classes left it is 1 - k/10
    found = modes(context(REAL, features(torch.arange(kept).repeat(100))))
    counted = found["modes[digits-classifier]"]
    assert (counted.value, counted.note) == (kept, "of 10")
    assert (counted.interval.low, counted.interval.high) == (kept, kept)
    assert found["balance[digits-classifier]"].value == pytest.approx(kept / 10)


def test_a_stray_image_is_no_mode():
    # catches one lucky sample counted as a class that the model has
    index = torch.cat((torch.zeros(999, dtype=torch.int64), torch.tensor([4])))
    assert modes(context(REAL, features(index)))["modes[digits-classifier]"].value == 1
    doubtful = torch.cat((torch.zeros(490, dtype=torch.int64), torch.full((5,), 4)))
    cell = modes(context(REAL, features(doubtful)))["modes[digits-classifier]"]
    assert (cell.interval.low, cell.interval.high) == (1, 2)


def test_the_interval_of_balance_is_that_of_a_share(rng):
    # catches an influence of the wrong sign or scale: with two classes balance is a share's distance from 1/2
    real = features(torch.arange(2).repeat(500), 2, "labels")
    index = (torch.rand(1000, generator=rng) < 0.2).long()
    cell = modes(context(real, features(index, 2)))["balance[digits-classifier]"]
    half = 1.96 * (0.2 * 0.8 / 1000) ** 0.5
    assert cell.interval.high - cell.value == pytest.approx(half, rel=0.15)
    assert cell.value - cell.interval.low == pytest.approx(half, rel=0.15)


def test_perfect_samples_have_a_balance_of_one(rng):
    # catches the noise of frequencies taken for imbalance, and points on no mode that real data have too
    found = []
    for _ in range(50):
        real, fake = (torch.randint(-1, 8, (n,), generator=rng) for n in (4000, 1000))
        found.append(balance(real, fake, 8)[0])
    assert max(found) == 1
    assert sum(found) / 50 > 0.99


def test_imbalance_beyond_noise_is_counted_in_full(rng):
    # catches an expected noise taken from differences that are none
    real = torch.arange(2).repeat(2000)
    fake = (torch.arange(1000) < 200).long()
    assert balance(real, fake, 2)[0] == pytest.approx(0.7)
    nowhere = torch.full((1000,), -1)
    value, towards = balance(real, nowhere, 2)
    assert value == 0
    assert towards.tolist() == [0.5, 0.5, -0.5]


@pytest.mark.parametrize(
    ("name", "count"), [("ring", 8), ("two-gaussians", 2), ("moons", 2), ("swiss-roll", 1)]
)
def test_means_that_touch_are_one_mode(name, count):
    # catches a curve of 256 Gaussians counted as 256 modes
    density = TOYS[name].density()
    mode = components(density.means, density.std)
    assert int(mode.max()) + 1 == count
    assert len(mode) == len(density.means)


def test_points_belong_to_a_mode_within_three_standard_deviations(rng):
    # catches variance for standard deviation, and a point between modes given to the nearer
    density = TOYS["ring"].density()
    away = torch.tensor([1.0, 0.0], dtype=torch.float64) * density.std
    points = torch.cat((density.means, density.means[:1] + 2.9 * away, density.means[:1] + 3.1 * away))
    found = modes_of_points(points, density)
    assert found.index.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, -1]
    real, _ = TOYS["ring"].draw(4000, rng)
    inside = float((modes_of_points(real, density).index >= 0).double().mean())
    assert inside == pytest.approx(1 - 2.718281828**-4.5, abs=4.5 * (0.011 / 4000) ** 0.5)


def test_points_on_no_mode_are_told_and_are_out_of_balance(rng):
    # catches a uniform cloud that passes for all of the modes, perfectly balanced
    density = TOYS["ring"].density()

    def of(points):
        return Features(points, None, modes=modes_of_points(points, density))

    real, _ = TOYS["ring"].draw(4000, rng)
    noise = torch.rand(4000, 2, generator=rng) * 2 - 1
    good, bad = modes(context(of(real), of(real))), modes(context(of(real), of(noise)))
    assert good["on-modes[density]"].value > 0.98 > 0.3 > bad["on-modes[density]"].value
    assert bad["balance[density]"].value < 0.4


def test_data_without_a_classifier_say_so():
    # catches a column that silently is not there
    bare = Features(torch.zeros(5, 2), None)
    assert "no classifier" in modes(context(bare, bare))["modes"].reason


@pytest.mark.parametrize(("n", "widths"), [(2000, (25, 50)), (10_000, (0, 5))])
def test_the_interval_of_modes_is_of_all_samples(rng, n, widths):
    # catches a bootstrap of fewer samples, and its bias: a sample drawn again misses what the first one saw
    index = torch.randint(1000, (n,), generator=rng)
    real = features(torch.arange(1000).repeat(10), 1000, "labels")
    ends = modes(context(real, features(index, 1000)))["modes[digits-classifier]"].interval
    assert ends.low <= round(1000 * (1 - 0.999**n)) <= ends.high
    assert widths[0] <= ends.high - ends.low <= widths[1]
