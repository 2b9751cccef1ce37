"""Image files of a folder: listing, reading and refusing them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from zoo_core.data.configs import FolderConfig
from zoo_core.data.decoding import Scan, shown
from zoo_core.data.images import EXTENSIONS, LEADS_OUT, REDUCED
from zoo_core.data.table import Column, Memory, Table
from zoo_core.errors import UsageError, beginning, nearest

SIZES = 3
"""Sizes that are reported one by one; more are reported together."""
NOT_FOLLOWED = "a link to a folder, not followed"
LISTED = 1000
"""Bad files named in one message."""


@dataclass(frozen=True)
class Listing:
    """The files of a folder, named relative to it.

    Attributes:
        names: with an image's extension, in the order of their bytes.
        bad: (name, reason) of links to folders, and of folders that can't be read.
        others: how many files are hidden or have another extension.
        empty: folders without an image in them or below; of one within another the outer one.
    """

    names: Sequence[str]
    bad: Sequence[tuple[str, str]]
    others: int
    empty: Sequence[str] = ()


def list_files(root: str, links: bool = False) -> Listing:
    """Return the files of a folder and of the folders in it.

    Args:
        root: the folder.
        links: follow links to folders; each folder is read once, by its own name before that of any link.
    """
    names: list[str] = []
    bad: list[tuple[str, str]] = []
    folders: list[str] = []
    linked: list[str] = []
    seen = {os.path.realpath(root)}

    def unreadable(error: OSError) -> None:
        bad.append((os.path.relpath(error.filename, root), (error.strerror or "unreadable").lower()))

    def walk(start: str) -> int:
        """List a folder and those in it, leave links in `linked`; return the number of other files."""
        left_out = 0
        for folder, subfolders, files in os.walk(start, onerror=unreadable):
            here = os.path.relpath(folder, root)
            prefix = "" if here == os.curdir else here + os.sep
            folders.append(prefix.removesuffix(os.sep))
            kept = []
            for name in sorted(name for name in subfolders if not name.startswith(".")):
                path = os.path.join(folder, name)
                if os.path.islink(path):
                    linked.append(prefix + name)
                elif os.path.realpath(path) in seen:
                    bad.append((prefix + name, "a folder that is read already by a link"))
                else:
                    seen.add(os.path.realpath(path))
                    kept.append(name)
            subfolders[:] = kept
            for name in files:
                if name.startswith(".") or name[name.rfind(".") :].lower() not in EXTENSIONS:
                    left_out += 1
                else:
                    names.append(prefix + name)
        return left_out

    others = walk(root)
    while linked:
        name = linked.pop(0)
        real = os.path.realpath(os.path.join(root, name))
        if not links:
            bad.append((name, NOT_FOLLOWED))
        elif real in seen:
            bad.append((name, "a link to a folder that is read already"))
        else:
            seen.add(real)
            others += walk(os.path.join(root, name))
    return Listing(
        sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape")),
        bad,
        others,
        _without_images(folders, names),
    )


def _without_images(folders: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """Return the folders that hold no image, in them or below; of one within another the outer one."""
    filled = {""}
    for folder in {os.path.dirname(name) for name in names}:
        while folder not in filled:
            filled.add(folder)
            folder = os.path.dirname(folder)
    return sorted(one for one in folders if one not in filled and os.path.dirname(one) in filled)


def conversions(found: Scan, size: int) -> list[str]:
    """Return a line for each conversion of files that loses or chooses something, with how many files."""
    lines = conversions_of(found.notes, size)
    if found.uncached:
        lines.append(f"decoded images are not cached and are read again at every start: {found.uncached}")
    return lines


def conversions_of(notes: Mapping[str, int], size: int, option: str = "data.size") -> list[str]:
    """Return a line for each kind of note that decoding made, with how many images.

    Args:
        notes: note -> number of images.
        size: that images were brought to, pixels.
        option: that sets the size, for advice; "" where none does.
    """
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
        if option and kind == REDUCED and len(sizes) == 1:
            width, _, height = next(iter(sizes)).partition("x")
            hint = f"; {option}={width} keeps them" if width == height else ""
        ordered = sorted(sizes, key=lambda text: [int(part) for part in text.split("x")])
        listed = ", ".join(ordered) if len(sizes) <= SIZES else f"{ordered[0]} to {ordered[-1]}"
        lines.append(f"{sizes.total():,} images {kind} to {size}x{size} from {listed}{hint}")
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
        "expected: a folder of images"
        + ("" if os.path.isabs(given) else f"; a relative path begins at {shown(os.getcwd())}"),
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
        skip: the option that leaves them out; "" where the options of a folder do not apply.
    """
    allowed = max(1, int(config.max_bad * images)) if config.on_bad == "skip" else 0
    if len(bad) <= allowed:
        return
    links = skip and any(reason in (NOT_FOLLOWED, LEADS_OUT) for _, reason in bad)
    raise UsageError(
        f"{len(bad)} of {images} files in {shown(root)} can't be used",
        *beginning([f"{shown(name)}: {reason}" for name, reason in bad], LISTED),
        f"expected: at most {allowed} (data.max_bad={config.max_bad})" if allowed else "",
        "next: fix or remove them" + (f", or leave them out with {skip}" if skip and not allowed else ""),
        "or data.links=true follows links" if links else "",
    )


def table_of(found: Scan, label: Tensor | None, rows: Tensor) -> Table:
    """Return the table of some of the images that were found."""
    column = found.column.take(rows)
    columns: dict[str, Column] = {"image": column.loaded() if found.resident else column}
    if label is not None:
        columns["label"] = Memory(label[rows])
    return Table(columns, digests=[found.digests[row] for row in rows.tolist()])
