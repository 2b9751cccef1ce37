"""Presets for 32x32 in color: what a pass and a sample cost, counted, for models that sample in passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import CHECKOUT
from zoo_core.data.emoji import EmojiConfig, load
from zoo_core.data.loading import Dataset
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import build


class Cost(NamedTuple):
    """What a sample may cost.

    Attributes:
        calls: passes through the network.
        flops: floating-point operations of a pass; a multiplication and an addition count as two.
        reason: why it is more than `USUAL`.
    """

    calls: int
    flops: float
    reason: str = ""


RESULTS = CHECKOUT / "results" / "emoji"
USUAL = Cost(20, 50e6)
EXCEPTIONS = {
    "d3pm": Cost(32, 80e6, "a chain of 32 steps, each a law of 256 levels for 3,072 values"),
    "mdlm": Cost(64, 80e6, "64 steps, each a law of 256 levels for 3,072 values"),
}
"""Models whose samples cost more, and why no preset changes that."""
FAMILIES = ("diffusion", "flow", "discrete-diffusion")
MODELS = [entry.spec.name for entry in manager().entries("plugin") if entry.spec.family in FAMILIES]
PLACES = 32 * 32
"""Passes of an autoregressive model, one for each place, whose three colors are drawn together."""


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load(EmojiConfig(name="emoji"))


@pytest.mark.parametrize("name", [*MODELS, "vq-vae", "dvae"])
def test_a_sample_of_the_default_preset_is_cheap(name: str, data: Dataset, tmp_path: Path) -> None:
    """Catches a network for a GPU as the default, and a sampler of hundreds of steps."""
    most = EXCEPTIONS.get(name, USUAL)
    config = resolve({"plugin": name, "data": "emoji", "device": "cpu"})
    run = build(config, data, tmp_path, manager(), say=lambda line: None, warn=lambda line: None)
    with FlopCounterMode(display=False) as counter:
        calls = run.samples(run.request(range(1))).calls
    assert calls <= most.calls
    each = counter.get_total_flops() / calls
    assert 0 < each < most.flops
    if most.reason:
        assert calls > USUAL.calls or each >= USUAL.flops, "the exception is not needed"


@pytest.mark.parametrize("name", ["pixelcnn", "pixel-transformer"])
def test_a_pass_of_an_autoregressive_model_is_cheap(name: str) -> None:
    """Catches a larger default network; of the committed runs, since counting 1,024 passes takes minutes."""
    found = [json.loads(file.read_text()) for file in (RESULTS / name).glob("*/result.json")]
    assert found
    for cost in (one["cost"] for one in found):
        assert cost["nfe"] == PLACES
        assert 0 < cost["sample_flops"] / cost["nfe"] < USUAL.flops


def test_the_families_are_the_registered_ones() -> None:
    """Catches a family that was renamed, whose models would be left out, and an exception of no model."""
    found = {entry.spec.family for entry in manager().entries("plugin")}
    assert set(FAMILIES) <= found
    assert set(EXCEPTIONS) <= set(MODELS)
    expected = {"ddpm", "vdm", "cold", "consistency", "meanflow", "flow-matching", "ot-cfm", "rectified-flow"}
    assert expected <= set(MODELS)
