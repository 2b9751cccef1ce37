"""Many image files at a time: all decoded once and cached, or decoded again whenever they are asked for."""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.data import cache
from zoo_core.data.configs import FolderConfig
from zoo_core.data.images import VERSION, BadImage, DecodedImage, decode
from zoo_core.data.splits import digests
from zoo_core.data.table import Column, Memory, Streamed, mapped
from zoo_core.errors import UsageError

RESIDENT_BYTES = 512 * 2**20
"""Decoded images up to this size are kept in memory with data.storage=auto: with the copies that splits make,
and what a process takes without data, a run stays within 2 GB (170,000 images of 32x32: 1.7 GB at most, by
`ci/bench/data.py --memory`)."""
THREADS = min(4, os.cpu_count() or 1)
CHUNK = 16
"""Images decoded, and held, at a time."""

# Pillow's remarks on single files; what is done with a file is reported for all of them together.
warnings.filterwarnings("ignore", module=r"PIL\.")


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="zoo-decode")


def shown(name: str) -> str:
    """Return a file's name as it may be printed: bytes that are not text, and control codes, escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True)
class Decoder:
    """Files of one folder to pixel values, on a few threads (decoding releases Python's lock).

    Attributes:
        root: the folder, resolved.
        config: what every image is brought to.
    """

    root: str
    config: FolderConfig

    @property
    def channels(self) -> int:
        """Channels of what a file gives: twice the config's where it holds two images."""
        return self.config.channels * (2 if self.config.pairs == "side-by-side" else 1)

    @property
    def options(self) -> dict[str, Any]:
        """What the values of a file depend on beside its bytes."""
        from PIL import __version__

        names = ("size", "channels", "resize", "background", "links")
        halves = self.config.pairs == "side-by-side"
        own = {name: getattr(self.config, name) for name in names}
        return {**own, "halves": halves, "pillow": __version__, "version": VERSION}

    def _one(self, name: str) -> DecodedImage | BadImage:
        try:
            return decode(os.path.join(self.root, name), self.root, self.config)
        except BadImage as error:
            return error

    def examine(self, names: Sequence[str]) -> list[DecodedImage | BadImage]:
        """Return the image in each file, or why there is none."""
        return list(_pool().map(self._one, names))

    def reader(self, names: Sequence[str], hashes: Sequence[bytes]) -> Streamed:
        """Return the column of these files' images, decoded as they are asked for.

        Args:
            names: of the files.
            hashes: sha256 of each image when the run began; an image that is another then is refused.
        """

        def read(places: Tensor) -> Tensor:
            rows = places.tolist()
            return self._read([names[row] for row in rows], [hashes[row] for row in rows])

        return Streamed(read, torch.arange(len(names)))

    def _read(self, names: Sequence[str], hashes: Sequence[bytes]) -> Tensor:
        values = []
        for name, sha256, image in zip(names, hashes, self.examine(names), strict=True):
            if isinstance(image, BadImage):
                raise UsageError(
                    f"{shown(name)} could be read when the run began, and can't now: {image}",
                    "next: restore the file and give the same command, which resumes",
                )
            if hashlib.sha256(image.levels.tobytes()).digest() != sha256:
                raise UsageError(
                    f"{shown(name)} holds another image than when the run began",
                    "next: restore the file and give the same command, which resumes",
                )
            values.append(image.levels)
        return torch.from_numpy(np.stack(values))


@dataclass(frozen=True)
class Scan:
    """All images of a folder, and what became of each file.

    Attributes:
        names: of the good files, in the order given.
        digests: sha256 of each one's values.
        column: the images, (N, C, H, W) uint8.
        bad: (name, reason).
        notes: conversion -> how many files.
        uncached: why the decoded images could not be kept on disk, or "".
        resident: whether a split of them is to be held in memory.
    """

    names: Sequence[str]
    digests: Sequence[bytes]
    column: Column
    bad: Sequence[tuple[str, str]]
    notes: Counter[str]
    uncached: str = ""
    resident: bool = False


def scan(decoder: Decoder, names: Sequence[str], fresh: bool = False) -> Scan:
    """Return the images of all files: decoded once, and from then on read from the cache.

    Args:
        decoder: of the folder.
        names: of the files, relative to it.
        fresh: decode again, whatever is cached.
    """
    folder, state = cache.place(decoder.root, decoder.options), cache.fingerprint(decoder.root, names)
    storage = decoder.config.storage
    found = None if fresh else cache.read(folder, state)
    if found is not None and (found[1] is not None or storage == "streamed"):
        return _cached(decoder, *found)
    size, channels = decoder.config.size, decoder.channels
    shape = (len(names), channels, size, size)
    resident = storage == "memory" or (storage == "auto" and _fits(shape))
    levels = torch.empty(shape if resident else (0, *shape[1:]), dtype=torch.uint8)
    writer = cache.Writer(folder, state, shape, values=storage != "streamed")
    good: list[str] = []
    hashes: list[bytes] = []
    bad: list[tuple[str, str]] = []
    notes: Counter[str] = Counter()
    for start in range(0, len(names), CHUNK):
        chunk = names[start : start + CHUNK]
        for name, image in zip(chunk, decoder.examine(chunk), strict=True):
            if isinstance(image, BadImage):
                bad.append((name, str(image)))
                continue
            if resident:
                levels[len(good)] = torch.from_numpy(image.levels)
            writer.add(image.levels)
            good.append(name)
            hashes += digests(torch.from_numpy(image.levels)[None])
            notes.update(image.notes)
    writer.finish({"names": good, "digests": [one.hex() for one in hashes], "bad": bad, "notes": dict(notes)})
    if not resident and storage != "streamed":
        written = cache.read(folder, state)
        if written is not None and written[1] is not None:
            return _cached(decoder, *written)
    column = Memory(levels[: len(good)]) if resident else decoder.reader(good, hashes)
    return Scan(good, hashes, column, bad, notes, writer.failed)


def _fits(shape: Sequence[int]) -> bool:
    return int(np.prod(shape)) <= RESIDENT_BYTES


def _cached(decoder: Decoder, index: dict[str, Any], values: np.ndarray | None) -> Scan:
    """Return a scan from the cache; no image file is read."""
    names, storage = index["names"], decoder.config.storage
    hashes = [bytes.fromhex(one) for one in index["digests"]]
    if values is None or storage == "streamed":
        column = decoder.reader(names, hashes)
    else:
        column = mapped(values[: len(names)])
    return Scan(
        names,
        hashes,
        column,
        [(name, reason) for name, reason in index["bad"]],
        Counter(index["notes"]),
        resident=storage == "memory" or (storage == "auto" and values is not None and _fits(values.shape)),
    )
