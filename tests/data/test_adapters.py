"""Data from Python programs and from the Hugging Face Hub."""

from __future__ import annotations

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


def hub_of(monkeypatch: pytest.MonkeyPatch, splits: dict[str, int]) -> list[Any]:
    """Stand in for the `datasets` library with random images of 10 x 8 pixels."""
    asked: list[Any] = []

    class Split:
        def __init__(self, n: int) -> None:
            self.n = n
            self.x = images(n, 10, 8, 3).numpy()
            self.features = {"img": None, "label": types.SimpleNamespace(names=["cat", "dog"])}

        def __len__(self) -> int:
            return self.n

        def __getitem__(self, key: Any) -> Any:
            if key == "label":
                return [k % 2 for k in range(self.n)]
            return {"img": Image.fromarray(self.x[key]), "label": key % 2}

    def load_dataset(*words: Any, **more: Any) -> Any:
        asked.append((words, more))
        if words[0] == "no/such":
            raise FileNotFoundError("Dataset 'no/such' doesn't exist on the Hub\nor cannot be accessed")
        return {name: Split(n) for name, n in splits.items()}

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
