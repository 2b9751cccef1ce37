"""Models with sharded weights have the losses and the weights of one process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.core.ranks import on_ranks, returned
from tests.core.row_noise import largest_gap
from tests.families.test_processes import trained, trained_on_ranks

FSDP = "train.parallel=fsdp"


def agree(name: str, steps: int, accumulate: int, size: int, folder: Path) -> list[str]:
    """Compare losses, weights and EMA weights of float64 training; return what the first process said."""
    given = (name, steps, accumulate, "float64")
    (alone,) = returned(on_ranks(1, trained, *given, folder=folder, seconds=240))
    told = returned(on_ranks(size, trained_on_ranks, *given, FSDP, folder=folder, seconds=240))
    assert len(alone["logged"]) == steps
    for found in told:
        assert largest_gap(alone["logged"], found["logged"]) < 1e-9
        assert found["weights"].keys() == alone["weights"].keys()
        for weight, value in alone["weights"].items():
            assert type(found["weights"][weight]) is type(value)
            assert found["weights"][weight].stride() == value.stride(), weight
            assert float((found["weights"][weight] - value).abs().max()) < 1e-9, weight
        for module, averages in alone["raw"].items():
            for average, other in zip(averages, found["raw"][module], strict=True):
                assert float((average - other).abs().max()) < 1e-9, module
    said: list[str] = told[0]["said"]
    return said


@pytest.mark.parametrize("name", os.environ.get("ZN", "ddpm").split(","))
def test_x(name: str, home: Path, tmp_path: Path) -> None:
    print(agree(name, 5, int(os.environ.get("ZA", "1")), int(os.environ.get("ZS", "2")), tmp_path))
