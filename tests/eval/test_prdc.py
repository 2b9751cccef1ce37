"""Precision, recall, density and coverage against the reference package, and by what they are for."""

from __future__ import annotations

import pytest
import torch
from prdc import compute_prdc

from tests.eval.fakes import context, protocol
from zoo_core.errors import UsageError
from zoo_eval.features import Features
from zoo_eval.metrics import prdc as neighbors


@pytest.mark.parametrize("k", [1, 3, 5])
def test_all_four_agree_with_the_reference_package(rng, k):
    # catches a k-th neighbor counted with the point itself, and real and generated exchanged
    real = torch.randn(300, 12, generator=rng).double()
    fake = 0.8 * torch.randn(230, 12, generator=rng).double() + 0.2
    theirs = compute_prdc(real.numpy(), fake.numpy(), k)
    ours = neighbors.prdc(real, fake, precision_k=k, density_k=k)
    for name, value in ours.items():
        assert value == pytest.approx(float(theirs[name]), abs=1e-12), name


def test_each_k_goes_to_its_own_pair(rng):
    # catches precision measured with density's k
    real, fake = torch.randn(2, 200, 6, generator=rng).double()
    three, five = (compute_prdc(real.numpy(), fake.numpy(), k) for k in (3, 5))
    ours = neighbors.prdc(real, fake, precision_k=3, density_k=5)
    assert [ours["precision"], ours["recall"]] == pytest.approx([three["precision"], three["recall"]])
    assert [ours["density"], ours["coverage"]] == pytest.approx([five["density"], five["coverage"]])


def test_a_generator_of_one_mode_has_high_precision_and_low_recall(rng):
    # catches the two exchanged, the commonest mistake in published code
    centers = 20 * torch.eye(8).repeat_interleave(50, 0)
    real = centers + torch.randn(400, 8, generator=rng)
    fake = centers[:50].repeat(8, 1) + 0.5 * torch.randn(400, 8, generator=rng)
    figures = neighbors.prdc(real, fake)
    assert figures["precision"] > 0.9
    assert figures["recall"] < 0.2
    assert figures["coverage"] < 0.2


def test_noise_far_from_the_data_has_none_of_the_four(rng):
    # catches a neighborhood without a limit
    real = torch.randn(200, 4, generator=rng)
    figures = neighbors.prdc(real, torch.randn(200, 4, generator=rng) + 100)
    assert list(figures.values()) == [0, 0, 0, 0]


def test_copies_are_as_precise_and_cover_as_much_as_can_be(rng):
    # catches copies pushed out of a neighborhood by rounding, also far from the origin
    real = torch.randn(150, 4, generator=rng).double() + 1e4
    figures = neighbors.prdc(real, real)
    assert figures["precision"] == figures["recall"] == figures["coverage"] == 1


def test_blocks_do_not_change_the_figures(rng, monkeypatch):
    # catches a row lost or counted twice at a block's edge
    real, fake = torch.randn(2, 130, 5, generator=rng).double()
    whole = neighbors.prdc(real, fake)
    monkeypatch.setattr(neighbors, "_BLOCK", 17)
    assert neighbors.prdc(real, fake) == pytest.approx(whole, abs=1e-12)


def test_too_few_images_are_refused():
    # catches a k-th neighbor that is not there
    with pytest.raises(UsageError, match="neighbors among 5"):
        neighbors.prdc(torch.randn(5, 2), torch.randn(50, 2))
    with pytest.raises(UsageError, match="3 rows of generated"):
        neighbors.prdc(torch.randn(50, 2), torch.randn(3, 2))


def test_as_a_metric_both_sides_count_equally_many(rng):
    # catches figures that move with the size of the training split
    real, fake = torch.randn(500, 3, generator=rng).double(), torch.randn(300, 3, generator=rng).double()
    settings = protocol(neighbors_n=300)
    found = neighbors.neighborhoods(context(Features(real), Features(fake), settings))
    assert set(found) == {f"{name}[digits]" for name in ("precision", "recall", "density", "coverage")}
    assert found["coverage[digits]"].value * 300 == pytest.approx(
        round(found["coverage[digits]"].value * 300)
    )


def brute(real, fake, k):
    """Precision and recall of the paper, Eqs. 1 and 2, from differences of rows."""

    def balls(x):
        distance = (x[:, None] - x[None]).square().sum(2).fill_diagonal_(-1)
        return distance.sort(1).values[:, k]

    between = (fake[:, None] - real[None]).square().sum(2)
    precise = (between <= balls(real)).any(1).double().mean()
    recalled = (between <= balls(fake)[:, None]).any(0).double().mean()
    return float(precise), float(recalled)


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("repeats", [2, 4, 5])
def test_rounding_decides_nothing_where_rows_repeat(rng, repeats, offset):
    # catches distances by expansion, which put copies at 1e-13 where a radius is 0, and < for <=
    base = torch.randn(30, 40, generator=rng).double() * 3 + offset
    real = base.repeat(repeats, 1)
    fake = torch.cat((base[:10], base[:10] + 1e-9, torch.randn(40, 40, generator=rng).double() + offset))
    fake = fake.repeat(repeats, 1)
    found = neighbors.prdc(real, fake)
    assert (found["precision"], found["recall"]) == brute(real, fake, 3)
    copies = neighbors.prdc(real, real)
    assert copies["precision"] == copies["recall"] == copies["coverage"] == 1


def test_a_set_that_is_one_row_has_radius_zero():
    # catches a collapsed generator that is precise by rounding
    fake = torch.full((60, 8), 0.1, dtype=torch.float64)
    real = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)).double()
    assert neighbors.prdc(fake + 1e-7, fake)["precision"] == 0
    assert neighbors.prdc(fake, fake)["precision"] == 1
    assert neighbors.prdc(real, fake)["recall"] == 0


def test_variances_of_recall_and_coverage_are_those_of_other_samples(rng):
    # catches real images resampled, which has half of recall's spread, and a scale of halves left out
    real = torch.randn(240, 6, generator=rng).double()
    values, variances = [], []
    for k in range(120):
        fake = 0.9 * torch.randn(240, 6, generator=rng).double() + 0.2
        found = neighbors.prdc(real, fake)
        values.append([found["recall"], found["coverage"]])
        if k % 6 == 0:
            variances.append(neighbors.recall_and_coverage_variances(real, fake, values[-1]))
    spread = torch.tensor(values).std(0)
    error = torch.tensor(variances).mean(0).sqrt()
    assert error.tolist() == pytest.approx(spread.tolist(), rel=0.2)


def test_a_variance_is_at_the_value_of_all_images_and_not_of_their_halves(monkeypatch):
    # catches the variance at the halves' coverage: .95 where all have .89, its interval 25 % too narrow
    halves = (torch.tensor([[0.5, 0.5]]).double(), torch.tensor([[0.9, 0.94], [0.92, 0.92]]).double())
    monkeypatch.setattr(neighbors, "half_samples", lambda *sets, **k: halves)
    real, fake = torch.zeros(100, 2), torch.zeros(80, 2)
    recall, coverage = neighbors.recall_and_coverage_variances(real, fake, [0.5, 0.8])
    assert recall == 0
    assert coverage == pytest.approx(0.0004 * (0.8 * 0.2) / (0.92 * 0.08) / 2, rel=1e-5)


def test_a_larger_set_has_as_much_less_variance(rng, monkeypatch):
    # catches the variance of the images that are split given for that of all
    real, fake = torch.randn(2, 800, 4, generator=rng).double()
    means = list(neighbors.prdc(real, fake).values())[1::2]
    whole = torch.tensor(neighbors.recall_and_coverage_variances(real, fake, means))
    monkeypatch.setattr(neighbors, "LARGEST", 400)
    part = torch.tensor(neighbors.recall_and_coverage_variances(real, fake, means))
    assert (part / whole).sqrt().tolist() == pytest.approx([1, 1], rel=0.35)


def test_half_samples_are_prdc_of_the_halves(rng, monkeypatch):
    # catches radii among all images, a neighbor outside of the half, and halves that are mixed up
    monkeypatch.setattr(neighbors, "SPLITS", 1)
    real, fake = torch.randn(2, 100, 5, generator=rng).double()
    order = {}
    keep = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda n, **how: order.setdefault(len(order), keep(n, **how)))
    recall, coverage = neighbors.half_samples(real, fake)
    samples, images = (fake[order[1]][order[2]].split(50), real[order[0]][order[3]].split(50))
    for i, images_half in enumerate(images):
        for j, samples_half in enumerate(samples):
            expected = neighbors.prdc(images_half, samples_half)
            assert float(recall[i, j]) == pytest.approx(expected["recall"], abs=1e-12)
            assert float(coverage[i, j]) == pytest.approx(expected["coverage"], abs=1e-12)


def test_values_at_their_ends_have_one_sided_bounds(rng):
    # catches an interval of no width where all or none are in
    real = torch.randn(100, 4, generator=rng).double()
    found = neighbors.values(real, real + 100)
    for name in ("precision", "recall", "coverage"):
        ends = found[name].interval
        assert (found[name].value, ends.low) == (0, 0)
        assert 0.02 < ends.high < 0.2
