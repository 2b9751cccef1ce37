"""Many image files at a time: judged once before training, decoded again where they don't fit in memory."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zoo_core.data.configs import FolderConfig
from zoo_core.data.images import BadImage, Picture, decode
from zoo_core.data.splits import digests
from zoo_core.errors import UsageError

RESIDENT_BYTES = 2 * 2**30
"""Decoded pictures up to this size are kept in memory; more are decoded when they are asked for."""
THREADS = min(4, os.cpu_count() or 1)
CHUNK = 16
"""Pictures decoded, and held, at a time."""


def shown(name: str) -> str:
    """Return a file's name as it may be printed: bytes that are no text, and control codes, escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True)
class Decoder:
    """Files of one folder to levels, on a few threads (decoding releases Python's lock).

    Attributes:
        root: the folder, resolved.
        config: what every picture is brought to.
    """

    root: str
    config: FolderConfig

    @property
    def channels(self) -> int:
        """Of what a file gives: twice the config's where it holds two pictures."""
        return self.config.channels * (2 if self.config.pairs == "side-by-side" else 1)

    def _judge(self, name: str) -> Picture | BadImage:
        try:
            return decode(os.path.join(self.root, name), self.root, self.config)
        except BadImage as error:
            return error

    def judge(self, names: Sequence[str]) -> list[Picture | BadImage]:
        """Return the picture in each file, or why there is none."""
        with ThreadPoolExecutor(THREADS) as pool, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on single files; the verdicts say what matters
            return list(pool.map(self._judge, names))


class Streamed:
    """A split that is decoded as it is asked for.

    Args:
        decoder: of the folder.
        names: of the files, one a row.
        label: (N,) int64, or None.
    """

    def __init__(self, decoder: Decoder, names: Sequence[str], label: Tensor | None) -> None:
        self.decoder, self.names, self.label = decoder, names, label

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, index: Tensor) -> Tensor:
        names = [self.names[row] for row in index.tolist()]
        levels = []
        for name, picture in zip(names, self.decoder.judge(names), strict=True):
            if isinstance(picture, BadImage):
                raise UsageError(
                    f"{shown(name)} could be read when the run began, and can't now: {picture}",
                    "next: restore the file and give the same command, which resumes",
                )
            levels.append(picture.levels)
        return torch.from_numpy(np.stack(levels))


@dataclass(frozen=True)
class Scan:
    """The pictures of a folder, judged.

    Attributes:
        names: of the good files, in the order given.
        digests: sha256 of each one's levels.
        levels: (N, C, H, W) uint8, or None where they don't fit in memory.
        bad: (name, reason).
        notes: conversion -> how many files.
    """

    names: Sequence[str]
    digests: Sequence[bytes]
    levels: Tensor | None
    bad: Sequence[tuple[str, str]]
    notes: Counter[str]


def scan(decoder: Decoder, names: Sequence[str]) -> Scan:
    """Decode every file once."""
    size, channels = decoder.config.size, decoder.channels
    fits = len(names) * channels * size * size <= RESIDENT_BYTES
    levels = torch.empty((len(names) if fits else 0, channels, size, size), dtype=torch.uint8)
    good: list[str] = []
    hashes: list[bytes] = []
    bad: list[tuple[str, str]] = []
    notes: Counter[str] = Counter()
    for start in range(0, len(names), CHUNK):
        chunk = names[start : start + CHUNK]
        for name, picture in zip(chunk, decoder.judge(chunk), strict=True):
            if isinstance(picture, BadImage):
                bad.append((name, str(picture)))
                continue
            one = torch.from_numpy(picture.levels)
            if fits:
                levels[len(good)] = one
            good.append(name)
            hashes += digests(one[None])
            notes.update(picture.notes)
    return Scan(good, hashes, levels[: len(good)] if fits else None, bad, notes)
