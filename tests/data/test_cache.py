"""The cache of decoded images: what a second start reads, and what makes an entry stale."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zoo_core.data import cache, decoding
from zoo_core.data.configs import FolderConfig
from zoo_core.data.folder import load
from zoo_core.data.identity import content_sha256
from zoo_core.data.loading import Dataset
from zoo_core.errors import UsageError


def images(root: Path, count: int = 12) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        values = np.random.default_rng(k).integers(0, 256, (6, 6), dtype=np.uint8)
        Image.fromarray(values).save(root / f"{k:02}.png")
    return root


def read(root: Path, **options: Any) -> Dataset:
    return load(FolderConfig.model_validate({"path": str(root), "size": 6, "channels": 1, **options}))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded."""
    names: list[str] = []
    real = decoding.decode

    def counting(path: str, root: str, config: FolderConfig) -> Any:
        names.append(os.path.basename(path))
        return real(path, root, config)

    monkeypatch.setattr(decoding, "decode", counting)
    return names


@pytest.mark.parametrize("storage", ["auto", "mapped", "memory"])
def test_a_second_start_decodes_nothing(tmp_path: Path, decoded: list[str], storage: str) -> None:
    first = read(images(tmp_path / "a"), storage=storage)
    assert len(decoded) == 12
    again = read(tmp_path / "a", storage=storage)
    assert len(decoded) == 12
    assert again.sha256 == first.sha256
    assert again.report == first.report
    assert torch.equal(again.train.x, first.train.x)
    assert torch.equal(again.test.x, first.test.x)


def test_a_second_start_of_a_stream_decodes_what_is_asked_for(tmp_path: Path, decoded: list[str]) -> None:
    read(images(tmp_path / "a"), storage="streamed")
    data = read(tmp_path / "a", storage="streamed")
    assert len(decoded) == 12
    data.train.examples(torch.tensor([0, 3]))
    assert len(decoded) == 14


def swap(a: Path, b: Path) -> None:
    """Exchange the bytes of two files of one size, and keep their times."""
    states = [path.stat() for path in (a, b)]
    contents = [path.read_bytes() for path in (a, b)]
    for path, content, state in zip((a, b), reversed(contents), states, strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "content", "replaced", "option"])
def test_whatever_changes_is_decoded_again(tmp_path: Path, decoded: list[str], change: str) -> None:
    """Catches an entry that is used for other files, though names, sizes and times are as before."""
    root = images(tmp_path / "a")
    for path in root.iterdir():  # one size, so that it tells nothing
        path.write_bytes(path.read_bytes().ljust(300, b"\0"))
    before = read(root)
    options = {}
    if change == "added":
        shutil.copy(root / "00.png", root / "99.png")
    elif change == "removed":
        (root / "00.png").unlink()
    elif change == "renamed":
        (root / "00.png").rename(root / "99.png")
    elif change == "content":
        swap(root / "00.png", root / "01.png")
    elif change == "replaced":  # another inode, whose times are the old ones
        state = (root / "00.png").stat()
        (tmp_path / "new.png").write_bytes((root / "01.png").read_bytes())
        os.utime(tmp_path / "new.png", ns=(state.st_atime_ns, state.st_mtime_ns))
        os.replace(tmp_path / "new.png", root / "00.png")
    else:
        options = {"background": 0}
    decoded.clear()
    after = read(root, **options)
    assert decoded
    assert (after.sha256 == before.sha256) == (change == "option")


def test_an_entry_of_an_earlier_state_is_deleted(tmp_path: Path) -> None:
    """Catches a cache that grows with every change of a folder."""
    root = images(tmp_path / "a")
    read(root)
    (root / "00.png").unlink()
    read(root)
    entries = list((cache.home() / "cache" / "images").glob("*/*"))
    assert len(entries) == 1


def test_entries_that_killed_processes_left_are_deleted(tmp_path: Path) -> None:
    """Catches gigabytes that no run reads, and the entry of a process that still writes deleted."""
    entries = cache.home() / "cache" / "images" / ("0" * 24)
    for name in ("dead", "alive", "begun"):
        (entries / f"{cache.WRITING}{name}").mkdir(parents=True)
    old = time.time() - cache.ABANDONED_S - 60
    for name in ("dead", "alive"):
        (entries / f"{cache.WRITING}{name}" / cache.VALUES).write_bytes(b"x")
        os.utime(entries / f"{cache.WRITING}{name}", (old, old))
    os.utime(entries / f"{cache.WRITING}dead" / cache.VALUES, (old, old))
    read(images(tmp_path / "a"))
    assert sorted(path.name for path in entries.iterdir()) == [
        f"{cache.WRITING}alive",
        f"{cache.WRITING}begun",
    ]


def test_an_entry_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an entry of zeros after a power failure: values, index and folder are flushed first."""
    flushed: list[int] = []
    real_sync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        real_sync(descriptor)

    def replace(made: Any, target: Any) -> None:
        parts = [made, *Path(made).iterdir()]
        assert {path.name for path in Path(made).iterdir()} == {cache.INDEX, cache.VALUES}
        assert {os.stat(part).st_ino for part in parts} <= set(flushed)
        real_replace(made, target)
        flushed.append(-1)

    monkeypatch.setattr(cache.os, "fsync", fsync)
    monkeypatch.setattr(cache.os, "replace", replace)
    read(images(tmp_path / "a"))
    assert -1 in flushed


@pytest.mark.parametrize("cached", [False, True], ids=["first start", "second start"])
def test_a_streamed_file_that_changes_is_refused(tmp_path: Path, cached: bool) -> None:
    """Catches training that goes on with other data than the run's identity says."""
    root = images(tmp_path / "a")
    data = read(root, storage="streamed")
    if cached:
        data = read(root, storage="streamed")
    data.train.examples(torch.arange(len(data.train)))
    for path in root.iterdir():
        Image.new("L", (6, 6), 77).save(path)
    with pytest.raises(UsageError, match=r"\d\d.png holds another image than when the run began"):
        data.train.examples(torch.tensor([0]))


@pytest.mark.parametrize("damage", ["index", "values", "short", "other", "header", "shape"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, decoded: list[str], damage: str) -> None:
    root = images(tmp_path / "a")
    before = read(root)
    (entry,) = (cache.home() / "cache" / "images").glob("*/*")
    if damage == "index":
        (entry / cache.INDEX).write_text("{")
    elif damage == "shape":
        index = json.loads((entry / cache.INDEX).read_text())
        del index["shape"]
        (entry / cache.INDEX).write_text(json.dumps(index))
    elif damage == "other":
        (entry / cache.INDEX).write_text('{"state": "other"}')
    else:
        content = (entry / cache.VALUES).read_bytes()
        damaged = {"values": b"", "header": content.replace(b"}", b"(", 1)}.get(damage, content[:-1])
        (entry / cache.VALUES).write_bytes(damaged)
    decoded.clear()
    after = read(root)
    assert len(decoded) == 12
    assert torch.equal(after.train.x, before.train.x)


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a full disk that ends the run, and half an entry that is left behind."""
    root = images(tmp_path / "a")
    expected = read(root, storage="memory").sha256
    shutil.rmtree(cache.home() / "cache")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100})())
    data = read(root, storage="mapped")
    assert data.sha256 == expected
    assert any("not cached" in line for line in data.report)
    monkeypatch.setattr(cache, "home", lambda: Path("/proc/zoo"))
    data = read(root)
    assert data.sha256 == expected
    assert any("not cached" in line for line in data.report)


def test_the_content_is_hashed_again_where_that_is_asked_for(tmp_path: Path) -> None:
    """Catches a check of the cache against itself."""
    root = images(tmp_path / "a")
    data = read(root)
    assert content_sha256(data, fresh=True) == data.sha256
    (entry,) = (cache.home() / "cache" / "images").glob("*/*")
    content = bytearray((entry / cache.VALUES).read_bytes())
    content[-5] ^= 255
    (entry / cache.VALUES).write_bytes(content)
    assert content_sha256(read(root), fresh=True) == data.sha256
    Image.new("L", (6, 6), 3).save(root / "00.png")
    assert content_sha256(data, fresh=True) != data.sha256
    assert content_sha256(data) == data.sha256
