"""What may reach an extractor and a metric, and what the one pass over a set gives."""

from __future__ import annotations

import pytest
import torch

from zoo_core.config import EvalConfig
from zoo_core.data.loading import Resident
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo
from zoo_eval.extractors.classifiers import digits as digits_extractor
from zoo_eval.features import check_examples, extract, full_precision, in_batches

INFO = DataInfo("digits", (1, 8, 8), levels=17, classes=10)
POINTS = DataInfo("moons", (2,), levels=None)


class Spy:
    """An extractor that counts its passes and gives the mean and the largest level."""

    name, sha256, dim = "spy", "0", 2

    def __init__(self):
        self.seen = 0
        self.grad = self.autocast = None

    def __call__(self, levels, info):
        self.seen += len(levels)
        self.grad, self.autocast = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
        x = levels.flatten(1).float()
        return torch.stack((x.mean(1), x.amax(1)), 1), x[:, :3]


def test_every_example_passes_once_and_in_order():
    # catches a last batch dropped or padded, which moves a distance by a hundredth
    levels = torch.arange(17, dtype=torch.uint8).repeat(9)[:101, None, None, None].expand(-1, 1, 8, 8)
    spy = Spy()
    features, logits, spatial = extract(in_batches(Resident(levels), 10), spy, INFO, "real")
    assert spy.seen == 101
    assert torch.equal(features[:, 0], levels[:, 0, 0, 0].float())
    assert logits.shape == (101, 3)
    assert spatial is None


def test_an_extractor_runs_in_float32_and_without_gradients():
    # catches a score under the training's autocast: bfloat16 features drift by a tenth
    spy = Spy()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        extract([torch.zeros(2, 1, 8, 8, dtype=torch.uint8)], spy, INFO, "real")
    assert (spy.grad, spy.autocast) == (False, False)
    before = torch.backends.cudnn.allow_tf32
    with full_precision():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.rand(3, 1, 8, 8), "torch.float32"),
        (torch.full((3, 1, 8, 8), 17, dtype=torch.uint8), "0 to 16"),
        (torch.full((3, 1, 8, 8), -1, dtype=torch.int16), "from -1"),
        (torch.zeros(3, 1, 9, 8, dtype=torch.uint8), "(1, 9, 8)"),
        (torch.zeros(3, 1, 8, 8, dtype=torch.bool), "torch.bool"),
    ],
)
def test_images_that_are_no_levels_are_refused(rows, message):
    # catches floats in [0, 1] cast to bytes, and out-of-range values that wrap into salt and pepper
    with pytest.raises(UsageError) as error:
        check_examples(rows, INFO)
    assert message in str(error.value)


def test_all_of_256_levels_are_allowed():
    # catches a comparison in uint8, where 256 is 0: every 8-bit image would be refused
    every = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    assert check_examples(every, DataInfo("eight-bit", (1, 8, 8), levels=256)) is every


def test_the_first_bad_image_is_named():
    # catches a message that leaves the user to search 50,000 images
    rows = torch.zeros(9, 1, 8, 8, dtype=torch.uint8)
    rows[4, 0, 3, 3] = 200
    with pytest.raises(UsageError, match="1 of 9 images") as error:
        check_examples(rows, INFO)
    assert "number 4" in str(error.value)


def test_points_that_are_not_finite_are_refused():
    # catches points of a diverged model
    points = torch.zeros(5, 2)
    points[2, 1] = torch.nan
    with pytest.raises(UsageError, match="1 of 5"):
        check_examples(points, POINTS)


def test_a_network_that_returns_nan_is_caught_before_its_features_are_used():
    # catches a damaged network at its source, with the count and the first one's number
    class Broken(Spy):
        def __call__(self, levels, info):
            features, logits = super().__call__(levels, info)
            features[1] = torch.nan
            return features, logits

    with pytest.raises(UsageError, match="1 of 4 rows of generated features"):
        extract([torch.zeros(4, 1, 8, 8, dtype=torch.uint8)], Broken(), INFO, "generated")
    with pytest.raises(UsageError, match="no generated examples"):
        extract([], Spy(), INFO, "generated")


def test_features_do_not_depend_on_the_batch(digits):
    # catches batch statistics: a network left in training mode
    extractor = digits_extractor(EvalConfig(), "cpu")
    one, *_ = extract(in_batches(digits.test, 7), extractor, digits.info, "real")
    other, *_ = extract(in_batches(digits.test, 360), extractor, digits.info, "real")
    assert torch.allclose(one, other, atol=1e-5)
