"""Every image task in color: three steps of training by palette and by pix2pix, and translations."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.families.icons import icons
from zoo_core.config import DataConfig
from zoo_core.data.corruptions import SOURCES
from zoo_core.data.loading import Dataset
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import build

TASKS = sorted(SOURCES.keys() - {"itself"})


def test_the_option_lists_every_source() -> None:
    """Catches a source that data.source does not take, and one that it takes and nothing makes."""
    assert set(get_args(DataConfig.model_fields["source"].annotation)) == set(SOURCES)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return icons(60)


@pytest.mark.parametrize("source", TASKS)
@pytest.mark.parametrize("plugin", ["palette", "pix2pix"])
def test_a_translator_trains_and_samples_in_color(
    plugin: str, source: str, data: Dataset, tmp_path: Path
) -> None:
    """Catches sources of other channels or sizes than the networks take.

    The harness raises where a loss or a weight is not finite.
    """
    given = {"plugin": plugin, "preset": "tiny", "data": "folder", "data.path": str(tmp_path)}
    given |= {"data.size": 32, "data.source": source, "device": "cpu"}
    given |= {"train.steps": 3, "train.batch_size": 4}
    if plugin == "palette":
        given |= {"sample.steps": 2, "model.channels": 8, "model.width": 8}
    run = build(resolve(given), data, tmp_path, manager(), say=lambda line: None, warn=lambda line: None)
    run.harness.run()
    made = run.sample(4)
    assert made.shape == (4, 3, 32, 32)
    assert bool(torch.isfinite(made).all())
