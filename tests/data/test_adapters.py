"""Data from Python programs and from the Hugging Face Hub."""

from __future__ import annotations

import errno
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import TensorDataset

from zoo_core.data import hub
from zoo_core.data.adapters import dataset_of
from zoo_core.data.configs import HubConfig
from zoo_core.errors import MachineError, UsageError
from zoo_core.registry.resolution import named_repo
from zoo_core.seeds import generator


def images(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=generator(0, "images"), dtype=torch.uint8)


class Photos(TorchDataset[Any]):
    """A torch data set as torchvision's are: (image, label), and the names of the classes."""

    classes = ("cat", "dog")

    def __init__(self, n: int, form: str) -> None:
        self.x, self.form = images(n, 3, 8, 8), form

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, k: int) -> tuple[Any, int]:
        x = self.x[k]
        if self.form == "pil":
            return Image.fromarray(x.permute(1, 2, 0).numpy()), k % 2
        return (x.float() / 255 if self.form == "float" else x), k % 2


@pytest.mark.parametrize("form", ["pil", "float", "uint8"])
def test_a_torch_data_set_is_read_as_it_is(form: str) -> None:
    """Catches channels changed about, floats that are cut instead of rounded, and labels of other images."""
    given = Photos(40, form)
    data = dataset_of(given)
    assert data.info.shape == (3, 8, 8)
    assert (data.info.levels, data.info.classes, tuple(data.class_names)) == (256, 2, ("cat", "dog"))
    assert (len(data.train), len(data.test)) == (36, 4)
    for table in (data.train, data.test):
        for x, label in zip(table.x, table.label, strict=True):  # type: ignore[arg-type]
            (row,) = torch.nonzero((given.x == x).flatten(1).all(1)).flatten().tolist()
            assert row % 2 == int(label)
    assert data.by_content
    assert dataset_of(Photos(40, "uint8")).sha256 == data.sha256


@pytest.mark.parametrize("shape", [(20, 8, 8), (20, 1, 8, 8), (20, 8, 8, 1), (20, 8, 8, 3)])
def test_arrays_keep_their_values(shape: tuple[int, ...]) -> None:
    x = images(*shape)
    data = dataset_of({"train": x[:15].numpy(), "test": x[15:]})
    expected = x[:, None] if x.ndim == 3 else x if shape[1] == 1 else x.permute(0, 3, 1, 2)
    assert torch.equal(data.train.x, expected[:15])
    assert torch.equal(data.test.x, expected[15:])
    assert data.tasks[0] == "unconditional"


def test_points_and_labels() -> None:
    x = torch.randn(50, 2, dtype=torch.float64, generator=generator(0, "points"))
    data = dataset_of((x.numpy(), np.arange(50) % 5))
    assert (data.info.shape, data.info.levels, data.info.classes) == ((2,), None, 5)
    assert data.train.x.dtype == torch.float32
    assert data.train.label is not None
    assert data.train.label.bincount().tolist() == [9] * 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "is a int"),
        ([], "0 items"),
        (torch.rand(10, 3, 8, 8), "expected: uint8, or floats k / 255"),
        (torch.rand(10, 1, 8, 8).round() * 2 - 1, "undo any normalization"),
        (images(10, 1, 8, 8).float(), r"reach 25\d"),
        (images(10, 1, 8, 8).long(), "are torch.int64"),
        (images(10, 5, 8, 8), "which side is the channels'"),
        (images(10, 3, 8, 3), "which side is the channels'"),
        (images(10, 2), "points of train are torch.uint8"),
        (torch.full((10, 2), float("nan")), "expected: finite floats"),
        ((images(10, 1, 8, 8), torch.arange(9)), "for 10 examples"),
        ((images(10, 1, 8, 8), torch.arange(10) - 1), "one integer from 0"),
        ({"train": images(10, 1, 8, 8)}, "has the keys train"),
        ({"train": images(10, 1, 8, 8), "test": images(10, 1, 9, 9)}, "examples of one shape"),
        ({"train": images(10, 1, 8, 8), "test": images(0, 1, 8, 8)}, "examples of one shape"),
        ([images(1, 8, 8), images(1, 9, 9)], "more than one shape"),
    ],
)
def test_what_is_not_clear_is_refused(given: Any, message: str) -> None:
    """Catches values that are scaled, cut or transposed by a guess."""
    with pytest.raises(UsageError, match=message):
        dataset_of(given)


def test_a_tensor_dataset_is_a_torch_data_set() -> None:
    x = images(30, 1, 8, 8)
    data = dataset_of(TensorDataset(x, torch.arange(30) % 3))
    assert data.info.classes == 3


# -- the Hub, by a library of our own making: no test needs a network


class Column(list[Any]):
    """A column of labels with the names of the classes."""


def hub_of(
    monkeypatch: pytest.MonkeyPatch,
    splits: dict[str, int],
    labels: dict[str, list[Any]] | None = None,
    names: dict[str, list[str] | None] | None = None,
    error: Exception | None = None,
) -> list[Any]:
    """Stand in for the `datasets` library with random images of 10 x 8 pixels.

    Args:
        splits: name of each split -> number of images.
        labels: of splits whose labels are not 0, 1, 0, 1, ...
        names: class names of splits where they are not cat and dog; None for a column without names.
        error: raised when the data set is opened.
    """
    asked: list[Any] = []
    labels, names = labels or {}, names or {}

    class Split:
        def __init__(self, name: str, n: int) -> None:
            self.n = n
            self.x = images(n, 10, 8, 3).numpy()
            self.label = labels.get(name, [k % 2 for k in range(n)])
            of_class = types.SimpleNamespace(names=names.get(name, ["cat", "dog"]))
            self.features = {"img": None, "label": of_class}

        def __len__(self) -> int:
            return self.n

        def __getitem__(self, key: Any) -> Any:
            if key == "label":
                return self.label
            return {"img": Image.fromarray(self.x[key]), "label": self.label[key]}

    def load_dataset(*words: Any, **more: Any) -> Any:
        asked.append((words, more))
        if words[0] == "no/such":
            raise FileNotFoundError("Dataset 'no/such' doesn't exist on the Hub\nor cannot be accessed")
        if error is not None:
            raise error
        return {name: Split(name, n) for name, n in splits.items()}

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_a_data_set_of_the_hub_is_decoded_as_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub_of(monkeypatch, {"train": 20, "validation": 6})
    data = hub.load(HubConfig(repo="user/name", size=8, subset="small"))
    assert asked == [(("user/name", "small"), {"revision": None})]
    assert (len(data.train), len(data.test)) == (20, 6)
    assert (data.info.name, data.info.classes, tuple(data.class_names)) == ("hf", 2, ("cat", "dog"))
    center = images(20, 10, 8, 3)[:, 1:9].permute(0, 3, 1, 2)
    assert torch.equal(data.train.x, center)
    assert "columns read: img as image, label as label" in data.report
    assert "split 'validation' of user/name is the test split" in data.report
    held = hub_of(monkeypatch, {"train": 20}) and hub.load(HubConfig(repo="user/name", size=4, holdout=0.2))
    assert isinstance(held, list) or (len(held.train), len(held.test)) == (16, 4)


def test_what_the_hub_does_not_have_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    hub_of(monkeypatch, {"all": 5})
    with pytest.raises(UsageError, match=r"no split 'train'\n.*data.train_split= one of all"):
        hub.load(HubConfig(repo="user/name"))
    hub_of(monkeypatch, {"train": 5})
    with pytest.raises(UsageError, match=r"no column face\n.*one of img, label"):
        hub.load(HubConfig(repo="user/name", image_column="face"))
    with pytest.raises(UsageError, match=r"can't be loaded\n.*doesn't exist on the Hub"):
        hub.load(HubConfig(repo="no/such"))
    with pytest.raises(UsageError, match="data=hf:user/name"):
        hub.load(HubConfig())
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MachineError, match=r"pip install .genzoo\[hf\]"):
        hub.load(HubConfig(repo="user/name"))


def test_a_name_after_hf_is_the_repository() -> None:
    found = named_repo({"data.name": "hf:user/name", "seed": 1})
    assert found == {"data.name": "hf", "data.repo": "user/name", "seed": 1}
    for name in ("digits", "hf", "hf:", ""):
        assert named_repo({"data.name": name}) == {"data.name": name}


@pytest.mark.parametrize(
    "given",
    [
        np.full((20, 1, 8, 8), np.nan),
        np.zeros((0, 1, 8, 8), np.float32),
        np.zeros((20, 2), bool),
        np.zeros((0, 2), np.float32),
        np.full((20, 2), np.inf),
    ],
    ids=["nan", "no images", "bool", "no points", "inf"],
)
def test_arrays_without_finite_floats_are_refused(given):
    """Catches NaN that becomes black, and an error inside the error's message."""
    with pytest.raises(UsageError):
        dataset_of(given)


# -- labels: checked in both splits, and the classes are those of both


def labeled(n: int, labels: list[Any], names: Any = None) -> Any:
    """Return a torch data set of n images with the labels given, and names of classes."""
    x = images(n, 1, 8, 8)

    class Items(TorchDataset[Any]):
        def __len__(self) -> int:
            return n

        def __getitem__(self, k: int) -> tuple[Any, Any]:
            return x[k], labels[k]

    made = Items()
    if names is not None:
        made.classes = names  # type: ignore[attr-defined]
    return made


def test_classes_are_those_of_both_splits() -> None:
    """Catches a class of the test split that is beyond the embedding of a model trained with fewer."""
    data = dataset_of({"train": labeled(6, [0, 1] * 3), "test": labeled(3, [0, 4, 1])})
    assert data.info.classes == 5
    assert data.test.label is not None
    assert data.test.label.tolist() == [0, 4, 1]
    assert "3 classes have no example in the train split: 2, 3, 4" in data.report
    assert "2 classes have no example in the test split: 2, 3" in data.report


def test_class_names_stay_or_their_loss_is_reported() -> None:
    """Catches names that are dropped because a class has no example, and ones dropped without a word."""
    more = dataset_of({"train": labeled(6, [0, 1] * 3, ["cat", "dog", "owl"]), "test": labeled(2, [0, 1])})
    assert (more.info.classes, tuple(more.class_names)) == (3, ("cat", "dog", "owl"))
    assert "1 classes have no example in the train split: owl" in more.report
    fewer = dataset_of({"train": labeled(6, [0, 1, 2] * 2, ["cat", "dog"]), "test": labeled(3, [0, 1, 2])})
    assert (fewer.info.classes, tuple(fewer.class_names)) == (3, ())
    assert "2 class names are not used: the labels are of 3 classes" in fewer.report
    unlabeled = dataset_of({"train": labeled(6, [None] * 6, ["cat"]), "test": labeled(2, [None] * 2)})
    assert (unlabeled.info.classes, tuple(unlabeled.class_names)) == (0, ())
    assert "1 class names are not used: there are no labels" in unlabeled.report


def test_splits_of_other_classes_are_refused() -> None:
    """Catches labels of the test split that mean other classes than those of the training split."""
    with pytest.raises(UsageError, match="different class names"):
        dataset_of(
            {"train": labeled(4, [0, 1] * 2, ["cat", "dog"]), "test": labeled(2, [0, 1], ["dog", "cat"])}
        )


@pytest.mark.parametrize(
    "label", ["cat", 1.0, -1, None, 10**20, np.float32(1), torch.ones(2, dtype=torch.int64)], ids=repr
)
def test_labels_that_are_no_class_numbers_are_refused(label: Any) -> None:
    """Catches text, floats and missing labels that end in a traceback or are cut to an integer."""
    expected = (
        "have no label" if label is None else r"label of row 3 of the train split.*\n.*one integer from 0"
    )
    with pytest.raises(UsageError, match=expected):
        dataset_of(labeled(4, [0, 1, 0, label]))


def test_labels_of_any_integer_type_are_read() -> None:
    given = [0, np.int64(1), np.uint8(2), torch.tensor(1), True, 0]
    data = dataset_of({"train": labeled(6, given), "test": labeled(2, [0, 2])})
    assert data.train.label is not None
    assert data.train.label.tolist() == [0, 1, 2, 1, 1, 0]
    pair = (images(4, 1, 8, 8), np.array([0, 1, 2, 1], np.uint16))
    data = dataset_of({"train": pair, "test": pair})
    assert data.info.classes == 3


def test_a_data_set_of_one_example_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one in each"):
        dataset_of(images(1, 1, 8, 8))


@pytest.mark.parametrize("label", ["cat", None, -1, 1.0], ids=repr)
def test_labels_of_the_hub_are_checked_in_both_splits(monkeypatch: pytest.MonkeyPatch, label: Any) -> None:
    for split in ("train", "test"):
        labels = {split: [0, 1, label, 0]}
        hub_of(monkeypatch, {"train": 4, "test": 4}, labels)
        with pytest.raises(UsageError, match=f"row 2 of column label of split {split} of user/name is"):
            hub.load(HubConfig(repo="user/name", size=8))


def test_classes_of_the_hub_are_those_of_both_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a test label beyond the classes, by number or beside fewer names."""
    labels = {"train": [0, 1, 0, 1], "test": [0, 3]}
    hub_of(monkeypatch, {"train": 4, "test": 2}, labels, {"train": None, "test": None})
    assert hub.load(HubConfig(repo="user/name", size=8)).info.classes == 4
    hub_of(monkeypatch, {"train": 4, "test": 2}, labels)
    data = hub.load(HubConfig(repo="user/name", size=8))
    assert (data.info.classes, tuple(data.class_names)) == (4, ())
    assert "2 class names are not used: the labels are of 4 classes" in data.report
    hub_of(monkeypatch, {"train": 4, "test": 2}, names={"train": ["cat", "dog"], "test": ["dog", "cat"]})
    with pytest.raises(UsageError, match="different classes in train and test"):
        hub.load(HubConfig(repo="user/name", size=8))


def test_the_hub_says_how_many_are_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches the number that was asked for where classes of one image each leave fewer to hold out."""
    labels = {"train": [0, 0, 0, 1, 2, 3]}
    hub_of(monkeypatch, {"train": 6}, labels, {"train": None})
    data = hub.load(HubConfig(repo="user/name", size=8, holdout=0.9))
    assert (len(data.train), len(data.test)) == (4, 2)
    assert "2 of 6 images held out for testing (data.holdout)" in data.report
    hub_of(monkeypatch, {"train": 1})
    with pytest.raises(UsageError, match="expected: at least 2"):
        hub.load(HubConfig(repo="user/name", size=8))


def test_faults_of_the_machine_are_not_said_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a full disk or a missing library reported as a wrong name."""
    hub_of(monkeypatch, {"train": 4}, error=OSError(errno.ENOSPC, "No space left on device", "/cache/x"))
    with pytest.raises(MachineError, match="No space left on device: /cache/x"):
        hub.load(HubConfig(repo="user/name"))
    hub_of(monkeypatch, {"train": 4}, error=ImportError("To use it, please install 'zstandard'"))
    with pytest.raises(MachineError, match=r"needs a library: .*zstandard"):
        hub.load(HubConfig(repo="user/name"))
