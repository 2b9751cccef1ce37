"""Options of the datasets that have some; importing this costs no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zoo_core.config import DataConfig, later


class FolderConfig(DataConfig):
    """A folder of the user's own pictures."""

    name: str = "folder"
    """Registered name."""
    path: str = ""
    """Folder of pictures; train/ and test/ in it are the splits, folders in those (or in it) the classes."""
    size: int = Field(32, ge=1, le=4096)
    """Height and width that every picture is brought to, pixels."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    resize: Literal["crop", "stretch"] = "crop"
    """Bring a picture to a square by cutting out its centre, or by stretching it."""
    background: int = Field(255, ge=0, le=255)
    """Grey level that transparent pixels are laid over."""
    holdout: float = Field(0.1, gt=0, lt=1)
    """Share of the pictures held out for testing, where there are no train/ and test/ folders."""
    pairs: Literal["", "side-by-side", "folders", "matched-folders"] = later("", since="0.1.0")
    """Where pictures that others are made from are: the halves of each file, left A and right B; or trainA/,
    trainB/, testA/ and testB/, unpaired or with pairs of equal names. Empty for none: `data.source` makes
    them."""
    made_from: Literal["A", "B"] = later("A", since="0.1.0")
    """Of pairs and two folders: which are translated, into the others."""
    on_bad: Literal["error", "skip"] = "error"
    """A file that is no usable picture: refuse the folder, or leave the file out and say so."""
    max_bad: float = Field(0.001, ge=0, le=1)
    """Largest share of files that on_bad=skip may leave out; one file may always be."""


class CaptionedFolderConfig(FolderConfig):
    """A folder of the user's own pictures, with captions in text files."""

    name: str = "captioned-folder"
    """Registered name."""
    text: str = ""
    """Folder of captions: a picture a/b.jpg has the lines of a/b.txt. Empty for text/ beside `path`."""
    min_count: int = Field(2, ge=1)
    """Times that a word must stand in the training captions; a rarer one is left out of them."""
    max_words: int = Field(5000, ge=1)
    """Most words, the commonest; others are left out of the captions."""
    length: int = Field(32, ge=1, le=64)
    """Most words of a caption; the rest is cut."""
