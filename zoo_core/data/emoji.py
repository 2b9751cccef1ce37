"""Color icons that need no download: Noto emoji at 32x32 on white, and the same emoji drawn as Twemoji.

The files come with the library and hold their license and attribution (NOTICE); ci/emoji.py makes them again.
Variants of one emoji (gender, direction, skin tone, clock faces, near-identical faces) share a group, and a
group is in one split.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo_core.config import DataConfig, later
from zoo_core.data.captions import Tokenizer
from zoo_core.data.dataset import Dataset, Domain
from zoo_core.data.splits import digests, fingerprint, resident
from zoo_core.data.table import Resident, Table
from zoo_core.errors import MachineError, UsageError, ZooError
from zoo_core.machine.faults import machine_error
from zoo_core.types import DataInfo

FILES = Path(__file__).parent / "files"
SIDE = 32
MAX_BYTES = 64 << 20
"""Size of one member of a file, bytes."""
CATEGORIES = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
    "Flags",
)
"""Classes, in Unicode's order."""


OTHER_ARTIST = {"emoji": "emoji-twitter", "emoji-twitter": "emoji"}
"""Dataset of the same emoji in another design, by that of one design."""


class DesignConfig(DataConfig):
    """Options of emoji in either design."""

    other_artist: bool = later(False, since="0.2.0")
    """Paired and unpaired tasks: translate the same emoji as the other artist drew it, instead of an image
    that `data.source` makes."""


class EmojiConfig(DesignConfig):
    """Options of `data=emoji`."""

    tones: bool = False
    """Add the five skin tones of each training image that has them, to the training split only."""


class Emoji(NamedTuple):
    """One file of emoji.

    Attributes:
        images: (n, 3, 32, 32) uint8.
        rows: what each is: code, name, category, subcategory, group, test. A subcategory is Unicode's, one of
            98, some of a single image: no dataset has them as classes.
    """

    images: Tensor
    rows: Sequence[dict[str, Any]]


def read(name: str) -> Emoji:
    """Return the images of a file and what they are.

    Raises:
        MachineError: where the file is not installed, or damaged.
    """
    from PIL import Image

    path = FILES / f"{name}.zip"
    try:
        with zipfile.ZipFile(path) as file:
            rows = json.loads(_member(file, "index.json"))["rows"]
            sheet = np.asarray(Image.open(io.BytesIO(_member(file, "sheet.webp"))).convert("RGB"))
        if not 0 < len(rows) <= sheet.size // (3 * SIDE**2):
            raise ValueError(f"{len(rows)} rows of {sheet.shape[1]}x{sheet.shape[0]} pixels")
    except FileNotFoundError:
        raise MachineError(f"{path.name} is not installed", "next: install genzoo again, in full") from None
    except (ZooError, ImportError, MemoryError):  # ZooError: such as a signal that ends the run
        raise
    except Exception as error:  # whatever zipfile and PIL make of bad bytes: the file is at fault
        if fault := machine_error(error):
            raise fault from error
        raise MachineError(f"{path} is damaged: {error}"[:400], "next: install genzoo again") from error
    across, down = sheet.shape[1] // SIDE, sheet.shape[0] // SIDE
    tiles = sheet.reshape(down, SIDE, across, SIDE, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE)
    return Emoji(torch.from_numpy(np.ascontiguousarray(tiles[: len(rows)])), rows)


def _member(file: zipfile.ZipFile, name: str) -> bytes:
    size = file.getinfo(name).file_size
    if size > MAX_BYTES:
        raise ValueError(f"{name} claims {size:,} bytes; expected at most {MAX_BYTES:,}")
    return file.read(name)


def tokenizer(rows: Sequence[dict[str, Any]]) -> Tokenizer:
    """Return the words of all names, in alphabetic order; a caption is as long as the longest name."""
    names = [row["name"].split() for row in rows]
    return Tokenizer(tuple(sorted({word for name in names for word in name})), max(map(len, names)))


def load(config: DataConfig) -> Dataset:
    """Return the emoji of one artist: uint8 (3, 32, 32), 9 categories as classes, names as captions.

    Args:
        config: its name is the file's: "emoji" (Noto) or "emoji-twitter" (Twemoji).

    Raises:
        UsageError: for skin tones of pairs, which the other artist's file does not have.
    """
    found = read(config.name)
    words = tokenizer(found.rows)
    test = torch.tensor([row["test"] for row in found.rows])
    label = torch.tensor([CATEGORIES.index(row["category"]) for row in found.rows])
    tokens = torch.tensor([words.encode(row["name"]) for row in found.rows])
    group = torch.tensor([row["group"] for row in found.rows])
    report: list[str] = []
    train = [found.images[~test], label[~test], tokens[~test], group[~test]]
    paired = isinstance(config, DesignConfig) and config.other_artist
    if isinstance(config, EmojiConfig) and config.tones:
        if paired:
            raise UsageError(
                "data.tones=true was asked for with data.other_artist=true",
                "expected: one of them; the other design has no skin tones here",
            )
        place = {row["code"]: k for k, row in enumerate(found.rows) if not row["test"]}
        toned = read("emoji-tones")
        kept = [k for k, row in enumerate(toned.rows) if row["of"] in place]
        of = torch.tensor([place[toned.rows[k]["of"]] for k in kept])
        more = (toned.images[kept], label[of], tokens[of], group[of])
        train = [torch.cat(pair) for pair in zip(train, more, strict=True)]
        report = [f"{len(kept):,} skin tones added to {int((~test).sum()):,} training images (data.tones)"]
    info = DataInfo(config.name, (3, SIDE, SIDE), 256, len(CATEGORIES), words.vocabulary, words.length)
    made = resident(
        info,
        Resident(*train[:3]).in_groups(train[3].tolist()),
        Resident(found.images[test], label[test], tokens[test]).in_groups(group[test].tolist()),
        class_names=CATEGORIES,
        tokenizer=words,
        report=report,
    )
    return _from_other_artist(made, found, test, OTHER_ARTIST[config.name]) if paired else made


def _from_other_artist(made: Dataset, found: Emoji, test: Tensor, name: str) -> Dataset:
    """Return pairs: each image with that of the same emoji in another design, in the same split."""
    other = read(name)
    place = {row["code"]: k for k, row in enumerate(other.rows)}
    rows = torch.tensor([place[row["code"]] for row in found.rows])
    domains = []
    for table, own in ((made.train, ~test), (made.test, test)):
        columns = {**table.columns, **Resident(other.images[rows[own]]).columns}
        domains.append(Table(columns, digests=digests(other.images[rows[own]]), groups=table.groups))
    pairs = [
        replace(table, columns={**table.columns, "source": domain.columns["image"]})
        for table, domain in zip((made.train, made.test), domains, strict=True)
    ]
    return replace(
        made,
        info=replace(made.info, image_channels=3, task="paired"),
        train=pairs[0],
        test=pairs[1],
        origin=Domain(name, *domains),
        sha256=fingerprint(*pairs, *domains),
    )
