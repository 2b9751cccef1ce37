"""Presets for 32x32 in color: what a pass and a sample cost, counted, for every diffusion model."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.utils.flop_counter import FlopCounterMode

from zoo_core.data.emoji import EmojiConfig, load
from zoo_core.data.loading import Dataset
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import build

FLOPS = 50e6
"""Most floating-point operations of a pass; a multiplication and an addition count as two."""
NFE = 20
DIFFUSION = [entry.spec.name for entry in manager().entries("plugin") if entry.spec.family == "diffusion"]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load(EmojiConfig(name="emoji"))


@pytest.mark.parametrize("name", [*DIFFUSION, "vq-vae", "dvae"])
def test_a_sample_of_the_default_preset_is_cheap(name: str, data: Dataset, tmp_path: Path) -> None:
    """Catches a network for a GPU as the default, and a sampler of hundreds of steps."""
    config = resolve({"plugin": name, "data": "emoji", "device": "cpu"})
    run = build(config, data, tmp_path, manager(), say=lambda line: None, warn=lambda line: None)
    with FlopCounterMode(display=False) as counter:
        calls = run.samples(run.request(range(1))).calls
    assert calls <= NFE
    assert counter.get_total_flops() / calls < FLOPS
