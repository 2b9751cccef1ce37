"""The count of modes on the ring, against points whose place is known."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from zoo_core.config import DataConfig
from zoo_core.data.toy import load


@pytest.fixture(scope="module")
def ring() -> ModuleType:
    path = Path(__file__).parents[2] / "ci" / "studies" / "ring.py"
    spec = importlib.util.spec_from_file_location("ring_study", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ring_study"] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


def test_real_points_cover_all_eight(ring: ModuleType) -> None:
    """Within three standard deviations of a round Gaussian lie 1 - exp(-9/2) of its points."""
    data = load(DataConfig(name="ring"))
    points = data.test.examples(torch.arange(2000))
    found = ring.cover(points, data.density.means, data.density.std)
    inside = 1 - math.exp(-4.5)
    assert found.covered == len(found.shares) == 8
    assert found.on_modes == pytest.approx(inside, abs=4.5 * (inside * (1 - inside) / 2000) ** 0.5)


def test_a_mode_with_less_than_a_sixteenth_is_not_covered(ring: ModuleType) -> None:
    means = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    points = means[torch.tensor([0] * 150 + [1] * 10)]
    assert ring.cover(points, means, 0.05).covered == 2
    points = means[torch.tensor([0] * 151 + [1] * 9)]
    assert ring.cover(points, means, 0.05).covered == 1
    aside = points + torch.tensor([0.0, 0.151])
    assert ring.cover(aside, means, 0.05).on_modes == 0
    assert ring.cover(points + torch.tensor([0.0, 0.149]), means, 0.05).on_modes == 1
