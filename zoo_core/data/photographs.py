"""CelebA and Flowers-102: image files of many sizes, downloaded and checked by torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data.benchmarks import opened, root_of
from zoo_core.data.configs import FolderConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.decoding import Decoder, scan
from zoo_core.data.image_files import conversions, refuse_bad, table_of
from zoo_core.data.splits import fingerprint
from zoo_core.errors import not_found
from zoo_core.types import DataInfo

CELEBA = (
    "celeba/list_attr_celeba.txt",
    "celeba/identity_CelebA.txt",
    "celeba/list_bbox_celeba.txt",
    "celeba/list_landmarks_align_celeba.txt",
    "celeba/list_eval_partition.txt",
    "celeba/img_align_celeba",
)
FLOWERS = ("flowers-102/imagelabels.mat", "flowers-102/setid.mat", "flowers-102/jpg")


class PhotographsConfig(DataConfig):
    """Published photographs of many sizes, brought to one."""

    size: int = Field(64, ge=1, le=4096)
    """Height and width that every image is brought to, pixels."""
    resize: Literal["crop", "stretch"] = "crop"
    """Bring an image to a square by cropping its center, or by stretching it."""
    storage: Literal["auto", "memory", "mapped", "streamed"] = "auto"
    """Where decoded images are kept; see data=folder."""


class CelebAConfig(PhotographsConfig):
    """CelebA, with one of its attributes as the class."""

    name: str = "celeba"
    """Registered name."""
    attribute: str = ""
    """Attribute that splits the images in two classes, such as Smiling; empty for no classes."""


class FlowersConfig(PhotographsConfig):
    """Oxford Flowers-102."""

    name: str = "flowers102"
    """Registered name."""


def load_celeba(config: CelebAConfig) -> Dataset:
    """Return CelebA (Liu et al. 2015, arXiv:1411.7766) in its published splits.

    Raises:
        UsageError: where files are missing and can't be downloaded, or are corrupt.
        NotFoundError: for an attribute that CelebA does not have.
    """
    root = root_of(config)
    splits = _splits("celeba", "CelebA", CELEBA, root, validation="valid")
    labels: dict[str, Tensor] | None = None
    class_names: tuple[str, ...] = ()
    if config.attribute:
        names = [name for name in splits["train"].attr_names if name]
        if config.attribute not in names:
            raise not_found("attribute", config.attribute, names, say="data.attribute={}")
        column = names.index(config.attribute)
        labels = {split: found.attr[:, column].long() for split, found in splits.items()}
        class_names = (f"not {config.attribute}", config.attribute)
    files = {split: [str(name) for name in found.filename] for split, found in splits.items()}
    return _dataset(config, root / "celeba" / "img_align_celeba", files, labels, class_names)


def load_flowers(config: FlowersConfig) -> Dataset:
    """Return Flowers-102 (Nilsback and Zisserman 2008): 1,020 images to train on, 1,020 and 6,149 held out.

    Raises:
        UsageError: where files are missing and can't be downloaded, or are corrupt.
    """
    root = root_of(config)
    splits = _splits("flowers102", "Flowers102", FLOWERS, root, validation="val")
    files = {split: [Path(path).name for path in found._image_files] for split, found in splits.items()}
    labels = {split: torch.tensor(found._labels, dtype=torch.int64) for split, found in splits.items()}
    return _dataset(config, root / "flowers-102" / "jpg", files, labels, tuple(splits["train"].classes))


def _splits(name: str, kind: str, files: Sequence[str], root: Path, validation: str) -> dict[str, Any]:
    """Return the splits as torchvision opens them, which calls the validation split otherwise."""
    names = {"train": "train", "validation": validation, "test": "test"}
    return {ours: opened(name, kind, files, root, split=theirs) for ours, theirs in names.items()}


def _dataset(
    config: PhotographsConfig,
    folder: Path,
    files: Mapping[str, Sequence[str]],
    labels: Mapping[str, Tensor] | None,
    class_names: Sequence[str],
) -> Dataset:
    """Return the files of each split, decoded and brought to one size.

    Raises:
        UsageError: naming files that are missing or are not images.
    """
    options: dict[str, Any] = config.model_dump(include={"size", "resize", "storage"})
    how = FolderConfig(path=str(folder), **options)
    names = [name for part in files.values() for name in part]
    found = scan(Decoder(str(folder.resolve()), how), names)
    refuse_bad(sorted(found.bad), len(names), how, str(folder), skip="")
    label = None if labels is None else torch.cat([labels[split] for split in files])
    tables, start = {}, 0
    for split, part in files.items():
        tables[split] = table_of(found, label, torch.arange(start, start + len(part)))
        start += len(part)
    return Dataset(
        info=DataInfo(config.name, (3, config.size, config.size), 256, len(class_names)),
        train=tables["train"],
        test=tables["test"],
        validation=tables["validation"],
        sha256=fingerprint(*tables.values()),
        class_names=class_names,
        report=tuple(conversions(found, config.size)),
    )
