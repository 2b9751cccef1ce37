"""A folder of the user's own pictures: every file is judged by name before training starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import torch
from torch import Tensor

from zoo_core.data.configs import FolderConfig
from zoo_core.data.decoding import Decoder, Scan, Streamed, scan, shown
from zoo_core.data.images import EXTENSIONS
from zoo_core.data.loading import Dataset, Resident, Split
from zoo_core.data.pairs import halved
from zoo_core.data.splits import fingerprint, stratified
from zoo_core.errors import UsageError, nearest
from zoo_core.types import DataInfo

LISTED = 1000
"""Bad files named in one message."""


@dataclass(frozen=True)
class Listing:
    """The files of a folder, named relative to it.

    Attributes:
        names: with a picture's extension, in the order of their bytes.
        bad: (name, reason) of links to folders, and of folders that can't be read.
        others: how many files are hidden or have another extension.
    """

    names: Sequence[str]
    bad: Sequence[tuple[str, str]]
    others: int


def load(config: FolderConfig) -> Dataset:
    """Return the pictures under `config.path`, uint8 levels 0 to 255, (channels, size, size).

    Where files hold two pictures each, one half is what is modelled and the other what it is made from.

    Raises:
        UsageError: no such folder, no pictures, or files that are none: each by name, with its reason.
    """
    if config.pairs in ("folders", "matched-folders"):
        from zoo_core.data.domains import load_domains

        return load_domains(config)
    return read(config)[0]


def read(config: FolderConfig) -> tuple[Dataset, tuple[list[str], list[str]]]:
    """Return the pictures of one folder, as `load` does, and the files' names, of training and of testing."""
    root = find_root(config.path)
    listing = list_files(root)
    report = []
    if listing.others:
        report.append(f"{listing.others} files that are hidden or have no picture's extension left out")

    apart = all(os.path.isdir(os.path.join(root, split)) for split in ("train", "test"))
    names = [name for name in listing.names if not apart or PurePath(name).parts[0] in ("train", "test")]
    if len(names) < len(listing.names):
        report.append(f"{len(listing.names) - len(names)} files outside train/ and test/ left out")
    if not names and not listing.bad:
        raise no_pictures(root, listing.others)

    decoder = Decoder(root, config)
    found = scan(decoder, names)
    bad = sorted((*listing.bad, *found.bad))
    refuse_bad(bad, len(names), config, root)
    report += [f"left out: {shown(name)}: {reason}" for name, reason in bad]
    report += [f"{count} files: {note}" for note, count in sorted(found.notes.items())]

    label, class_names = labels(found.names, apart)
    rows = _rows(found, label, apart, config.holdout)
    if not all(map(len, rows)):
        raise UsageError(
            f"{shown(root)} has {len(rows[0])} pictures to train on and {len(rows[1])} to test on",
            "expected: at least 1 of each",
        )

    hashes = [[found.digests[row] for row in part.tolist()] for part in rows]
    trained = set(hashes[0])
    twins = sum(digest in trained for digest in hashes[1])
    if twins:
        report.append(f"{twins} test pictures are in the training split, too")
    train, test_split = (split_of(decoder, found, label, part) for part in rows)
    made = Dataset(
        info=DataInfo("folder", (config.channels, config.size, config.size), 256, len(class_names)),
        train=train,
        test=test_split,
        sha256=fingerprint((hashes[0], train.label), (hashes[1], test_split.label)),
        class_names=class_names,
        report=tuple(report),
    )
    named = [[found.names[row] for row in part.tolist()] for part in rows]
    return (halved(made, config.made_from) if config.pairs else made), (named[0], named[1])


def read_pictures(config: FolderConfig) -> tuple[Sequence[str], Tensor]:
    """Return the names of all pictures under `config.path`, and these: uint8 levels 0 to 255, (n, C, H, W).

    Raises:
        UsageError: as `load`; no file may be bad.
    """
    root = find_root(config.path, "cond")
    listing = list_files(root)
    found = scan(Decoder(root, config), listing.names)
    refuse_bad(sorted((*listing.bad, *found.bad)), len(listing.names), config, root, skip="")
    if not found.names:
        raise no_pictures(root, listing.others)
    if found.levels is None:
        raise UsageError(f"{len(found.names):,} pictures in {shown(root)} are too many to be held in memory")
    return found.names, found.levels


def list_files(root: str) -> Listing:
    """Walk a folder without following links to folders."""
    names: list[str] = []
    bad: list[tuple[str, str]] = []
    others = 0

    def unreadable(error: OSError) -> None:
        bad.append((os.path.relpath(error.filename, root), (error.strerror or "unreadable").lower()))

    for folder, subfolders, files in os.walk(root, onerror=unreadable):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in subfolders:
            if os.path.islink(os.path.join(folder, name)):
                bad.append(
                    (os.path.relpath(os.path.join(folder, name), root), "a link to a folder, not followed")
                )
        for name in files:
            if name.startswith(".") or os.path.splitext(name)[1].lower() not in EXTENSIONS:
                others += 1
            else:
                names.append(os.path.relpath(os.path.join(folder, name), root))
    return Listing(sorted(names, key=os.fsencode), bad, others)


def labels(names: Sequence[str], apart: bool) -> tuple[Tensor | None, tuple[str, ...]]:
    """Return each picture's class and the classes' names, or (None, ()) where the folders name none.

    The folder at the top, or right under train/ and test/, is the class, if every picture lies in one, there
    are two at least, and the training split has them all.

    Args:
        names: of the files, relative to the dataset's folder.
        apart: whether they lie in train/ and test/.
    """
    depth = 1 if apart else 0
    parts = [PurePath(name).parts for name in names]
    if any(len(part) < depth + 2 for part in parts):
        return None, ()
    classes = sorted({part[depth] for part in parts if not apart or part[0] == "train"}, key=os.fsencode)
    number = {name: k for k, name in enumerate(classes)}
    if len(classes) < 2 or any(part[depth] not in number for part in parts):
        return None, ()
    return torch.tensor([number[part[depth]] for part in parts]), tuple(map(shown, classes))


def no_pictures(folder: str, others: int) -> UsageError:
    """Return the error of a folder without pictures, with how many other files it has."""
    return UsageError(
        f"no pictures in {shown(folder)}",
        f"expected: files ending in {', '.join(sorted(EXTENSIONS))}",
        f"found: {others} other files",
    )


def find_root(path: str, option: str = "data.path") -> str:
    """Return a folder of pictures, resolved.

    Args:
        option: that it was given by.

    Raises:
        UsageError: where there is none.
    """
    if not path:
        raise UsageError("data=folder needs to know which folder", "next: data=folder data.path=FOLDER")
    given = os.path.expanduser(path)
    if os.path.isdir(given):
        return os.path.realpath(given)
    if os.path.exists(given):
        raise UsageError(
            f"{option}={shown(path)} is a file",
            "expected: a folder of pictures",
            "next: unpack an archive first",
        )
    parent, last = os.path.split(os.path.abspath(given))
    match = nearest(last, os.listdir(parent)) if os.path.isdir(parent) else None
    raise UsageError(
        f"there is no folder {option}={shown(path)}",
        f"did you mean: {option}={shown(os.path.join(os.path.dirname(path), match))}" if match else "",
    )


def refuse_bad(
    bad: Sequence[tuple[str, str]],
    pictures: int,
    config: FolderConfig,
    root: str,
    skip: str = "data.on_bad=skip",
) -> None:
    """Raise UsageError where more files are bad than may be, naming each with its reason.

    Args:
        skip: the option that leaves them out, where there is one.
    """
    allowed = max(1, int(config.max_bad * pictures)) if config.on_bad == "skip" else 0
    if len(bad) <= allowed:
        return
    raise UsageError(
        f"{len(bad)} of {pictures} files in {shown(root)} can't be used",
        *(f"{shown(name)}: {reason}" for name, reason in bad[:LISTED]),
        f"and {len(bad) - LISTED} more" if len(bad) > LISTED else "",
        f"expected: at most {allowed} (data.max_bad={config.max_bad})" if allowed else "",
        "next: mend or remove them" + (f", or leave them out with {skip}" if skip and not allowed else ""),
    )


def _rows(found: Scan, label: Tensor | None, apart: bool, holdout: float) -> tuple[Tensor, Tensor]:
    """Return the rows of the training and the test split: by folder, or a share held out of each class."""
    total = len(found.names)
    if apart:
        in_train = torch.tensor(
            [PurePath(name).parts[0] == "train" for name in found.names], dtype=torch.bool
        )
        return torch.nonzero(in_train).flatten(), torch.nonzero(~in_train).flatten()
    test = max(0, min(max(1, round(holdout * total)), total - 1))
    return stratified(torch.zeros(total, dtype=torch.int64) if label is None else label, test)


def split_of(decoder: Decoder, found: Scan, label: Tensor | None, rows: Tensor) -> Split:
    """Return the split of some of the pictures that were found, in memory where they all fit."""
    chosen = None if label is None else label[rows]
    if found.levels is None:
        return Streamed(decoder, [found.names[row] for row in rows.tolist()], chosen)
    return Resident(found.levels[rows], chosen)
