"""What is inferred of folders: splits and classes where it is unmistakable, and a refusal elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from zoo_core.data.conditioning import read_conditions
from zoo_core.data.configs import FolderConfig
from zoo_core.data.folder import load
from zoo_core.data.image_files import list_files
from zoo_core.data.layout import SPLIT_LIKE, natural
from zoo_core.data.loading import Dataset
from zoo_core.errors import UsageError


def paint(path: Path, value: int, size: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (size, size), value % 256).save(path)


def tree(root: Path, folders: dict[str, int]) -> Path:
    """Write images into folders; each image has a gray value of its own."""
    value = 0
    for folder, count in folders.items():
        for k in range(count):
            paint(root / folder / f"{k:03}.png", value)
            value += 1
    return root


def read(root: Path, **options: Any) -> Dataset:
    return load(FolderConfig.model_validate({"path": str(root), "size": 4, "channels": 1, **options}))


def test_train_beside_val_is_two_splits(tmp_path: Path) -> None:
    """Catches two classes named train and val, whose images are pooled."""
    data = read(tree(tmp_path, {"train/a": 5, "train/b": 4, "val/a": 2, "val/b": 1}))
    assert (len(data.train), len(data.test), data.validation) == (9, 3, None)
    assert data.class_names == ("a", "b")
    assert "splits read from folders: train/ as train, val/ as test" in data.report


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_third_split_is_the_validation_split(tmp_path: Path, name: str) -> None:
    data = read(tree(tmp_path, {"train": 5, "test": 3, name: 2}))
    assert data.validation is not None
    assert (len(data.train), len(data.test), len(data.validation)) == (5, 3, 2)
    other = tree(tmp_path / "other", {"train": 5, "test": 3, "mine": 2})
    assert len(read(other, val="mine").validation or ()) == 2
    assert read(tmp_path).sha256 == read(other, val="mine").sha256
    with pytest.raises(UsageError, match=r"did you mean: data\.val=mine"):
        read(other, val="min")


@pytest.mark.parametrize(
    "folders",
    [
        {"Train": 3, "Test": 2},
        {"training": 3, "testing": 2},
        {"train": 3, "tests": 2},
        {"train": 3, "val": 2, "valid": 2},
        {"train": 3},
        {"test": 3, "cat": 2},
        {"train": 3, "bus": 3, "car": 3},
        {"train2017": 3, "val2017": 2},
        {"train": 3, "test": 3, "dev": 2},
        {"train_set/a": 3, "hold-out/a": 3},
        {"seg_train/a": 3, "seg_test/a": 3, "seg_pred": 2},
        {"images train": 3, "images val": 3},
        {"train ": 3, "cat": 2},
    ],
)
def test_what_could_be_splits_or_classes_is_refused(tmp_path: Path, folders: dict[str, int]) -> None:
    """Catches a split that becomes a class because its name is spelled otherwise."""
    root = tree(tmp_path, folders)
    with pytest.raises(UsageError, match="can't be read as splits") as error:
        read(root)
    assert "data.layout=classes" in str(error.value)
    classes = read(root, layout="classes")
    if not any("/" in folder for folder in folders):
        assert set(classes.class_names) == (set(folders) if len(folders) > 1 else set())
    assert read(root, layout="flat").class_names == ()


def test_a_word_in_a_name_makes_no_split_of_it(tmp_path: Path) -> None:
    data = read(tree(tmp_path, {"bullet_train": 3, "crash_test": 3, "contest": 3}))
    assert data.class_names == ("bullet_train", "contest", "crash_test")


@pytest.mark.parametrize(
    ("folders", "inside"),
    [
        ({"archive/train": 3, "archive/test": 2}, "archive"),
        ({"cat/train": 3, "cat/val": 2, "dog/train": 3, "dog/val": 2}, "cat"),
        ({"a/b/Training/x": 3, "a/b/Testing/x": 2}, "a/b"),
    ],
)
def test_splits_below_the_folder_are_refused(tmp_path: Path, folders: dict[str, int], inside: str) -> None:
    """Catches training and test images pooled, and a part of both held out at random."""
    root = tree(tmp_path, folders)
    with pytest.raises(UsageError, match=r"splits are read from data\.path only") as error:
        read(root)
    assert f"next: data.path={root / inside}," in str(error.value)
    assert len(read(root, layout="flat").train) > 3


def test_a_folder_named_like_a_split_may_lie_in_a_class(tmp_path: Path) -> None:
    data = read(tree(tmp_path, {"cat/train": 3, "dog/test": 3, "bus/validation": 3}))
    assert data.class_names == ("bus", "cat", "dog")


@pytest.mark.parametrize("other", ["caf\u0065\u0301", "caf\u00e9 "])
def test_classes_that_look_alike_are_refused(tmp_path: Path, other: str) -> None:
    """Catches one class of an archive of another system, read as two."""
    root = tree(tmp_path, {"caf\u00e9": 3, other: 3, "tea": 3})
    with pytest.raises(UsageError, match="look alike") as error:
        read(root)
    assert ascii(other) in str(error.value)


def test_a_class_has_a_name(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="folder 'a' has an empty name"):
        FolderConfig.model_validate({"path": str(tmp_path), "class_map": {"a": " "}})


def test_folders_without_images_are_reported(tmp_path: Path) -> None:
    """Catches a class that vanishes because its files have another extension."""
    root = tree(tmp_path, {"a": 3, "b/deep": 3})
    (root / "c" / "deep").mkdir(parents=True)
    (root / "c" / "0.heic").write_text("an image of another kind")
    (root / ".hidden").mkdir()
    assert "1 folders without images: c" in read(root).report
    assert list_files(str(root)).empty == ["c"]


@pytest.mark.parametrize("name", ["contest", "evan", "trainer", "dev kit", "devil", "cat", "testa", "tr"])
def test_other_names_are_classes(name: str) -> None:
    assert SPLIT_LIKE.fullmatch(name) is None


def test_classes_are_in_natural_order(tmp_path: Path) -> None:
    """Catches 1, 10, 11, 2."""
    data = read(tree(tmp_path, {str(k): 2 for k in (10, 2, 1, 11, 9)}))
    assert data.class_names == ("1", "2", "9", "10", "11")
    names = ["b", "a10b", "a2", "a", "a2b", "10", "9", "", "a02"]
    assert sorted(names, key=natural) == ["", "9", "10", "a", "a02", "a2", "a2b", "a10b", "b"]


def test_a_class_map_names_and_joins_classes(tmp_path: Path) -> None:
    root = tree(tmp_path, {"n01.5": 3, "n02": 3, "n03": 3})
    data = read(root, class_map={"n01.5": "fish", "n02": "bird", "n03": "fish"})
    assert data.class_names == ("bird", "fish")
    assert (data.train.label.bincount() + data.test.label.bincount()).tolist() == [3, 6]  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="does not have: n04"):
        read(root, class_map={"n04": "fish"})


@pytest.mark.parametrize("holdout", [0.1, 0.4, 0.9])
def test_every_class_has_a_training_image(tmp_path: Path, holdout: float) -> None:
    """Catches a small class that is held out whole: no model could be trained on it."""
    data = read(tree(tmp_path, {"a": 1, "b": 2, "c": 30}), holdout=holdout)
    assert data.train.label is not None
    assert int(data.train.label.bincount(minlength=3).min()) >= 1
    assert len(data.test) == round(holdout * 33)


def test_classes_without_a_training_image_are_reported(tmp_path: Path) -> None:
    """Of classes with one image each some must be held out."""
    data = read(tree(tmp_path, {f"id{k:02}": 1 for k in range(20)}))
    assert len(data.test) == 2
    assert any(line.startswith("2 classes have no image in the train split: id") for line in data.report)


def test_links_are_followed_where_they_are_allowed(tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside", {"x": 3})
    root = tree(tmp_path / "images", {"a": 3})
    (root / "b").symlink_to(outside / "x")
    (root / "a" / "link.png").symlink_to(outside / "x" / "000.png")
    (root / "a" / "loop").symlink_to(root)
    with pytest.raises(UsageError, match=r"data\.links=true"):
        read(root)
    data = read(root, links=True, on_bad="skip")
    assert len(data.train) + len(data.test) == 7
    assert data.class_names == ("a", "b")
    assert any("a/loop: a link to a folder that is read already" in line for line in data.report)


def test_a_folder_is_read_by_its_own_name_and_once(tmp_path: Path) -> None:
    """Catches a folder read under the name of a link, and one read twice, in whatever order they are met."""
    outside = tree(tmp_path / "outside", {"x": 1, "x/y": 1})
    root = tree(tmp_path / "images", {"a": 1, "a/deep": 1, "z": 1, "z/deep": 2})
    (root / "a" / "link").symlink_to(root / "z" / "deep")  # one is met before the folder itself
    (root / "z" / "link").symlink_to(root / "a" / "deep")
    (root / "b").symlink_to(root / "z")
    (root / "c").symlink_to(outside / "x" / "y")
    (root / "d").symlink_to(outside / "x")
    listing = list_files(str(root), links=True)
    read_already = "a link to a folder that is read already"
    assert list(listing.names) == [
        "a/000.png",
        "a/deep/000.png",
        "c/000.png",
        "d/000.png",
        "z/000.png",
        "z/deep/000.png",
        "z/deep/001.png",
    ]
    assert sorted(listing.bad) == [
        ("a/link", read_already),
        ("b", read_already),
        ("d/y", "a folder that is read already by a link"),
        ("z/link", read_already),
    ]
    listing = list_files(str(root))
    assert len(listing.names) == 5
    assert sorted(name for name, _ in listing.bad) == ["a/link", "b", "c", "d", "z/link"]


def test_images_that_are_made_smaller_are_reported(tmp_path: Path) -> None:
    for k in range(4):
        paint(tmp_path / f"{k}.png", k, 64)
    data = read(tmp_path, size=32)
    assert "4 images reduced to 32x32 from 64x64; data.size=64 keeps them" in data.report
    for k in range(4):
        paint(tmp_path / f"more{k}.png", k + 9, 40 + k)
    paint(tmp_path / "small.png", 77, 8)
    report = read(tmp_path, size=32).report
    assert "8 images reduced to 32x32 from 40x40 to 64x64" in report
    assert "1 images enlarged to 32x32 from 8x8" in report
    assert not any("reduced" in line for line in read(tmp_path, size=64, on_bad="skip").report)


def test_folders_of_two_domains_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path, {"trainA": 2, "trainB": 2, "testA": 2, "testB": 2})
    with pytest.raises(UsageError, match=r"data\.pairs=folders"):
        read(root)


def test_a_class_named_with_a_comma_can_be_asked_for(tmp_path: Path) -> None:
    """Catches a name that is taken apart at its comma."""
    data = read(tree(tmp_path, {"salt": 3, "salt, pepper": 3, "dill": 3})).for_task("class")
    label = read_conditions("salt, pepper", data, 2).label
    assert label is not None
    assert label.tolist() == [2, 2]
    label = read_conditions('"salt, pepper",dill, salt', data, 3).label
    assert label is not None
    assert label.tolist() == [2, 0, 1]
