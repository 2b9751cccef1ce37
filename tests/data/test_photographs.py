"""SVHN, STL-10, CelebA and Flowers-102: generated files in their published format are read as published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from zoo_core.config import DataConfig
from zoo_core.data import benchmarks
from zoo_core.data.photographs import CelebAConfig, FlowersConfig, load_celeba, load_flowers
from zoo_core.errors import UsageError


@pytest.fixture(autouse=True)
def any_checksum(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision without its MD5 sums, which generated files can't have."""
    for kind in (datasets.SVHN, datasets.STL10):
        monkeypatch.setattr(kind, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.svhn, "check_integrity", lambda *_: True)
    monkeypatch.setattr(datasets.celeba, "check_integrity", lambda *_: True)
    monkeypatch.setattr(datasets.flowers102, "check_integrity", lambda *_: True)


def shrunk(monkeypatch: pytest.MonkeyPatch, name: str, train: int, test: int) -> None:
    from dataclasses import replace

    small = replace(benchmarks.BENCHMARKS[name], train=train, test=test)
    monkeypatch.setitem(benchmarks.BENCHMARKS, name, small)


def photograph(path: Path, red: int, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (red, 10, 200)).save(path, quality=95)


def test_svhn_is_read(tmp_path, monkeypatch):
    """Catches channels last, the class 10 that stands for the digit 0, and splits exchanged."""
    shrunk(monkeypatch, "svhn", 6, 4)
    for split, n in (("train", 6), ("test", 4)):
        x = np.zeros((32, 32, 3, n), np.uint8)
        x[..., 0, :] = np.arange(n)
        y = np.array([[10], [1], [2], [3], [4], [5]], np.uint8)[:n]
        savemat(tmp_path / f"{split}_32x32.mat", {"X": x, "y": y})
    data = benchmarks.load(DataConfig(name="svhn", root=str(tmp_path)))
    assert (len(data.train), len(data.test), data.info.shape) == (6, 4, (3, 32, 32))
    assert data.train.label.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.train.examples(torch.arange(6))[:, 0, 0, 0].tolist() == list(range(6))
    assert data.class_names == tuple("0123456789")


def test_stl10_is_read(tmp_path, monkeypatch):
    """Catches images that are turned (columns come first in the files) and classes counted from 1."""
    shrunk(monkeypatch, "stl10", 5, 3)
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for split, n in (("train", 5), ("test", 3)):
        x = np.zeros((n, 3, 96, 96), np.uint8)
        x[:, :, 90, :] = 7  # column 90 of the image
        x.tofile(folder / f"{split}_X.bin")
        (np.arange(n) % 10 + 1).astype(np.uint8).tofile(folder / f"{split}_y.bin")
    (folder / "class_names.txt").write_text("\n".join(f"thing{k}" for k in range(10)) + "\n")
    data = benchmarks.load(DataConfig(name="stl10", root=str(tmp_path)))
    x = data.train.examples(torch.arange(5))
    assert x.shape == (5, 3, 96, 96)
    assert (x[0, 0, :, 90] == 7).all()
    assert x[0, 0, 90, :90].max() == 0
    assert data.test.label.tolist() == [0, 1, 2]
    assert data.class_names[2] == "thing2"


def celeba(root: Path) -> None:
    folder = root / "celeba"
    names = [f"{k:06d}.jpg" for k in range(1, 8)]
    for k, name in enumerate(names):
        photograph(folder / "img_align_celeba" / name, 40 * k, (178, 218))
    smiling = [1, -1, 1, -1, 1, 1, 1]
    rows = [f"{name} -1 {smile}" for name, smile in zip(names, smiling, strict=True)]
    (folder / "list_attr_celeba.txt").write_text("7\nYoung Smiling\n" + "\n".join(rows) + "\n")
    (folder / "identity_CelebA.txt").write_text("".join(f"{name} 1\n" for name in names))
    (folder / "list_bbox_celeba.txt").write_text("7\nid x\n" + "".join(f"{name} 1\n" for name in names))
    (folder / "list_landmarks_align_celeba.txt").write_text(
        "7\nx y\n" + "".join(f"{name} 1 2\n" for name in names)
    )
    split = [0, 0, 0, 1, 1, 2, 2]
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{name} {part}\n" for name, part in zip(names, split, strict=True))
    )


def test_celeba_is_read_in_its_splits_and_by_attribute(tmp_path):
    """Catches splits exchanged, rows out of order, and an attribute read from its neighbor."""
    celeba(tmp_path)
    data = load_celeba(CelebAConfig(root=str(tmp_path), size=16, attribute="Smiling"))
    assert (len(data.train), len(data.validation), len(data.test)) == (3, 2, 2)
    assert data.train.label.tolist() == [1, 0, 1]
    assert data.test.label.tolist() == [1, 1]
    assert data.class_names == ("not Smiling", "Smiling")
    x = data.train.examples(torch.arange(3))
    assert x.shape == (3, 3, 16, 16)
    assert (x[:, 0].float().mean((1, 2)) - torch.tensor([0.0, 40.0, 80.0])).abs().max() < 3
    assert any("7 images reduced to 16x16 from 178x218" in line for line in data.report)
    assert load_celeba(CelebAConfig(root=str(tmp_path), size=16)).info.classes == 0


def test_an_unknown_attribute_names_the_nearest(tmp_path):
    """Catches a bare KeyError or ValueError."""
    celeba(tmp_path)
    with pytest.raises(UsageError, match=r"data\.attribute=Smiling"):
        load_celeba(CelebAConfig(root=str(tmp_path), size=16, attribute="Smilng"))


def test_flowers_are_read_in_their_splits(tmp_path):
    """Catches classes counted from 1, and the number of an image taken for its row."""
    folder = tmp_path / "flowers-102"
    for k in range(1, 7):
        photograph(folder / "jpg" / f"image_{k:05d}.jpg", 40 * (k - 1), (60 + k, 50))
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 2, 102, 4, 5, 6]])})
    savemat(
        folder / "setid.mat",
        {"trnid": np.array([[3, 1]]), "valid": np.array([[2, 4]]), "tstid": np.array([[6, 5]])},
    )
    data = load_flowers(FlowersConfig(root=str(tmp_path), size=8))
    assert data.train.label.tolist() == [101, 0]
    assert data.test.label.tolist() == [5, 4]
    reds = data.train.examples(torch.arange(2))[:, 0].float().mean((1, 2))
    assert (reds - torch.tensor([80.0, 0.0])).abs().max() < 3
    assert len(data.class_names) == data.info.classes == 102


@pytest.mark.parametrize(
    ("load", "config"),
    [(load_celeba, CelebAConfig), (load_flowers, FlowersConfig)],
    ids=["celeba", "flowers102"],
)
def test_without_a_network_the_error_says_what_to_put_where(load, config, tmp_path, monkeypatch):
    """Catches a traceback of a download, and a message without the folder."""

    def refuse(self):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(datasets.CelebA, "download", refuse)
    monkeypatch.setattr(datasets.Flowers102, "download", refuse)
    with pytest.raises(UsageError) as error:
        load(config(root=str(tmp_path)))
    assert str(tmp_path) in str(error.value)
    assert "Network is unreachable" in str(error.value)
    assert "next: data.root=FOLDER" in str(error.value)
