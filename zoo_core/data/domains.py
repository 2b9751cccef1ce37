"""Two domains of pictures in folders: trainA/, trainB/, testA/ and testB/, as CycleGAN's data come."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import torch

from zoo_core.data.configs import FolderConfig
from zoo_core.data.decoding import Decoder, Scan, scan, shown
from zoo_core.data.folder import LISTED, find_root, list_files, no_pictures, refuse_bad, split_of
from zoo_core.data.loading import Dataset, Domain, Split
from zoo_core.data.pairs import Pairs
from zoo_core.data.splits import fingerprint
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo

PLACES = ("trainA", "trainB", "testA", "testB")
"""The folders: a split and a domain each."""


@dataclass(frozen=True)
class Place:
    """The pictures of one folder.

    Attributes:
        split: of them.
        names: of the files in the folder, without their extension.
        digests: sha256 of each one's levels.
    """

    split: Split
    names: Sequence[str]
    digests: Sequence[bytes]


def load_domains(config: FolderConfig) -> Dataset:
    """Return the pictures of two domains, uint8 levels 0 to 255, (channels, size, size).

    With `data.pairs=matched-folders` a picture of A and one of B of the same name, whatever its extension,
    are a pair; with `folders` nothing belongs to anything.

    Raises:
        UsageError: where a folder is not there or empty, for files that are no pictures, and for names
        without a
            partner where they are to have one: each by name.
    """
    root = find_root(config.path)
    missing = [place for place in PLACES if not os.path.isdir(os.path.join(root, place))]
    if missing:
        raise UsageError(
            f"{shown(root)} has no folder {', '.join(missing)}",
            f"expected with data.pairs={config.pairs}: {', '.join(PLACES)}",
            "next: data.pairs=side-by-side, if each file holds two pictures",
        )
    listing = list_files(root)
    names = [name for name in listing.names if PurePath(name).parts[0] in PLACES]
    report = []
    others = listing.others + len(listing.names) - len(names)
    if others:
        report.append(f"{others} files left out: outside {', '.join(PLACES)}, hidden, or of another kind")
    decoder = Decoder(root, config)
    found = scan(decoder, names)
    bad = sorted((*listing.bad, *found.bad))
    refuse_bad(bad, len(names), config, root)
    report += [f"left out: {shown(name)}: {reason}" for name, reason in bad]
    report += [f"{count} files: {note}" for note, count in sorted(found.notes.items())]
    places = {place: _place(decoder, found, place, root) for place in PLACES}

    source = config.made_from
    target = "B" if source == "A" else "A"
    train, test = (places[f"{split}{target}"] for split in ("train", "test"))
    origin = Domain(source, *(places[f"{split}{source}"].split for split in ("train", "test")))
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
        train=Pairs(train.split, origin.train) if matched else train.split,
        test=Pairs(test.split, origin.test) if matched else test.split,
        sha256=fingerprint(
            *((place.digests, None) for place in (train, test)),
            *((places[f"{split}{source}"].digests, None) for split in ("train", "test")),
        ),
        report=tuple(report),
        origin=origin,
    )


def _place(decoder: Decoder, found: Scan, place: str, root: str) -> Place:
    """Return the pictures of one folder, in the order of their names without extension."""
    parts = [PurePath(name) for name in found.names]
    named = {
        row: str(PurePath(*path.parts[1:]).with_suffix(""))
        for row, path in enumerate(parts)
        if path.parts[0] == place
    }
    if not named:
        raise no_pictures(os.path.join(root, place), len(os.listdir(os.path.join(root, place))))
    rows = sorted(named, key=lambda row: os.fsencode(named[row]))
    return Place(
        split_of(decoder, found, None, torch.tensor(rows)),
        [named[row] for row in rows],
        [found.digests[row] for row in rows],
    )


def _refuse_unmatched(a: Place, b: Place, split: str) -> None:
    alone = [f"{split}A/{shown(name)}" for name in a.names if name not in set(b.names)]
    alone += [f"{split}B/{shown(name)}" for name in b.names if name not in set(a.names)]
    twice = len(a.names) != len(set(a.names)) or len(b.names) != len(set(b.names))
    if alone or twice:
        raise UsageError(
            f"{len(a.names)} pictures in {split}A and {len(b.names)} in {split}B make no pairs",
            *(f"{name} has no partner of its name" for name in alone[:LISTED]),
            f"and {len(alone) - LISTED} more" if len(alone) > LISTED else "",
            "two files differ in nothing but their extension" if twice else "",
            "next: data.pairs=folders, if nothing belongs to anything",
        )
