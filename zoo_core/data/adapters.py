"""Data from Python: arrays, tensors and torch data sets as the data of a run, `zoo_core.run(dataset=...)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.labels import checked_labels, count_classes
from zoo_core.data.splits import held_out, resident
from zoo_core.data.table import Resident
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo

SPLITS = ("train", "test")
NAME = "python"
"""Registered name of data that a Python program hands over."""
HOLDOUT = 0.1
"""Fraction held out for testing, where one set is given."""
IMAGE_COLUMNS = ("image", "img", "jpg", "png")
LABEL_COLUMNS = ("label", "labels", "class")
"""Columns of a dataset of the `datasets` library, in the order in which they are looked for."""
FAR = 10.0
"""Largest coordinate of a point."""
ACCEPTED = (
    "expected: an array or tensor, (array, labels), a torch Dataset of images or (image, label), or"
    " {'train': ..., 'test': ...} of these"
)


def load(config: DataConfig) -> Dataset:
    """Refuse: data from Python exist only where they are handed over.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"the data of data={config.name} come from a Python program",
        "next: zoo_core.run(plugin=..., dataset=DATA), with the same data to resume or score such a run",
    )


def dataset_of(given: Any) -> Dataset:
    """Return the data set of what a program hands over.

    Args:
        given: images, uint8 (N, H, W), (N, C, H, W) or (N, H, W, C), or floats k / 255 in [0, 1], as
            torchvision's ToTensor makes them; or points (N, D), floats; or a pair of these and labels (N,);
            or a torch Dataset whose items are such images or (image, label); or a `datasets.Dataset` with a
            column of images; or a mapping of "train" and
            "test" to any of these. One set is split, a tenth held out.

    Raises:
        UsageError: for anything else, and for values out of range.
    """
    if isinstance(given, Dataset):
        return given
    report: list[str] = []
    if isinstance(given, Mapping):
        if set(given) != {"train", "test"}:
            raise UsageError(f"dataset= has the keys {', '.join(map(str, given))}", ACCEPTED)
        names = _names_of_both(given)
        parts = [_arrays(given[split], split) for split in SPLITS]
    else:
        names = _class_names(given)
        x, label = _arrays(given, "train")
        parts = split_off(x, label, HOLDOUT)
        report.append(f"{len(parts[1][0]):,} of {len(x):,} examples held out for testing")
    shapes = {(tuple(x.shape[1:]), x.dtype, label is None) for x, label in parts}
    if len(shapes) > 1 or not all(len(x) for x, _ in parts):
        raise UsageError(
            f"the splits of dataset= have {', '.join(str(tuple(x.shape)) for x, _ in parts)} examples",
            "expected: at least one in each, examples of one shape and type, with labels in both or in none",
        )
    return own_data(NAME, parts, names, report)


Part = tuple[Tensor, Tensor | None]
"""Examples of a split as they are stored, and their labels, or None."""


def split_off(x: Tensor, label: Tensor | None, fraction: float) -> list[Part]:
    """Return the examples to train on and those that are held out for testing."""
    return [(x[rows], None if label is None else label[rows]) for rows in held_out(label, len(x), fraction)]


def own_data(name: str, parts: Sequence[Part], names: Sequence[str], report: Sequence[str]) -> Dataset:
    """Return data of the user's own as a data set in memory.

    Args:
        name: that the data are registered under.
        parts: the training and the test split: uint8 images (N, C, H, W), or float32 points (N, D).
        names: of the classes; empty where they are unknown.
        report: what was done so far; what was found of the classes is added.
    """
    labels = {split: label for split, (_, label) in zip(SPLITS, parts, strict=True)}
    classes, names, counted = count_classes(labels, names)
    x = parts[0][0]
    info = DataInfo(name, tuple(x.shape[1:]), 256 if x.ndim == 4 else None, classes)
    train, test = (Resident(x, label) for x, label in parts)
    made = resident(info, train, test, class_names=names, report=(*report, *counted))
    return replace(made, by_content=True)


def _class_names(given: Any) -> Sequence[str]:
    names = getattr(given, "classes", ())
    return [str(name) for name in names] if isinstance(names, Sequence) else ()


def _names_of_both(given: Mapping[str, Any]) -> Sequence[str]:
    """Return the class names of two splits; equal labels must mean equal classes.

    Raises:
        UsageError: where they have different names.
    """
    train, test = (_class_names(given[split]) for split in SPLITS)
    if train and test and list(train) != list(test):
        raise UsageError(
            "the splits of dataset= have different class names",
            f"train: {', '.join(train)}"[:200],
            f"test: {', '.join(test)}"[:200],
            "expected: the same names in the same order, so that equal labels are equal classes",
        )
    return train or test


def _arrays(given: Any, split: str) -> Part:
    """Return examples as they are stored, and labels or None."""
    if isinstance(given, tuple) and len(given) == 2 and all(hasattr(part, "shape") for part in given):
        return _examples(_tensor(given[0]), split), _labels(_tensor(given[1]), len(given[0]), split)
    if isinstance(given, np.ndarray | Tensor):
        return _examples(_tensor(given), split), None
    if not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        raise UsageError(f"dataset= is a {type(given).__name__}", ACCEPTED)
    images, labels = [], []
    for k in range(len(given)):
        item = given[k]
        image, label = _item(item)
        images.append(_tensor(image))
        labels.append(label)
    if not images or len({(tuple(image.shape), image.dtype) for image in images}) > 1:
        raise UsageError(
            f"the {split} split of dataset= has {len(images)} items of more than one shape, or none",
            "next: bring them to one size with a transform, e.g. torchvision.transforms.v2.Resize",
        )
    unlabeled = sum(label is None for label in labels)
    if 0 < unlabeled < len(labels):
        raise UsageError(f"{unlabeled} of {len(labels)} items of dataset= have no label", ACCEPTED)
    x = _examples(torch.stack(images), split)
    if unlabeled:
        return x, None
    return x, checked_labels(labels, f"the {split} split of dataset=")


def _item(item: Any) -> tuple[Any, Any]:
    """Return the image and the label of an item; a dataset of the `datasets` library has mappings.

    Raises:
        UsageError: for a mapping without an image.
    """
    if isinstance(item, Mapping):
        image = next((item[name] for name in IMAGE_COLUMNS if name in item), None)
        if image is None:
            raise UsageError(
                f"items of dataset= have the columns {', '.join(map(str, item))}",
                f"expected: one of {', '.join(IMAGE_COLUMNS)}; labels in one of {', '.join(LABEL_COLUMNS)}",
            )
        return image, next((item[name] for name in LABEL_COLUMNS if name in item), None)
    return (item[0], item[1]) if isinstance(item, tuple | list) and len(item) == 2 else (item, None)


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    try:
        return torch.from_numpy(np.array(value))  # PIL's images too
    except (TypeError, ValueError) as error:
        raise UsageError(f"dataset= holds a {type(value).__name__}", ACCEPTED) from error


def _labels(label: Tensor, count: int, split: str) -> Tensor:
    if label.shape != (count,):
        raise UsageError(
            f"labels of {split} are {label.dtype} of shape {tuple(label.shape)} for {count} examples",
            "expected: one integer from 0 on for each example",
        )
    return checked_labels(label.tolist(), f"the {split} split of dataset=")


def _examples(x: Tensor, split: str) -> Tensor:
    """Return images as uint8 (N, C, H, W), or points as float32 (N, D)."""
    if x.ndim == 2:
        if not len(x) or not x.is_floating_point() or not bool((x.abs() <= FAR).all()):
            raise UsageError(
                f"{len(x)} points of {split} are {x.dtype}, or some are not finite or too large",
                f"expected: finite floats of at most {FAR:g}, most in [-1, 1]",
            )
        return x.float()
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4:
        raise UsageError(f"examples of {split} have shape {tuple(x.shape[1:])}", ACCEPTED)
    first, last = (side in (1, 3) for side in (x.shape[1], x.shape[3]))
    if first == last:
        raise UsageError(
            f"images of {split} have shape {tuple(x.shape[1:])}: which side is the channels' is not clear",
            "expected: 1 or 3 channels, first or last, and other sides larger",
        )
    x = x if first else x.permute(0, 3, 1, 2)
    if x.dtype == torch.uint8:
        return x.contiguous()
    if not len(x) or not x.is_floating_point() or not bool(torch.isfinite(x).all()):
        raise UsageError(
            f"{len(x)} images of {split} are {x.dtype}, or some values are not finite",
            "expected: uint8, or floats k / 255 in [0, 1]",
        )
    scaled = x.double() * 255
    if float(x.min()) < 0 or float((scaled - scaled.round()).abs().max()) > 1e-3:
        raise UsageError(
            f"images of {split} are {x.dtype} in [{float(x.min()):.4g}, {float(x.max()):.4g}]",
            "expected: uint8, or floats k / 255 in [0, 1]; undo any normalization first",
        )
    if float(x.max()) > 1:
        raise UsageError(f"images of {split} reach {float(x.max()):.4g}", "expected: floats in [0, 1]")
    return scaled.round().to(torch.uint8).contiguous()
