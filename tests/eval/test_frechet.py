"""What is built on the Frechet distance: its limit for infinitely many samples, and the spatial one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.eval.fakes import context, protocol, reasons
from zoo_core.config import EvalConfig
from zoo_core.data.loading import Resident
from zoo_eval.extractors.classifiers import digits as digits_extractor
from zoo_eval.features import Features, extract, in_batches
from zoo_eval.metrics import frechet
from zoo_eval.statistics.extrapolation import extrapolate


def sets(rng, n, d=8, m=20_000, scale=1.2):
    settings = protocol()
    real = torch.randn(m, d, generator=rng).double()
    fake = scale * torch.randn(n, d, generator=rng).double()
    return context(Features(real), Features(fake), settings)


def test_the_limit_has_lost_the_bias_of_few_samples(rng):
    # catches a fit in n instead of 1/n, and a part that is counted twice
    found = [frechet.frechet(sets(rng, 320)) for _ in range(30)]
    plain = sum(one["FD[digits]"].value for one in found) / 30
    limit = torch.tensor([one["FD-inf[digits]"].value for one in found])
    truth = 8 * 0.2**2
    error = float(limit.std()) / 30**0.5
    assert abs(float(limit.mean()) - truth) < 4.5 * error + 0.004
    assert plain > truth + 0.05


@pytest.mark.parametrize("n", [600, 603])
def test_two_terms_of_the_bias_are_removed(monkeypatch, rng, n):
    # catches weights of the extrapolation exchanged, quarters of other sizes; 603 makes uneven blocks
    monkeypatch.setattr(frechet, "distance", lambda real, fake: 2 + 30 / fake.n + 700 / fake.n**2)
    ctx = sets(rng, n)
    real, fake = ctx.train.values, ctx.generated.values
    limit = frechet.at_infinity(frechet.moments(real), fake)
    assert limit.value == pytest.approx(2, abs=1e-9 if n == 600 else 1e-3)


def test_few_samples_per_feature_have_one_term_removed(monkeypatch, rng):
    # catches quarters of singular covariances
    monkeypatch.setattr(frechet, "distance", lambda real, fake: 2 + 30 / fake.n)
    ctx = sets(rng, 56)
    assert frechet.at_infinity(
        frechet.moments(ctx.train.values), ctx.generated.values
    ).value == pytest.approx(2)


def test_the_limit_is_ranked_from_30_samples_per_feature_on(rng):
    # catches a rank for an extrapolation that higher terms of the bias spoil
    below, above = (frechet.frechet(sets(rng, n))["FD-inf[digits]"] for n in (239, 240))
    assert "239 samples for 8 features" in below.unranked
    assert "240 samples" in below.unranked
    assert below.interval is None
    assert above.unranked == ""
    assert above.interval.low < above.value < above.interval.high
    assert above.interval.high - above.value == pytest.approx(1.96 * above.standard_error, rel=1e-3)


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_the_standard_error_of_the_limit_is_its_spread(rng, scale):
    # catches the linear variance alone, which near the law is twice as large, and the noise of the correction
    real = frechet.moments(torch.randn(5000, 6, generator=rng).double())
    limits = [
        frechet.at_infinity(real, scale * torch.randn(240, 6, generator=rng).double()) for _ in range(100)
    ]
    values, errors = torch.tensor(limits, dtype=torch.float64).unbind(1)
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.25)


def test_the_linear_variance_of_a_quadratic_statistic_is_lowered(rng):
    # catches the linear variance alone: at the minimum it is 2 V, where the limit's is 4/3 V
    limits = []
    for _ in range(500):
        x = torch.randn(64, 20, generator=rng).double()
        linear = 4 * float(x.mean(0).square().sum()) / 64
        limits.append(
            extrapolate(lambda rows, x=x: float(x[rows].mean(0).square().sum()), torch.arange(64), linear)
        )
    errors = torch.tensor(limits, dtype=torch.float64)[:, 1]
    v = 2 * 20 / 64**2  # of a squared mean of 20 normal numbers; the lower bound of a variance adds a little
    assert float(errors.square().mean()) == pytest.approx(4 / 3 * v, rel=0.25)


def test_too_few_samples_for_a_limit_say_so(rng):
    # catches an extrapolation of singular covariances
    found = frechet.frechet(sets(rng, 31))["FD-inf[digits]"]
    assert found.reason == (
        "8 features need 32 samples and more than 8 real examples; there are 31 and 20,000"
    )


def test_the_spatial_distance_sees_where_things_are(digits):
    # catches pooled features in the place of maps: turned images have the same means of the same maps
    extractor = digits_extractor(EvalConfig(), "cpu")
    real = extract(in_batches(digits.train, 500), extractor, digits.info, "real")
    assert real.spatial.shape == (1437, 7 * 16)
    assert torch.equal(real.values, extractor(digits.train.x, digits.info)[0])

    def of(found):
        return Features(found.values.double(), None, spatial=found.spatial.double())

    test = extract([digits.test.x], extractor, digits.info, "test")
    moved = extract([digits.test.x.roll(2, 3)], extractor, digits.info, "moved")
    near, far = (frechet.spatial(context(of(real), of(x)))["sFD[digits]"].value for x in (test, moved))
    assert far > 3 * near
    bare = Features(real.values.double(), None)
    assert reasons(frechet.spatial(context(bare, bare))) == ["digits has no spatial features"]


def test_the_distance_is_taken_on_the_extractors_axes(rng):
    # catches the ranked distance of all features, and a damage off the axes that no column shows
    axes = torch.linalg.qr(torch.randn(12, 12, generator=rng).double())[0]
    real, fake = torch.randn(2, 4000, 12, generator=rng).double()
    damage = {"on": axes[:, 0], "off": axes[:, 7]}

    def distances(moved):
        one, two = (Features(x, projected=x @ axes[:, :4]) for x in (real, moved))
        found = frechet.frechet(context(one, two))
        return found["FD[digits]"].value, found["FD-full[digits]"].value

    same = distances(fake)
    assert same[0] == pytest.approx(frechet.frechet_distance(real @ axes[:, :4], fake @ axes[:, :4]))
    assert same[1] == pytest.approx(frechet.frechet_distance(real, fake))
    on, off = (distances(fake + 2 * damage[where]) for where in ("on", "off"))
    assert on[0] == pytest.approx(same[0] + 4, rel=0.1)
    assert off[0] == pytest.approx(same[0])
    assert on[1] == pytest.approx(same[1] + 4, rel=0.1)
    assert off[1] == pytest.approx(same[1] + 4, rel=0.1)
    assert "FD-full[digits]" not in frechet.frechet(context(Features(real), Features(fake)))


def scored(train, test, fake, train_labels=None, test_labels=None):
    """Return the columns of the distance to a test split, from float64 features of the three sets."""
    data = SimpleNamespace(train=table(train, train_labels), test=table(test, test_labels))
    return frechet.to_test(
        context(Features(train), Features(fake), protocol(), test=Features(test), data=data)
    )


def table(rows, labels):
    return Resident(rows, labels)


def gaps(rng, draw, repeats=40):
    """Return the columns of models that see a training set, over fresh worlds; draw(train) gives samples."""
    found = []
    for _ in range(repeats):
        real = torch.randn(400, 4, generator=rng).double()
        found.append(scored(real[:300], real[300:], draw(real[:300])))
    return found


def test_a_model_that_knows_the_law_has_no_generalization_gap(rng):
    # catches a part of another size than the test split, whose distance has less of the bias of few examples
    found = gaps(rng, lambda train: torch.randn(500, 4, generator=rng).double())
    gap = torch.tensor([one["generalization gap[digits]"].value for one in found])
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / len(gap) ** 0.5 + 0.002
    apart = [one["FD to test[digits]"].value - one["FD to train part[digits]"].value for one in found]
    assert gap.tolist() == pytest.approx(apart)


def test_a_model_that_copies_has_a_generalization_gap(rng):
    # catches a gap with its sign turned
    found = gaps(rng, lambda train: train[torch.randint(300, (500,), generator=rng)])
    gap = torch.tensor([one["generalization gap[digits]"].value for one in found])
    assert float(gap.mean()) > 4 * float(gap.std()) / len(gap) ** 0.5


def test_parts_have_the_classes_of_a_stratified_test_split(rng):
    # catches parts at random: their frequencies alone move them away from the samples, and the gap below 0
    found = []
    for _ in range(20):
        labels = torch.arange(400) % 4
        real = 5.0 * torch.eye(4)[labels].double() + torch.randn(400, 4, generator=rng).double()
        again = 5.0 * torch.eye(4)[labels].double() + torch.randn(400, 4, generator=rng).double()
        made = scored(real[:300], real[300:], again, labels[:300], labels[300:])
        found.append(made["generalization gap[digits]"].value)
    gap = torch.tensor(found)
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / len(gap) ** 0.5


def test_the_interval_of_the_gap_is_its_spread_over_samples(rng):
    # catches the influence of one distance where the difference's is meant: it is several times as wide
    real = torch.randn(400, 4, generator=rng).double() * torch.tensor([1.0, 0.5, 2.0, 1.0])
    train, test = real[:300], real[300:] + 0.2

    def once() -> tuple[float, float]:
        fake = 0.8 * torch.randn(500, 4, generator=rng).double()
        gap = frechet.generalization_gap(list(train.split(100)), frechet.moments(test), fake)[1]
        assert gap.interval is not None
        return gap.value, (gap.interval.high - gap.interval.low) / 2 / 1.96

    values, errors = torch.tensor([once() for _ in range(200)]).T
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.2)


def test_the_moments_of_a_split_are_computed_once_in_an_evaluation(monkeypatch, rng):
    """Catches a column that computes them again, and one split's moments taken for the other's."""
    counted, moments = [], frechet.moments
    monkeypatch.setattr(frechet, "moments", lambda rows: counted.append(len(rows)) or moments(rows))
    train, test, fake = (torch.randn(n, 4, generator=rng).double() for n in (300, 100, 500))
    data = SimpleNamespace(train=Resident(train), test=Resident(test))
    ctx = context(Features(train), Features(fake), test=Features(test), data=data)
    found = frechet.frechet(ctx) | frechet.to_test(ctx)
    assert counted.count(300) == 1
    assert counted.count(100) == 1 + frechet.PARTS
    pairs = {"FD[digits]": train, "FD to test[digits]": test}
    for column, real in pairs.items():
        assert found[column] == frechet.cell(*frechet.check_pair(real, fake))


def test_no_gap_where_the_training_split_is_the_smaller(rng):
    real = torch.randn(50, 4, generator=rng).double()
    found = reasons(scored(real[:20], real[20:], real))
    assert [reason.rpartition("; ")[2] for reason in found] == ["there are 20 training and 30 test examples"]
    labels = torch.tensor([0] * 29 + [1])  # more examples in all, and fewer of one class
    found = reasons(scored(real[:30], real[30:], real, labels, torch.tensor([0] * 18 + [1] * 2)))
    assert [reason.rpartition("; ")[2] for reason in found] == ["there are 30 training and 20 test examples"]
