"""Sanity checks of the metrics: damage is what it says, its order is checked, and another tool agrees."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.eval.test_extractors import random_inception  # noqa: F401 - a fixture
from zoo_core.config import DataConfig, EvalConfig, RunConfig
from zoo_core.errors import PluginError, UsageError
from zoo_core.types import DataInfo
from zoo_eval.audit import damage
from zoo_eval.audit.agreement import Agreement, end_to_end, on_features
from zoo_eval.audit.checks import bench, graded
from zoo_eval.audit.table import audit_lines, faults
from zoo_eval.cli import audit
from zoo_eval.extractors.inception import inception
from zoo_eval.features import Features
from zoo_eval.metrics.frechet import frechet_distance


@pytest.fixture
def images(digits):
    return digits.train.examples(torch.arange(64))


def test_damage_keeps_shape_type_and_range(images):
    # catches levels beyond 16 on the digits, and a strength of no effect
    for one in damage.DAMAGES:
        before = images
        for strength in one.strengths:
            after = one.change(images, strength, 17)
            assert (after.shape, after.dtype) == (images.shape, torch.uint8), one.name
            assert int(after.max()) <= 16
            assert not torch.equal(after, before), (one.name, strength)
            assert torch.equal(after, one.change(images, strength, 17)), one.name
            before = after


def test_blur_is_a_gaussian(images):
    # catches a kernel that is not normalized, or of the wrong width
    flat = torch.full((1, 3, 16, 16), 77, dtype=torch.uint8)
    assert torch.equal(damage.blur(flat, 0.1, 256), flat)
    from scipy.ndimage import gaussian_filter

    image = torch.randint(0, 256, (1, 1, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    sigma = 0.1 * 16
    theirs = gaussian_filter(image[0, 0].double().numpy(), sigma, mode="nearest", radius=round(3 * sigma))
    assert np.abs(damage.blur(image, 0.1, 256)[0, 0].numpy() - theirs).max() <= 0.51


def test_repeats_are_of_so_many_images(images):
    # catches a set that shrinks instead of repeating
    after = damage.repeats(images, 16, 17)
    assert len(after.flatten(1).unique(dim=0)) == 4
    assert len(after) == 64


def step(value, base="FD"):
    return {f"{base}[x]": value, "FD to test[x]": 0.0}


def test_every_step_of_damage_must_be_worse():
    # catches an order checked by its ends, and a direction upside down
    assert graded("noise", (0, 1, 2), [step(1), step(2), step(3)], ("FD",))["wrong"] == []
    assert graded("noise", (0, 1, 2), [step(1), step(4), step(3)], ("FD",))["wrong"] == ["FD[x]"]
    assert graded("noise", (0, 1, 2), [step(1), step(1), step(3)], ("FD",))["wrong"] == ["FD[x]"]
    up = [step(value, "precision") for value in (1, 2, 3)]
    assert graded("noise", (0, 1, 2), up, ("precision",))["wrong"] == ["precision[x]"]
    assert graded("noise", (0, 1, 2), up, ("KD",))["expected"] == []
    shown = [step(value, "memorization") for value in (1, 2, 3)]
    worse = {"memorization": "lower"}
    assert graded("copies", (0, 1, 2), shown, ("memorization",), worse)["wrong"] == []


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
def test_the_audit_of_the_digits_passes_and_is_recorded(tmp_path):
    # catches a metric that does not see damage, or disagrees with torch-fidelity
    out = tmp_path / "results" / "digits.json"
    done = CliRunner().invoke(audit, ["-n", "400", "--out", str(out)], catch_exceptions=False)
    record = json.loads(out.read_text())
    assert faults(record) == []
    assert record["n"] == 400
    kinds = {one["damage"]: one["expected"] for one in record["graded"]}
    assert set(kinds) == {"noise", "blur", "JPEG", "repeats", "dropped classes", "copies"}
    for name in ("noise", "blur", "JPEG", "repeats", "dropped classes"):
        assert {"FD[digits]", "KD[digits]", "coverage[digits]"} <= set(kinds[name]), name
    floors = [one["columns"]["FD[digits]"] for one in record["floor"]]
    assert floors == sorted(floors, reverse=True)
    assert [one["n"] for one in record["floor"]] == [50, 100, 200, 400]
    assert len(record["agreement"]) == 5
    assert "real against real" in done.stdout
    assert str(record["extractor"]["sha256"][:12]) in done.stdout


def test_a_failed_audit_ends_with_a_status(monkeypatch):
    # catches a broken measure that CI lets pass
    record = {
        "data": {"name": "digits", "sha256": ""},
        "extractor": {"name": "digits", "sha256": ""},
        "n": 10,
        "floor": [{"n": 10, "columns": {"FD[x]": 1.0}}],
        "graded": [graded("noise", (0, 1), [step(2), step(1)], ("FD",))],
        "agreement": [Agreement("FD", 1.0, 1.1, 1e-6).record()],
    }
    monkeypatch.setattr("zoo_eval.audit.checks.audit", lambda *args, **kwargs: record)
    done = CliRunner().invoke(audit, [])
    assert isinstance(done.exception, PluginError)
    assert "failed 2 checks" in str(done.exception)
    assert "FD[x] does not get worse" in str(done.exception)
    assert any(line.endswith("wrong") for line in audit_lines(record))


def test_data_that_can_not_be_audited():
    # catches an order evaluated on a handful of images
    for name, most, reason in (("moons", None, "holds points"), ("digits", 50, "too few")):
        config = RunConfig(data=DataConfig(name=name), eval=EvalConfig())
        with pytest.raises(UsageError, match=reason):
            bench(config, most, print)


def test_agreement_is_relative_or_absolute():
    # catches a tolerance of zero for a distance near zero
    assert Agreement("FD", 100.0, 100.00005, 1e-6).agrees
    assert not Agreement("FD", 100.0, 100.0002, 1e-6).agrees
    assert Agreement("KD", 0.001, -0.001, 0.01, absolute=True).agrees


def test_a_wrong_distance_is_noticed(rng, monkeypatch):
    # catches an agreement of a tool with itself
    real, fake = (torch.randn(300, 8, generator=rng, dtype=torch.float64) for _ in range(2))
    both = [Features(x, x[:, :4]) for x in (real, fake + 0.3)]
    assert all(one.agrees for one in on_features(*both))
    from zoo_eval.audit import agreement

    right = agreement.frechet_distance
    monkeypatch.setattr(agreement, "frechet_distance", lambda a, b: right(a, b) * (1 + 1e-5))
    assert [one.name for one in on_features(*both) if not one.agrees] == ["FD, same features"]


@pytest.mark.slow(depends=("evaluation",))
def test_inception_agrees_from_images_to_distance(random_inception, rng):  # noqa: F811 - the fixture
    # catches another resize, range or channel order than the literature's
    info = DataInfo("cifar10", (3, 32, 32), 256)
    real, fake = (torch.randint(0, 256, (6, 3, 32, 32), generator=rng).to(torch.uint8) for _ in range(2))
    fake = (fake.float() * 0.7).to(torch.uint8)
    extractor = inception(EvalConfig(extractor_path=str(random_inception)), "cpu")
    with torch.no_grad():
        ours = frechet_distance(*(extractor(x, info)[0] for x in (real, fake)))
    found = end_to_end(real, fake, info, random_inception, ours)
    assert found.agrees, found
