"""Options of the data sets that have some; importing this costs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from zoo_core.config import DataConfig, flatten, later


class FolderConfig(DataConfig):
    """A folder of the user's own images."""

    BY_CONTENT: ClassVar[bool] = True

    name: str = "folder"
    """Registered name."""
    path: str = ""
    """Folder of images; train/, test/ and val/ in it are the splits, folders in those (or in it) classes."""
    size: int = Field(32, ge=1, le=4096)
    """Height and width that every image is brought to, pixels."""
    label: str = later("", since="0.2.0", max_length=60)
    """Name that stands for the data in tables, e.g. cifar10-jpeg; empty for "folder". It changes neither the
    run's name nor its scores."""
    channels: Literal[1, 3] = 3
    """1 for gray, 3 for color."""
    resize: Literal["crop", "stretch"] = "crop"
    """Bring an image to a square by cropping its center, or by stretching it."""
    background: int = Field(255, ge=0, le=255)
    """Gray level that transparent pixels are laid over."""
    holdout: float = Field(0.1, gt=0, lt=1)
    """Fraction of the images held out for testing, where there are no train/ and test/ folders."""
    layout: Literal["auto", "splits", "classes", "flat"] = later("auto", since="0.2.0")
    """What the folders in `path` are: the splits train/ and test/, one folder a class, or nothing (flat: all
    images without classes). auto infers it, prints it, and refuses what could be either."""
    val: str = later("", since="0.2.0")
    """Folder in `path` that is the validation split; empty for val/, valid/ or validation/, if there."""
    class_map: dict[str, str] = later({}, since="0.2.0")
    """Class of a folder where that is not its name, e.g. {n01440764: tench}; two folders may share one."""
    links: bool = later(False, since="0.2.0")
    """Follow links to folders, and to files outside `path`."""
    pairs: Literal["", "side-by-side", "folders", "matched-folders"] = later("", since="0.1.0")
    """Where images that others are made from are: the halves of each file, left A and right B; or trainA/,
    trainB/, testA/ and testB/, unpaired or with pairs of equal names. Empty for none: `data.source` makes
    them."""
    made_from: Literal["A", "B"] = later("A", since="0.1.0")
    """Of pairs and two folders: which are translated, into the others."""
    on_bad: Literal["error", "skip"] = "error"
    """A file that is not a usable image: refuse the folder, or leave the file out and say so."""
    max_bad: float = Field(0.001, ge=0, le=1)
    """Largest fraction of files that on_bad=skip may leave out; one file may always be."""
    storage: Literal["auto", "memory", "mapped", "streamed"] = "auto"
    """Where decoded images are kept: in memory up to 512 MiB and memory-mapped from ZOO_HOME/cache
    beyond (auto), or one of these always; streamed decodes the files in every epoch and caches no image."""

    @field_validator("class_map", mode="before")
    @classmethod
    def _by_folder(cls, given: Any) -> Any:
        # Options are laid over one another by dotted keys, which takes a folder's name apart.
        return flatten(given) if isinstance(given, Mapping) else given

    @field_validator("class_map")
    @classmethod
    def _named(cls, given: dict[str, str]) -> dict[str, str]:
        unnamed = [folder for folder, name in given.items() if not name.strip()]
        if unnamed:
            raise ValueError(f"the class of folder {unnamed[0]!r} has an empty name")
        return given


class CaptionedFolderConfig(FolderConfig):
    """A folder of the user's own images, with captions in text files."""

    name: str = "captioned-folder"
    """Registered name."""
    text: str = ""
    """Folder of captions: an image a/b.jpg has the lines of a/b.txt. Empty for text/ beside `path`."""
    min_count: int = Field(2, ge=1)
    """Occurrences that a word needs in the training captions; a rarer one is left out of them."""
    max_words: int = Field(5000, ge=1)
    """Largest vocabulary, the commonest words; others are left out of the captions."""
    length: int = Field(32, ge=1, le=64)
    """Most words of a caption; the rest is cut."""


class HubConfig(DataConfig):
    """An image data set of the Hugging Face Hub."""

    BY_CONTENT: ClassVar[bool] = True

    name: str = "hf"
    """Registered name."""
    repo: str = ""
    """Name on the Hub, user/name; data=hf:NAME sets it."""
    subset: str = ""
    """Configuration of the data set, where it has several; empty for its default."""
    revision: str = ""
    """Commit, tag or branch; empty for the newest."""
    train_split: str = "train"
    """Split to train on."""
    test_split: str = ""
    """Split to test on; empty for test, else validation, else a part held out of the training split."""
    image_column: str = ""
    """Column of the images; empty for image, img, jpg or png."""
    label_column: str = ""
    """Column of integer labels; empty for label, labels or class, where there is one."""
    size: int = Field(32, ge=1, le=4096)
    """Height and width that every image is brought to, pixels."""
    channels: Literal[1, 3] = 3
    """1 for gray, 3 for color."""
    resize: Literal["crop", "stretch"] = "crop"
    """Bring an image to a square by cropping its center, or by stretching it."""
    background: int = Field(255, ge=0, le=255)
    """Gray level that transparent pixels are laid over."""
    holdout: float = Field(0.1, gt=0, lt=1)
    """Fraction of the images held out for testing, where there is no split to test on."""


class PythonConfig(DataConfig):
    """Data that a Python program hands over."""

    BY_CONTENT: ClassVar[bool] = True

    name: str = "python"
    """Registered name."""
