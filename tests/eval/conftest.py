"""What the evaluator's tests share: a home of their own, real digits, a seeded generator."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zoo_core.config import DataConfig
from zoo_core.data.digits import load as load_digits
from zoo_core.data.loading import Dataset


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_digits(DataConfig())


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
