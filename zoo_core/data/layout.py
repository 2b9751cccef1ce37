"""What the folders of a folder of images are: splits, classes, or nothing; what is inferred is reported."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.data.configs import FolderConfig
from zoo_core.data.decoding import shown
from zoo_core.errors import UsageError, beginning, guess

VALIDATION = ("val", "valid", "validation")
"""Names of the folder of a validation split."""
SPLIT_LIKE = re.compile(
    r"(train(ing)?|trn|test(ing)?|tst|val(id(ation)?)?|dev|eval(uation)?|hold[-_ ]?out)"
    r"([-_ ]?(set|data|split|images|imgs|\d{1,4}))?s?",
    re.IGNORECASE,
)
"""Names of folders that are probably splits."""
PART = re.compile(r"(?<![a-z])(train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?)(?![a-z])", re.IGNORECASE)
"""Part of a folder's name that is probably a split's: seg_train."""
DOMAINS = ("trainA", "trainB", "testA", "testB")
"""Folders of two domains of images: a split and a domain each."""
NAMED = 5
"""Files or folders that a message names."""


@dataclass(frozen=True)
class Place:
    """Where a file belongs.

    Attributes:
        split: "train", "test" or "validation"; "" where a part of all images is held out.
        folder: of its class, or "".
    """

    split: str
    folder: str


@dataclass(frozen=True)
class Layout:
    """What was inferred of a folder.

    Attributes:
        places: file -> where it belongs; a file that is left out is not among them.
        report: what was inferred and left out, one line each.
    """

    places: Mapping[str, Place]
    report: Sequence[str]


def natural(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Return the key that sorts names with numbers in them as a person does: 1, 2, 10."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts), name


def infer(names: Sequence[str], config: FolderConfig, root: str) -> Layout:
    """Return what the folders of a data set are, as `data.layout` says or as far as it is unmistakable.

    Args:
        names: of all image files, relative to root.
        config: of the data set.
        root: the folder, for messages.

    Raises:
        UsageError: for folders that could be splits or classes, images outside class folders, and folders
            that an option names and that are not there.
    """
    parts = {name: name.split(os.sep) for name in names}
    tops = sorted({part[0] for part in parts.values() if len(part) > 1}, key=natural)
    splits = _splits(tops, config, root)
    report = []
    if splits:
        split_of = {folder: split for split, folder in splits.items()}
        kept = {name: part for name, part in parts.items() if len(part) > 1 and part[0] in split_of}
        listed = ", ".join(f"{shown(folder)}/ as {split}" for split, folder in splits.items())
        report.append(f"splits read from folders: {listed}")
        if len(kept) < len(names):
            folders = " and ".join(f"{shown(folder)}/" for folder in splits.values())
            report.append(f"{len(names) - len(kept)} files outside {folders} left out")
    else:
        if config.layout == "auto":
            _check_below(parts, config, root)
        split_of, kept = {}, parts
    depth = 1 if splits else 0
    within = {name: part[depth] if len(part) > depth + 1 else "" for name, part in kept.items()}
    places = {
        name: Place(split_of.get(kept[name][0], "") if splits else "", folder)
        for name, folder in _classes(within, config, root).items()
    }
    if len(places) < len(kept):
        loose = [shown(name) for name in kept if name not in places]
        report.append(f"left out: {len(loose)} images outside the class folders: {', '.join(loose[:NAMED])}")
    return Layout(places, report)


def _is_split_like(name: str, others: Sequence[str]) -> bool:
    """Return whether a folder's name is probably a split's: by itself, or beside one of another split.

    seg_train is one beside seg_test, and bullet_train alone is a class.
    """
    if SPLIT_LIKE.fullmatch(name.strip()):
        return True
    around = _around_split(name)
    return around is not None and any(_around_split(other) == around for other in others if other != name)


def _around_split(name: str) -> tuple[str, str] | None:
    """Return what stands before and after a split's name in a folder's: ("seg_", "") of seg_train."""
    part = PART.search(name)
    return None if part is None else (name[: part.start()], name[part.end() :])


def _check_below(parts: Mapping[str, Sequence[str]], config: FolderConfig, root: str) -> None:
    """Refuse splits in folders below those that were read as classes, or as nothing: they would be pooled.

    Args:
        parts: the parts of each file's path.

    Raises:
        UsageError: with the folder that holds the splits.
    """
    inside: dict[str, set[str]] = {}
    for part in parts.values():
        for depth in range(1, len(part) - 1):
            inside.setdefault(os.sep.join(part[:depth]), set()).add(part[depth])
    for folder, names in inside.items():
        splits = sorted(name for name in names if SPLIT_LIKE.fullmatch(name))
        if len(splits) > 1 and any(name.lower().startswith("tr") for name in splits):
            raise UsageError(
                f"{shown(folder)}/ in {shown(root)} holds {', '.join(f'{shown(name)}/' for name in splits)}: "
                "splits are read from data.path only",
                "expected: train/ and test/ in data.path, with one folder a class in each",
                f"next: data.path={shown(os.path.join(config.path, folder))}, or move the splits to the top",
                "or data.layout=classes or flat, which pool them",
            )


def _splits(tops: Sequence[str], config: FolderConfig, root: str) -> dict[str, str]:
    """Return split -> folder, or nothing where a part of all images is to be held out."""
    if config.val and config.val not in tops:
        raise UsageError(
            f"data.val={shown(config.val)} was given and {shown(root)} has no such folder of images",
            guess(config.val, map(shown, tops), "data.val={}"),
        )
    if config.layout in ("classes", "flat"):
        if config.val:
            raise UsageError(
                f"data.val={shown(config.val)} and data.layout={config.layout} exclude each other",
                "expected: data.layout=splits, or no data.val",
            )
        return {}
    held = [config.val] if config.val else [name for name in VALIDATION if name in tops]
    found = {name: name for name in ("train", "test") if name in tops}
    if len(held) == 1:
        found["validation"] = held[0]
    like = [name for name in tops if _is_split_like(name, tops) or name == config.val]
    strange = sorted(set(like) - set(found.values()), key=natural)
    if "train" in found and "test" not in found and "validation" in found and not config.val:
        found["test"] = found.pop("validation")
    if not strange and {"train", "test"} <= set(found):
        return {split: found[split] for split in ("train", "test", "validation") if split in found}
    if config.layout == "auto" and not like:
        if set(DOMAINS) & set(tops):
            raise UsageError(
                f"{shown(root)} has the folders {', '.join(name for name in DOMAINS if name in tops)}",
                "next: data.pairs=folders, or data.pairs=matched-folders where equal names are pairs",
            )
        return {}
    wrong = ", ".join(f"{shown(name)}/" for name in (like or tops)[:NAMED])
    raise UsageError(
        f"{shown(root)} has the folders {wrong or 'none'}, which can't be read as splits",
        "expected: train/ and test/, and val/ where there is a validation split, spelled like this",
        "next: rename them, or data.layout=classes if they are classes"
        + (
            ""
            if len(like) != 1
            else f", or data.path={shown(os.path.join(config.path, like[0]))} for one alone"
        ),
    )


def _classes(folders: dict[str, str], config: FolderConfig, root: str) -> dict[str, str]:
    """Return the folder of each file's class, or "" for all where the folders are not classes."""
    classes = {folder for folder in folders.values() if folder}
    unknown = sorted(set(config.class_map) - classes, key=natural)
    if unknown and config.layout != "flat":
        raise UsageError(
            f"data.class_map names {len(unknown)} folders that {shown(root)} does not have: "
            + ", ".join(map(shown, unknown[:NAMED])),
            guess(unknown[0], map(shown, classes)),
        )
    if config.layout == "flat" or len(classes) < (1 if config.layout == "classes" else 2):
        return dict.fromkeys(folders, "")
    loose = [name for name, folder in folders.items() if not folder]
    allowed = max(1, int(config.max_bad * len(folders))) if config.on_bad == "skip" else 0
    if len(loose) > allowed:
        raise UsageError(
            f"{len(loose)} of {len(folders)} images in {shown(root)} are outside its class folders",
            *beginning([shown(name) for name in loose], NAMED),
            "next: move or remove them, or leave a few out with data.on_bad=skip",
            "or data.layout=flat, for images without classes",
        )
    return {name: folder for name, folder in folders.items() if folder}


def labels(
    places: Sequence[Place], config: FolderConfig, root: str
) -> tuple[Tensor | None, tuple[str, ...], list[str]]:
    """Return each image's label, the class names, and what was inferred; (None, (), ...) without classes.

    Classes are numbered in the natural order of their names.

    Raises:
        UsageError: for a class with images to test on and none to train on.
    """
    if not places or not all(place.folder for place in places):
        return None, (), []
    named = [config.class_map.get(place.folder, place.folder) for place in places]
    classes = sorted(set(named), key=natural)
    alike: dict[str, str] = {}
    for name in classes:
        twin = alike.setdefault(unicodedata.normalize("NFC", name).strip(), name)
        if twin != name:
            raise UsageError(
                f"two classes in {shown(root)} have names that look alike: {twin!a} and {name!a}",
                "expected: names that differ in more than spaces or the encoding of accents",
                "next: rename one folder, or move its images to the other",
            )
    trained = {name for name, place in zip(named, places, strict=True) if place.split in ("", "train")}
    untrained = [name for name in classes if name not in trained]
    if untrained:
        raise UsageError(
            f"{len(untrained)} classes in {shown(root)} have no image in train/: "
            + ", ".join(map(shown, untrained[:NAMED])),
            "next: add images, remove these classes, or data.layout=flat for no classes",
        )
    if len(classes) < 2:
        return None, (), [f"no classes: all images are of {shown(classes[0])}"]
    number = {name: k for k, name in enumerate(classes)}
    count = Counter(named)
    few = ", ".join(f"{shown(name)} ({count[name]})" for name in classes[:NAMED])
    line = f"{len(classes)} classes read from folders: {few}" + (", ..." if len(classes) > NAMED else "")
    return torch.tensor([number[name] for name in named]), tuple(map(shown, classes)), [line]
