"""A folder of the user's own images: every file is decoded, or refused by name, before training starts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from zoo_core.data.configs import FolderConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.decoding import Decoder, Scan, scan, shown
from zoo_core.data.images import EXTENSIONS, REDUCED
from zoo_core.data.layout import Place, infer, labels
from zoo_core.data.splits import fingerprint, stratified
from zoo_core.data.table import Column, Memory, Table
from zoo_core.data.tasks import halved
from zoo_core.errors import UsageError, nearest
from zoo_core.types import DataInfo

LISTED = 1000
"""Bad files named in one message."""
SIZES = 3
"""Sizes that are reported one by one; more are reported together."""
SPLITS = ("train", "test", "validation")


@dataclass(frozen=True)
class Listing:
    """The files of a folder, named relative to it.

    Attributes:
        names: with an image's extension, in the order of their bytes.
        bad: (name, reason) of links to folders, and of folders that can't be read.
        others: how many files are hidden or have another extension.
    """

    names: Sequence[str]
    bad: Sequence[tuple[str, str]]
    others: int


def load(config: FolderConfig, fresh: bool = False) -> Dataset:
    """Return the images under `config.path`, uint8 0 to 255, (channels, size, size).

    Where files hold two images each, one half is what is modeled and the other what it is made from.

    Args:
        config: of the data set.
        fresh: decode all files, whatever is cached.

    Raises:
        UsageError: no such folder, no images, files that are not images (each by name, with its reason), or
            folders that could be splits or classes.
    """
    if config.pairs in ("folders", "matched-folders"):
        from zoo_core.data.domains import load_domains

        return load_domains(config, fresh)
    return read(config, fresh)[0]


def read(config: FolderConfig, fresh: bool = False) -> tuple[Dataset, dict[str, list[str]]]:
    """Return the images of one folder, as `load` does, and the names of the files of each split."""
    root = find_root(config.path)
    listing = list_files(root, config.links)
    report = []
    if listing.others:
        report.append(f"{listing.others} files that are hidden or do not have an image's extension left out")
    if not listing.names and not listing.bad:
        raise no_images(root, listing.others)
    layout = infer(listing.names, config, root)
    report += layout.report

    decoder = Decoder(root, config)
    found = scan(decoder, list(layout.places), fresh)
    bad = sorted((*listing.bad, *found.bad))
    refuse_bad(bad, len(layout.places), config, root)
    report += [f"left out: {shown(name)}: {reason}" for name, reason in bad]
    report += conversions(found, config.size)

    places = [layout.places[name] for name in found.names]
    label, class_names, more = labels(places, config, root)
    report += more
    rows = _rows(places, label, config.holdout)
    if not len(rows["train"]) or not len(rows["test"]):
        raise UsageError(
            f"{shown(root)} has {len(rows['train'])} images to train on and {len(rows['test'])} to test on",
            "expected: at least 1 of each",
        )
    tables = {split: table_of(found, label, part) for split, part in rows.items()}
    train, test = tables["train"], tables["test"]
    report += _said(tables, class_names, held_out=not places[0].split)
    made = Dataset(
        info=DataInfo("folder", (config.channels, config.size, config.size), 256, len(class_names)),
        train=train,
        test=test,
        validation=tables.get("validation"),
        sha256=fingerprint(*((table.digests, table.label) for table in tables.values())),
        class_names=class_names,
        report=tuple(report),
        by_content=True,
        reread=partial(_content, config),
    )
    named = {split: [found.names[row] for row in part.tolist()] for split, part in rows.items()}
    return (halved(made, config.made_from) if config.pairs else made), named


def _content(config: FolderConfig) -> str:
    return load(config, fresh=True).sha256


def read_images(config: FolderConfig) -> tuple[Sequence[str], Tensor]:
    """Return the names of all images under `config.path`, and these: uint8 0 to 255, (n, C, H, W).

    Raises:
        UsageError: as `load`; no file may be bad.
    """
    root = find_root(config.path, "cond")
    listing = list_files(root, config.links)
    found = scan(Decoder(root, config.model_copy(update={"storage": "streamed"})), listing.names)
    refuse_bad(sorted((*listing.bad, *found.bad)), len(listing.names), config, root, skip="")
    if not found.names:
        raise no_images(root, listing.others)
    return found.names, found.column.rows(torch.arange(len(found.names)))


def list_files(root: str, links: bool = False) -> Listing:
    """Return the files of a folder and of those in it.

    Args:
        root: the folder.
        links: follow links to folders, each folder once.
    """
    names: list[str] = []
    bad: list[tuple[str, str]] = []
    others = 0
    seen = {os.path.realpath(root)}

    def unreadable(error: OSError) -> None:
        bad.append((os.path.relpath(error.filename, root), (error.strerror or "unreadable").lower()))

    for folder, subfolders, files in os.walk(root, onerror=unreadable, followlinks=links):
        here = os.path.relpath(folder, root)
        prefix = "" if here == os.curdir else here + os.sep
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in list(subfolders):
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                continue
            if not links:
                bad.append((prefix + name, "a link to a folder, not followed (data.links=true follows it)"))
            elif os.path.realpath(path) in seen:
                bad.append((prefix + name, "a link to a folder that is read already"))
                subfolders.remove(name)
            seen.add(os.path.realpath(path))
        for name in files:
            if name.startswith(".") or name[name.rfind(".") :].lower() not in EXTENSIONS:
                others += 1
            else:
                names.append(prefix + name)
    return Listing(sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape")), bad, others)


def conversions(found: Scan, size: int) -> list[str]:
    """Return a line for each conversion of files that loses or chooses something, with how many files."""
    lines = conversions_of(found.notes, size)
    if found.uncached:
        lines.append(f"decoded images are not cached and are read again at every start: {found.uncached}")
    return lines


def conversions_of(notes: Mapping[str, int], size: int) -> list[str]:
    """Return a line for each kind of note that decoding made, with how many images."""
    resized: dict[str, Counter[str]] = {}
    lines = []
    for note, count in sorted(notes.items()):
        kind, _, original = note.partition(" from ")
        if original:
            resized.setdefault(kind, Counter())[original] = count
        else:
            lines.append(f"{count} files: {note}")
    for kind, sizes in resized.items():
        hint = ""
        if kind == REDUCED and len(sizes) == 1:
            width, _, height = next(iter(sizes)).partition("x")
            hint = f"; data.size={width} keeps them" if width == height else ""
        ordered = sorted(sizes, key=lambda text: [int(part) for part in text.split("x")])
        listed = ", ".join(ordered) if len(sizes) <= SIZES else f"{ordered[0]} to {ordered[-1]}"
        lines.append(f"{sizes.total():,} images {kind} to {size}x{size} from {listed}{hint}")
    return lines


def _said(tables: dict[str, Table], class_names: Sequence[str], held_out: bool) -> list[str]:
    """Return what a user should know of the splits of a folder."""
    train, test = tables["train"], tables["test"]
    lines = []
    if held_out:
        lines.append(
            f"{len(test):,} of {len(train) + len(test):,} images held out for testing (data.holdout)"
        )
    trained = set(train.digests)
    twins = sum(digest in trained for digest in test.digests)
    if twins:
        lines.append(f"{twins} test images are in the training split, too")
    for split, label in (("train", train.label), ("test", test.label)):
        if label is None:
            continue
        counts = label.bincount(minlength=len(class_names)).tolist()
        without = [name for name, count in zip(class_names, counts, strict=True) if not count]
        if without:
            lines.append(
                f"{len(without)} classes have no image in the {split} split: {', '.join(without[:20])}"
            )
    return lines


def no_images(folder: str, others: int) -> UsageError:
    """Return the error of a folder without images, with how many other files it has."""
    return UsageError(
        f"no images in {shown(folder)}",
        f"expected: files ending in {', '.join(sorted(EXTENSIONS))}",
        f"found: {others} other files",
    )


def find_root(path: str, option: str = "data.path") -> str:
    """Return a folder of images, resolved.

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
            "expected: a folder of images",
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
    images: int,
    config: FolderConfig,
    root: str,
    skip: str = "data.on_bad=skip",
) -> None:
    """Raise UsageError where more files are bad than may be, naming each with its reason.

    Args:
        skip: the option that leaves them out, where there is one.
    """
    allowed = max(1, int(config.max_bad * images)) if config.on_bad == "skip" else 0
    if len(bad) <= allowed:
        return
    raise UsageError(
        f"{len(bad)} of {images} files in {shown(root)} can't be used",
        *(f"{shown(name)}: {reason}" for name, reason in bad[:LISTED]),
        f"and {len(bad) - LISTED} more" if len(bad) > LISTED else "",
        f"expected: at most {allowed} (data.max_bad={config.max_bad})" if allowed else "",
        "next: fix or remove them" + (f", or leave them out with {skip}" if skip and not allowed else ""),
    )


def _rows(places: Sequence[Place], label: Tensor | None, holdout: float) -> dict[str, Tensor]:
    """Return the rows of each split: by folder, or a part of each class held out for testing."""
    splits = [place.split for place in places]
    if any(splits):
        rows = {split: torch.tensor([k for k, one in enumerate(splits) if one == split]) for split in SPLITS}
        return {split: part.long() for split, part in rows.items() if len(part) or split != "validation"}
    total = len(places)
    test = max(0, min(max(1, round(holdout * total)), total - 1))
    kept, held = stratified(torch.zeros(total, dtype=torch.int64) if label is None else label, test, keep=1)
    if not len(held) and test:  # each class has a single image: then some can't be trained on
        kept, held = stratified(torch.zeros(total, dtype=torch.int64), test)
    return {"train": kept, "test": held}


def table_of(found: Scan, label: Tensor | None, rows: Tensor) -> Table:
    """Return the table of some of the images that were found."""
    column = found.column.take(rows)
    columns: dict[str, Column] = {"image": column.loaded() if found.resident else column}
    if label is not None:
        columns["label"] = Memory(label[rows])
    return Table(columns, digests=[found.digests[row] for row in rows.tolist()])
