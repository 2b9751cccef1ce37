"""A folder of the user's own images: every file is decoded, or refused by name, before training starts."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.data.configs import FolderConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.decoding import Decoder, scan, shown
from zoo_core.data.image_files import (
    Listing,
    conversions,
    conversions_of,
    find_root,
    list_files,
    no_images,
    refuse_bad,
    table_of,
)
from zoo_core.data.layout import Place, infer, labels
from zoo_core.data.splits import fingerprint, held_out
from zoo_core.data.table import Table
from zoo_core.data.tasks import halved
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo

SPLITS = ("train", "test", "validation")
NAMED = 20
"""Folders or classes that a line names."""


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
    if listing.empty:
        report.append(
            f"{len(listing.empty)} folders without images: {', '.join(map(shown, listing.empty[:NAMED]))}"
        )
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
        sha256=fingerprint(*tables.values()),
        class_names=class_names,
        report=tuple(report),
        by_content=True,
        reread=lambda: load(config, fresh=True).sha256,
    )
    named = {split: [found.names[row] for row in part.tolist()] for split, part in rows.items()}
    return (halved(made, config.made_from) if config.pairs else made), named


def read_images(config: FolderConfig) -> tuple[Sequence[str], Tensor, list[str]]:
    """Return the names of all images under `config.path`, or of the one file there, the images, and what was
    converted.

    Returns:
        (file names; uint8 (n, C, H, W), 0 to 255; one line for each kind of conversion).

    Raises:
        UsageError: as `load`; no file may be bad.
    """
    given = os.path.expanduser(config.path)
    if os.path.isfile(given):
        root, name = os.path.split(os.path.abspath(given))
        listing = Listing([name], [], 0)
    else:
        root = find_root(config.path, "cond")
        listing = list_files(root, config.links)
    found = scan(Decoder(root, config.model_copy(update={"storage": "streamed"})), listing.names)
    refuse_bad(sorted((*listing.bad, *found.bad)), len(listing.names), config, root, skip="")
    if not found.names:
        raise no_images(root, listing.others)
    report = [f"{listing.others} files of another kind left out"] if listing.others else []
    report += conversions_of(found.notes, config.size, option="")
    return found.names, found.column.rows(torch.arange(len(found.names))), report


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
                f"{len(without)} classes have no image in the {split} split: {', '.join(without[:NAMED])}"
            )
    return lines


def _rows(places: Sequence[Place], label: Tensor | None, holdout: float) -> dict[str, Tensor]:
    """Return the rows of each split: by folder, or a part of each class held out for testing."""
    splits = [place.split for place in places]
    if any(splits):
        rows = {split: torch.tensor([k for k, one in enumerate(splits) if one == split]) for split in SPLITS}
        return {split: part.long() for split, part in rows.items() if len(part) or split != "validation"}
    kept, held = held_out(label, len(places), holdout)
    return {"train": kept, "test": held}
