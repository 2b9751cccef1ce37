"""Many samples are scored without any memory holding them all: they are in a file, read a part at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo_core.config import RunConfig
from zoo_core.data.loading import Dataset
from zoo_core.machine import spool
from zoo_core.runs import Drawn
from zoo_core.types import Cond, DataInfo
from zoo_eval import sampling
from zoo_eval.features import extract
from zoo_eval.sample_files import read_samples
from zoo_eval.sampling import Source, sample, samples_hash

N, SHAPE, BATCH = 20_000, (3, 32, 32), 100
MB = 1 << 20


def anonymous() -> int:
    """Return the bytes of memory of this process that are not pages of files."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


class Drawing:
    """Draws images of one level a batch, and looks at the memory meanwhile."""

    def __init__(self) -> None:
        self.most = 0

    def look(self) -> None:
        self.most = max(self.most, anonymous())

    def draw(self, n: int, start: int, cond: Cond | None) -> Iterator[Drawn]:
        for first in range(start, start + n, BATCH):
            yield Drawn(torch.full((BATCH, *SHAPE), first // BATCH, dtype=torch.uint8), 1, 0.0)
            self.look()

    def __call__(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor | None]:
        self.look()
        return levels.float().mean((2, 3)), None


def source(drawing: Any, data: Any = None) -> Source:
    return Source(RunConfig(), data, torch.device("cpu"), drawing.draw, lambda line: None)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_memory_does_not_grow_with_the_number_of_samples(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 1 * MB)
    monkeypatch.setattr(sampling, "CHUNK", 1 * MB)
    drawing = Drawing()
    sample(source(drawing), BATCH)  # whatever is taken once
    before = anonymous()
    sampled = sample(source(drawing), N)
    digest = samples_hash(sampled.rows)
    drawing.look()
    info = DataInfo("images", SHAPE, levels=256)
    found = extract(sampled.rows.split(BATCH), drawing, info, "generated")  # type: ignore[arg-type]
    assert sampled.rows.nbytes == N * 3072
    assert drawing.most - before < 20 * MB
    assert not list((home / "scratch").iterdir())  # nothing stays, whatever ends the process
    assert torch.equal(found.values[:, 0], torch.arange(N // BATCH).repeat_interleave(BATCH).float())
    assert digest == hashlib.sha256(sampled.rows.numpy().tobytes()).hexdigest()


def test_an_array_is_in_memory_where_it_is_small_or_no_file_can_hold_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spool.new_array((4, 2), np.float32).nbytes == 32
    assert not (home / "scratch").exists()
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    large = spool.new_array((4, 2), np.float32)
    large[:] = 3
    assert (large.shape, large.dtype, float(large.sum())) == ((4, 2), np.float32, 24.0)
    assert (home / "scratch").is_dir()
    assert large.base is not None

    def full(*of: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert spool.new_array((4, 2), np.float32).base is None


def test_samples_of_a_file_are_the_same_in_a_file_of_ours(
    home: Path, tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = torch.randint(0, 17, (2100, 8, 8), dtype=torch.uint8)
    np.savez(tmp_path / "x.npz", samples=levels.numpy())
    plain = read_samples(tmp_path / "x.npz", digits, 2100, levels=17).rows
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    assert torch.equal(read_samples(tmp_path / "x.npz", digits, 2100, levels=17).rows, plain)
    assert torch.equal(plain[:, 0], levels)
