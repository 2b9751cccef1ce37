"""A protocol's hash moves with every field that moves a figure."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.eval.fakes import protocol
from zoo_core.config import EvalConfig
from zoo_core.data.loading import Dataset, Resident
from zoo_core.errors import UsageError
from zoo_core.registry.resolution import resolve
from zoo_eval.extractors.raw import Raw
from zoo_eval.pipeline import choose_extractor
from zoo_eval.protocol import PLANS, Protocol, check_plan, doubts, fields_hash, make_protocol

timm = pytest.importorskip("timm")


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Protocol)])
def test_every_field_moves_the_hash(field):
    # catches a field left out of the hash: two figures in one column that are not comparable
    base = protocol()
    value = getattr(base, field)
    other = dataclasses.replace(base, **{field: value + 1 if isinstance(value, int) else f"{value}x"})
    assert other.hash != base.hash


def test_the_hash_is_that_of_the_fields_alone():
    # catches a hash that depends on the process or on the order of fields
    base = protocol()
    assert protocol().hash == base.hash == fields_hash(dict(reversed(base.fields.items())))


def test_named_protocols_draw_what_they_say(digits):
    # catches `quick` scored with another number of samples
    assert {name: plan.n_generated for name, plan in PLANS.items()} == {
        "quick": 2_000,
        "standard": 10_000,
        "paper": 50_000,
        "fdd": 50_000,
    }
    made = make_protocol(EvalConfig(), digits, Raw())
    assert (made.n_generated, made.n_reference) == (2000, 1437)
    assert (made.precision_k, made.density_k, made.neighbors_n) == (3, 5, 1437)
    assert (made.data, made.data_sha256, made.extractor) == ("digits", digits.sha256, "raw")


MOVING = {
    "protocol": "standard",
    "weights": "raw",
    "likelihood_n": 100,
    "iwae_k": 5,
    "memorization_n": 100,
    "ode_probe": "gaussian",
    "ode_probes": 2,
    "ode_tolerance": 1e-5,
    "extractor": "raw",
    "extractor_path": "",
}
"""Options that move a value; the path is one of the two files that the test writes."""
STILL = {"batch_size": 3, "baselines": False, "metrics": ["frechet"], "ode": "never", "every": 10}
"""Options that choose what is computed, and move no figure."""


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Options of one network of features, with the weights of two files."""
    folder = tmp_path_factory.mktemp("networks")
    for seed in range(2):
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_resnet").state_dict(), folder / f"{seed}.pth")
    return [
        {"extractor": "timm:test_resnet", "extractor_path": str(folder / f"{seed}.pth")} for seed in (0, 1)
    ]


def hash_under(options, data):
    """The hash of the protocol of a run under these options of eval, by the extractor that they choose."""
    whole = resolve({"plugin": "histogram", "eval": options})
    return make_protocol(whole.eval, data, choose_extractor(whole, data.info.name, "cpu")).hash


def test_an_option_that_moves_a_figure_is_part_of_it(digits, networks):
    # catches raw weights ranked beside averaged ones, and features of other weights in one column
    assert {*MOVING, *STILL} == set(EvalConfig.model_fields)
    base = hash_under({}, digits)
    moved = [hash_under({name: value}, digits) for name, value in MOVING.items() if name != "extractor_path"]
    files = [hash_under(options, digits) for options in networks]
    assert len({base, *moved, *files}) == 1 + len(moved) + len(files)
    assert hash_under(STILL, digits) == base


def test_subsets_are_cut_to_small_data_and_tiny_data_are_refused(digits):
    # catches a subset larger than the set, found only after an hour of training
    def cut(train, test):
        return Dataset(digits.info, Resident(digits.train.x[:train]), Resident(digits.test.x[:test]), "x")

    made = make_protocol(EvalConfig(), cut(100, 30), Raw())
    assert (made.kid_subset_size, made.neighbors_n, made.likelihood_n) == (100, 100, 30)
    with pytest.raises(UsageError, match="3 training examples"):
        make_protocol(EvalConfig(), cut(3, 30), Raw())
    with pytest.raises(UsageError, match="1 test examples"):
        make_protocol(EvalConfig(), cut(100, 1), Raw())


def test_paper_counts_as_the_literature_does(digits):
    # catches 50,000 samples seen by a small classifier and called by the literature's name
    assert PLANS["paper"].extractor == "inception"
    points = dataclasses.replace(digits.info, levels=None, shape=(2,))
    for options, info, message in (
        ({"extractor": "timm:vit"}, digits.info, "eval.extractor=timm:vit was asked for"),
        ({"weights": "raw"}, digits.info, "eval.weights=raw was asked for"),
        ({}, points, "'digits' are points"),
    ):
        with pytest.raises(UsageError, match=message):
            check_plan(EvalConfig(protocol="paper", **options), info)
    check_plan(EvalConfig(protocol="paper", extractor="inception"), digits.info)
    check_plan(EvalConfig(protocol="quick", weights="raw"), points)
    assert PLANS["fdd"].extractor == "dinov2"
    with pytest.raises(UsageError, match=r"through dinov2; eval\.extractor=inception was asked for"):
        check_plan(EvalConfig(protocol="fdd", extractor="inception"), digits.info)


def test_one_class_is_doubted(digits):
    # catches balance of a single class, which is always perfect
    made = make_protocol(EvalConfig(), digits, Raw())
    assert doubts(made, 64, digits.info) == []
    assert "one class" in doubts(made, 64, dataclasses.replace(digits.info, classes=1))[0]


def test_an_unknown_protocol_names_the_nearest(digits):
    # catches a message that does not help
    with pytest.raises(UsageError, match="no protocol 'standrd'") as error:
        make_protocol(EvalConfig(protocol="standrd"), digits, Raw())
    assert "eval.protocol=standard" in str(error.value)
