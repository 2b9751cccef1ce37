"""Two domains of images in folders: trainA/, trainB/, testA/ and testB/, as CycleGAN's data come."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import torch

from zoo_core.data.configs import FolderConfig
from zoo_core.data.dataset import Dataset, Domain
from zoo_core.data.decoding import Decoder, Scan, scan, shown
from zoo_core.data.image_files import (
    LISTED,
    conversions,
    find_root,
    list_files,
    no_images,
    refuse_bad,
    table_of,
)
from zoo_core.data.layout import DOMAINS
from zoo_core.data.splits import fingerprint
from zoo_core.data.table import Table
from zoo_core.errors import UsageError, beginning
from zoo_core.types import DataInfo


@dataclass(frozen=True)
class Place:
    """The images of one folder.

    Attributes:
        table: of them.
        names: of the files in the folder, without their extension.
    """

    table: Table
    names: Sequence[str]


def load_domains(config: FolderConfig, fresh: bool = False) -> Dataset:
    """Return the images of two domains, uint8 0 to 255, (channels, size, size).

    With `data.pairs=matched-folders` an image of A and one of B of the same name, whatever its extension,
    are a pair; with `folders` nothing belongs to anything.

    Raises:
        UsageError: where a folder is not there or empty, for files that are not images, and for names without
            a partner where they are to have one: each by name.
    """
    ignored = [name for name in ("layout", "val", "class_map", "holdout") if name in config.model_fields_set]
    ignored = [name for name in ignored if getattr(config, name) != type(config).model_fields[name].default]
    if ignored:
        raise UsageError(
            f"data.pairs={config.pairs} takes no {', '.join(f'data.{name}' for name in ignored)}",
            "expected: the folders trainA/, trainB/, testA/ and testB/",
        )
    root = find_root(config.path)
    missing = [place for place in DOMAINS if not os.path.isdir(os.path.join(root, place))]
    if missing:
        raise UsageError(
            f"{shown(root)} has no folder {', '.join(missing)}",
            f"expected with data.pairs={config.pairs}: {', '.join(DOMAINS)}",
            "next: data.pairs=side-by-side, if each file holds two images",
        )
    listing = list_files(root, config.links)
    names = [name for name in listing.names if PurePath(name).parts[0] in DOMAINS]
    report = []
    others = listing.others + len(listing.names) - len(names)
    if others:
        report.append(f"{others} files left out: outside {', '.join(DOMAINS)}, hidden, or of another kind")
    decoder = Decoder(root, config)
    found = scan(decoder, names, fresh)
    bad = sorted((*listing.bad, *found.bad))
    refuse_bad(bad, len(names), config, root)
    report += [f"left out: {shown(name)}: {reason}" for name, reason in bad]
    report += conversions(found, config.size)
    places = {place: _place(found, place, root) for place in DOMAINS}

    source = config.made_from
    target = "B" if source == "A" else "A"
    train, test = (places[f"{split}{target}"] for split in ("train", "test"))
    origin = Domain(source, *(places[f"{split}{source}"].table for split in ("train", "test")))
    matched = config.pairs == "matched-folders"
    if matched:
        for split in ("train", "test"):
            _refuse_unmatched(places[f"{split}A"], places[f"{split}B"], split)
    info = DataInfo(
        "folder",
        (config.channels, config.size, config.size),
        256,
        image_channels=config.channels,
        task="paired" if matched else "unpaired",
    )
    return Dataset(
        info=info,
        train=_paired(train.table, origin.train) if matched else train.table,
        test=_paired(test.table, origin.test) if matched else test.table,
        sha256=fingerprint(train.table, test.table, origin.train, origin.test),
        report=tuple(report),
        origin=origin,
        by_content=True,
        reread=lambda: load_domains(config, fresh=True).sha256,
    )


def _paired(table: Table, source: Table) -> Table:
    """Return a table whose rows have the image of the same row of another as their source."""
    columns = {**table.columns, "source": source.columns["image"]}
    return Table(columns, digests=table.digests, groups=table.groups)


def _place(found: Scan, place: str, root: str) -> Place:
    """Return the images of one folder, in the order of their names without extension."""
    parts = [PurePath(name) for name in found.names]
    named = {
        row: str(PurePath(*path.parts[1:]).with_suffix(""))
        for row, path in enumerate(parts)
        if path.parts[0] == place
    }
    if not named:
        raise no_images(os.path.join(root, place), len(os.listdir(os.path.join(root, place))))
    rows = sorted(named, key=lambda row: os.fsencode(named[row]))
    return Place(table_of(found, None, torch.tensor(rows)), [named[row] for row in rows])


def _refuse_unmatched(a: Place, b: Place, split: str) -> None:
    of_a, of_b = set(a.names), set(b.names)
    alone = [f"{split}A/{shown(name)}" for name in a.names if name not in of_b]
    alone += [f"{split}B/{shown(name)}" for name in b.names if name not in of_a]
    twice = len(a.names) != len(of_a) or len(b.names) != len(of_b)
    if alone or twice:
        raise UsageError(
            f"{len(a.names)} images in {split}A and {len(b.names)} in {split}B are not pairs",
            *beginning([f"{name} has no partner of the same name" for name in alone], LISTED),
            "two files differ in nothing but their extension" if twice else "",
            "next: data.pairs=folders, if nothing belongs to anything",
        )
