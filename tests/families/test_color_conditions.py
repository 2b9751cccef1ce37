"""Conditions and networks on the emoji: two steps of training, and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from zoo_core.data.emoji import EmojiConfig, load
from zoo_core.data.loading import Dataset
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import build


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load(EmojiConfig(name="emoji"))


CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {"data.task": "class"}) for name in ("cgan", "ddpm", "iddpm", "vp-sde", "edm", "ldm")),
    *((name, {"data.task": "text"}) for name in ("text-gan", "dvae", "ddpm", "ldm")),
    (
        "ddpm",
        {
            "data.task": "class",
            "model.classifier": True,
            "sample.guide": "classifier",
            "sample.guidance_scale": 2.0,
        },
    ),
    ("ddpm", {"model.net": "dit"}),
    ("ncsn", {"model.net": "energy"}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_it_trains_and_samples(name: str, options: dict[str, Any], data: Dataset, tmp_path: Path) -> None:
    """Catches a condition or a network that images of 32x32 in color do not fit.

    The harness raises where a loss or a weight is not finite.
    """
    given = {"plugin": name, "data": "emoji", "device": "cpu", "preset": "tiny"}
    given |= {"train.steps": 4, "train.batch_size": 4, **options}
    if name not in ("cgan", "text-gan", "dvae"):
        given |= {"sample.steps": 3}
    run = build(resolve(given), data, tmp_path, manager(), say=lambda line: None, warn=lambda line: None)
    run.harness.run()
    made = run.sample(3)
    assert made.shape == (3, 3, 32, 32)
    assert bool(torch.isfinite(made).all())
