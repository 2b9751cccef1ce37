"""What is built on the Frechet distance: its limit for infinitely many samples, and the spatial one."""

from __future__ import annotations

import pytest
import torch

from tests.eval.fakes import context, protocol, reasons
from zoo_core.config import EvalConfig
from zoo_eval.extractors.classifiers import digits as digits_extractor
from zoo_eval.features import Features, extract, in_batches
from zoo_eval.metrics import frechet


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


def test_a_distance_that_is_linear_in_1_over_n_is_extrapolated_exactly(monkeypatch, rng):
    # catches least squares with its sums exchanged
    monkeypatch.setattr(frechet, "distance", lambda real, fake: 2 + 30 / fake.n)
    ctx = sets(rng, 600)
    limit = frechet.at_infinity(frechet.moments(ctx.train.values), ctx.generated.values)
    assert limit.value == pytest.approx(2, abs=1e-9)


def test_too_few_samples_for_a_limit_say_so(rng):
    # catches an extrapolation of singular covariances
    found = frechet.frechet(sets(rng, 31))
    assert found["FD-inf[digits]"].reason == "needs 32 samples for 8 features, and there are 31"


def test_the_spatial_distance_sees_where_things_are(digits):
    # catches pooled features in the place of maps: turned pictures have the same means of the same maps
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
