"""A folder of images: splits, classes, refusals by name, and streaming what does not fit in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo_core.data import decoding
from zoo_core.data.configs import FolderConfig
from zoo_core.data.folder import load
from zoo_core.data.loading import Dataset, TrainData
from zoo_core.data.table import Memory, Streamed
from zoo_core.errors import UsageError


def _image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(value)
    Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(path)


def _folder(root: Path, count: int, form: str = "{k:03}.png") -> Path:
    for k in range(count):
        _image(root / form.format(k=k, c="cat" if k % 4 else "dog"), k)
    return root


def _remove_images(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.unlink()


def _load(root: Path, **options: object) -> Dataset:
    return load(FolderConfig.model_validate({"path": str(root), "size": 6, **options}))


def test_holdout_takes_its_share_and_no_image_twice(tmp_path: Path) -> None:
    """Catches images that are lost, or lie on both sides of the split."""
    data = _load(_folder(tmp_path, 40), holdout=0.25)
    assert (len(data.train), len(data.test)) == (30, 10)
    rows = torch.cat([split.examples(torch.arange(len(split))) for split in (data.train, data.test)])
    assert len(rows.flatten(1).unique(dim=0)) == 40
    assert data.info.shape == (3, 6, 6)
    assert data.info.levels == 256
    assert data.info.classes == 0
    assert data.train.label is None


def test_class_folders_give_labels_stratified(tmp_path: Path) -> None:
    """Catches labels that do not go with their images, and a split that misses a class."""
    data = _load(_folder(tmp_path, 40, "{c}/{k:03}.png"), holdout=0.2)
    assert data.class_names == ("cat", "dog")
    assert data.info.classes == 2
    assert data.test.label is not None
    assert data.test.label.bincount().tolist() == [6, 2]
    dogs = {
        np.random.default_rng(k).integers(0, 256, (6, 6, 3), dtype=np.uint8).tobytes()
        for k in range(0, 40, 4)
    }
    for split in (data.train, data.test):
        for x, label in zip(split.examples(torch.arange(len(split))), split.label, strict=True):
            assert (x.permute(1, 2, 0).contiguous().numpy().tobytes() in dogs) == (label == 1)


def test_train_and_test_folders_are_the_splits(tmp_path: Path) -> None:
    """Catches a published split that is shuffled together, and strays that join it."""
    _folder(tmp_path / "train", 8, "{c}/{k:03}.png")
    _folder(tmp_path / "test", 4, "{c}/{k:03}.png")
    _image(tmp_path / "val" / "cat" / "x.png", 99)
    _image(tmp_path / "more" / "x.png", 98)
    data = _load(tmp_path)
    assert (len(data.train), len(data.test)) == (8, 4)
    assert data.class_names == ("cat", "dog")
    assert data.validation is not None
    assert len(data.validation) == 1
    assert "splits read from folders: train/ as train, test/ as test, val/ as validation" in data.report
    assert "1 files outside train/ and test/ and val/ left out" in data.report
    assert "4 test images are in the training split, too" in data.report


def test_an_image_outside_the_class_folders_is_refused(tmp_path: Path) -> None:
    """Catches one stray file that removes all labels without a word."""
    _folder(tmp_path / "train", 8, "{c}/{k:03}.png")
    _folder(tmp_path / "test", 4, "{c}/{k:03}.png")
    _image(tmp_path / "train" / "loose.png", 99)
    with pytest.raises(UsageError, match=r"1 of 13 images .* outside its class folders\n.*loose\.png"):
        _load(tmp_path)
    data = _load(tmp_path, on_bad="skip")
    assert data.class_names == ("cat", "dog")
    assert any("loose.png" in line for line in data.report)
    assert _load(tmp_path, layout="flat").info.classes == 0


def test_a_class_without_a_training_image_is_refused(tmp_path: Path) -> None:
    """Catches a label that no training image has, which samples could be asked for."""
    _folder(tmp_path / "train", 8, "{c}/{k:03}.png")
    _folder(tmp_path / "test", 4, "{c}/{k:03}.png")
    _image(tmp_path / "test" / "bird" / "x.png", 99)
    with pytest.raises(UsageError, match=r"1 classes .* have no image in train/: bird"):
        _load(tmp_path)


@pytest.mark.parametrize("storage", ["mapped", "streamed"])
@pytest.mark.parametrize("start", ["first", "second"])
def test_every_storage_gives_the_same_batches(tmp_path: Path, home: Path, storage: str, start: str) -> None:
    """Catches a folder that is read in another order, or hashed otherwise, when it is not held in memory."""
    root = _folder(tmp_path / "images", 40, "{c}/{k:03}.png")
    small = _load(root, storage="memory")
    large = _load(root, storage=storage)
    if start == "second":
        large = _load(root, storage=storage)
    assert isinstance(small.train.columns["image"], Memory)
    assert isinstance(large.train.columns["image"], Streamed)
    if storage == "mapped":  # the files are not read again
        _remove_images(root)
    assert small.sha256 == large.sha256
    a, b = (TrainData(data.train, data.info, seed=3) for data in (small, large))
    for _ in range(5):
        one, two = a.next(16), b.next(16)
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.index, two.index)
        assert one.cond.label is not None
        assert two.cond.label is not None
        assert torch.equal(one.cond.label, two.cond.label)
    resumed = TrainData(large.train, large.info, seed=3)
    resumed.drawn = 3 * 16
    a.drawn = 3 * 16
    assert torch.equal(resumed.next(16).x, a.next(16).x)
    b.drawn = 3 * 16  # what was read ahead is not what is asked for now
    assert torch.equal(b.next(16).x, resumed.restarted(3).next(64).x[48:])


def test_large_folders_are_mapped(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches images that fill the memory, and a limit that is off by one byte."""
    assert decoding.RESIDENT_BYTES < 200_000 * 3 * 32 * 32  # trains within 2 GB, copies of splits included
    root = _folder(tmp_path / "images", 40)
    monkeypatch.setattr(decoding, "RESIDENT_BYTES", 40 * 3 * 6 * 6)
    assert isinstance(_load(root).train.columns["image"], Memory)
    monkeypatch.setattr(decoding, "RESIDENT_BYTES", 40 * 3 * 6 * 6 - 1)
    large = _load(root)
    assert isinstance(large.train.columns["image"], Streamed)
    _remove_images(root)
    assert large.train.x.shape == (len(large.train), 3, 6, 6)


def test_a_file_that_vanishes_while_streaming_is_named(tmp_path: Path) -> None:
    """Catches a traceback in the middle of a run."""
    data = _load(_folder(tmp_path, 10), storage="streamed")
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"\d+\.png could be read when the run began"):
        data.train.examples(torch.tensor([0]))


def test_every_bad_file_is_named_before_training(tmp_path: Path) -> None:
    """Catches a list that stops at the first bad file."""
    _folder(tmp_path, 10)
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"<html>")
    with pytest.raises(UsageError) as error:
        _load(tmp_path)
    assert "2 of 12 files" in error.value.what
    assert "a.png: an empty file" in error.value.notes
    assert "b.jpg: not an image: begins with '<html>'" in error.value.notes
    assert any("data.on_bad=skip" in note for note in error.value.notes)


def test_skip_leaves_few_bad_files_out_and_refuses_many(tmp_path: Path) -> None:
    """Catches a folder that quietly shrinks to what happens to decode."""
    _folder(tmp_path, 10)
    (tmp_path / "a.png").write_bytes(b"")
    data = _load(tmp_path, on_bad="skip")
    assert len(data.train) + len(data.test) == 10
    assert "left out: a.png: an empty file" in data.report
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(UsageError, match="2 of 12"):
        _load(tmp_path, on_bad="skip")
    assert len(_load(tmp_path, on_bad="skip", max_bad=0.2).train) == 9


def test_the_hash_knows_images_labels_and_options(tmp_path: Path) -> None:
    """Catches a result that is filed under data that have changed."""
    _folder(tmp_path / "a", 8, "{c}/{k:03}.png")
    first = _load(tmp_path / "a").sha256
    assert _load(tmp_path / "a").sha256 == first
    assert _load(tmp_path / "a", channels=1).sha256 != first
    (tmp_path / "a" / "dog").rename(tmp_path / "a" / "bird")  # the classes trade their numbers
    assert _load(tmp_path / "a").sha256 != first


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no images in"),
        (["x.txt"], "no images in"),
        (["x.png"], "has 1 images to train on and 0 to test on"),
    ],
)
def test_too_few_images_are_a_mistake(tmp_path: Path, files: list[str], message: str) -> None:
    """Catches an empty split that fails later with an index error."""
    for name in files:
        if name.endswith(".png"):
            _image(tmp_path / name, 0)
        else:
            (tmp_path / name).write_text("x")
    with pytest.raises(UsageError, match=message):
        _load(tmp_path)


def test_two_images_are_enough(tmp_path: Path) -> None:
    """Catches a holdout that rounds to nothing, or to everything."""
    for holdout in (0.01, 0.99):
        data = _load(_folder(tmp_path, 2), holdout=holdout)
        assert (len(data.train), len(data.test)) == (1, 1)


def test_all_bad_is_refused_even_with_skip(tmp_path: Path) -> None:
    """Catches a folder of one bad file, which skip may leave out, that ends in an index error."""
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UsageError, match="0 images to train on"):
        _load(tmp_path, on_bad="skip")


def test_wrong_paths_say_what_to_type(tmp_path: Path) -> None:
    """Catches an error that leaves the user to guess."""
    (tmp_path / "flowers").mkdir()
    (tmp_path / "flowers.zip").write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"next: data=folder data\.path=FOLDER"):
        load(FolderConfig())
    with pytest.raises(UsageError, match=r"did you mean: data\.path=.*flowers"):
        _load(tmp_path / "flower")
    with pytest.raises(UsageError, match="unpack an archive first"):
        _load(tmp_path / "flowers.zip")
