"""A folder of pictures with captions in text files, as those of CUB and Oxford-102 come.

Reed et al. 2016 (arXiv:1605.05396) describe each picture in ten sentences: images/<class>/<name>.jpg has
text/<class>/<name>.txt, one caption a line. Training draws one of a picture's captions at every step; samples
are asked for by each picture's first.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath

import torch
from torch import Tensor

from zoo_core.data.captions import Tokenizer
from zoo_core.data.configs import CaptionedFolderConfig
from zoo_core.data.decoding import shown
from zoo_core.data.folder import LISTED, find_root, read
from zoo_core.data.loading import Dataset, Split
from zoo_core.data.pairs import moved
from zoo_core.errors import UsageError

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
"""Letters and digits, with a hyphen or an apostrophe inside; what stands between words is left out."""


class Captioned:
    """A split whose examples have one caption or several.

    Args:
        split: of the pictures.
        captions: those of all examples, row by row, (M, length) int64.
        count: how many each example has, (N,) int64.
    """

    def __init__(self, split: Split, captions: Tensor, count: Tensor) -> None:
        self.split, self.label = split, split.label
        self.captions, self.count = captions, count
        self.first = count.cumsum(0) - count
        self.tokens = captions[self.first]

    def __len__(self) -> int:
        return len(self.split)

    def rows(self, index: Tensor) -> Tensor:
        return self.split.rows(index)

    def retold(self, index: Tensor, rng: torch.Generator) -> Tensor:
        u = torch.rand(len(index), generator=rng, device=rng.device).to(self.count.device)
        index = index.to(self.count.device)
        return self.captions[self.first[index] + (u * self.count[index]).long()]

    def to(self, device: torch.device | str) -> Captioned:
        return Captioned(moved(self.split, device), self.captions.to(device), self.count.to(device))


def load(config: CaptionedFolderConfig) -> Dataset:
    """Return the pictures under `config.path` as data=folder does, with the captions under `config.text`.

    The vocabulary is that of the training captions; what it lacks is left out of captions, and said.

    Raises:
        UsageError: as of data=folder; and for pictures without captions, files that are no text, and captions
            without a word of the vocabulary: each by name.
    """
    if config.pairs:
        raise UsageError(
            f"data.pairs={config.pairs} was asked for and data={config.name} has no pairs",
            "expected: data.pairs= (none), or data=folder",
        )
    if not config.path:
        raise UsageError(
            f"data={config.name} needs to know which folder",
            f"next: data={config.name} data.path=PICTURES data.text=CAPTIONS",
        )
    pictures, names = read(config)
    root = _text_root(config)
    told = [_captions(root, part) for part in names]
    tokenizer = vocabulary((words for lines in told[0] for words in lines), config)
    number = {word: k + 1 for k, word in enumerate(tokenizer.words)}
    left_out = Counter(
        word for part in told for lines in part for words in lines for word in words if word not in number
    )
    cut = sum(len(words) > config.length for part in told for lines in part for words in lines)
    splits = [
        _captioned(split, lines, named, number, config.length)
        for split, lines, named in zip((pictures.train, pictures.test), told, names, strict=True)
    ]
    report = [*pictures.report, *_strays(root, [*names[0], *names[1]])]
    if left_out:
        report.append(f"{left_out.total():,} words left out of captions: {len(left_out):,} rare ones")
    if cut:
        report.append(f"{cut:,} captions of more than {config.length} words were cut")
    whole = hashlib.sha256(pictures.sha256.encode())
    for split in splits:
        for part in (split.captions, split.count):
            whole.update(part.numpy().tobytes())
    return replace(
        pictures,
        info=replace(
            pictures.info,
            name=config.name,
            vocabulary=tokenizer.vocabulary,
            caption_length=tokenizer.length,
        ),
        train=splits[0],
        test=splits[1],
        sha256=whole.hexdigest(),
        report=tuple(report),
        tokenizer=tokenizer,
    )


def vocabulary(captions: Iterable[Sequence[str]], config: CaptionedFolderConfig) -> Tokenizer:
    """Return the tokenizer of captions' words: the commonest first, equals in the order of the alphabet.

    Args:
        captions: words of each.
        config: how common a word must be, how many there are, and how long a caption is.

    Raises:
        UsageError: where no word is common enough.
    """
    count = Counter(word for words in captions for word in words)
    common = [word for word, times in count.items() if times >= config.min_count]
    kept = sorted(common, key=lambda word: (-count[word], word))[: config.max_words]
    if not kept:
        raise UsageError(
            f"no word stands {config.min_count} times in the training captions",
            f"found: {len(count):,} words",
            "next: data.min_count=1",
        )
    return Tokenizer(tuple(kept), config.length)


def _text_root(config: CaptionedFolderConfig) -> str:
    given = config.text or os.path.join(os.path.dirname(find_root(config.path)), "text")
    root = os.path.expanduser(given)
    if not os.path.isdir(root):
        raise UsageError(
            f"there is no folder of captions data.text={shown(given)}",
            "expected: a folder in which a picture a/b.jpg has its captions in a/b.txt, one a line",
        )
    return os.path.realpath(root)


def _place(name: str) -> str:
    """Return where the captions of a picture are, relative to the folder of captions."""
    return str(PurePath(name).with_suffix(".txt"))


def _captions(root: str, names: Sequence[str]) -> list[list[list[str]]]:
    """Return the words of each picture's captions, one list a line.

    Raises:
        UsageError: for files that are missing, unreadable, or without a word: each by name.
    """
    told: list[list[list[str]]] = []
    bad: list[str] = []
    for name in names:
        place = _place(name)
        try:
            with open(os.path.join(root, place), encoding="utf-8-sig") as file:
                lines = [WORD.findall(line.lower()) for line in file]
        except FileNotFoundError:
            bad.append(f"{shown(name)}: there is no {shown(place)}")
            continue
        except UnicodeDecodeError:
            bad.append(f"{shown(place)}: no text in UTF-8")
            continue
        except OSError as error:
            bad.append(f"{shown(place)}: {(error.strerror or 'unreadable').lower()}")
            continue
        lines = [words for words in lines if words]
        if not lines:
            bad.append(f"{shown(place)}: no caption in it")
        told.append(lines)
    if bad:
        raise UsageError(
            f"{len(bad)} of {len(names)} pictures have no captions in {shown(root)}",
            *bad[:LISTED],
            f"and {len(bad) - LISTED} more" if len(bad) > LISTED else "",
            "expected: for a picture a/b.jpg a file a/b.txt of one caption a line",
        )
    return told


def _captioned(
    split: Split,
    told: Sequence[Sequence[Sequence[str]]],
    names: Sequence[str],
    number: dict[str, int],
    length: int,
) -> Captioned:
    """Return a split with its captions as tokens; a caption without a known word is left out.

    Raises:
        UsageError: where that leaves a picture none.
    """
    rows: list[list[int]] = []
    count: list[int] = []
    for lines in told:
        known = [[number[word] for word in words if word in number][:length] for words in lines]
        kept = [tokens + [0] * (length - len(tokens)) for tokens in known if tokens]
        rows += kept
        count.append(len(kept))
    bare = [f"{shown(_place(name))}: rare words only" for name, n in zip(names, count, strict=True) if not n]
    if bare:
        raise UsageError(
            f"{len(bare)} of {len(names)} pictures have captions without a word of the vocabulary",
            *bare[:LISTED],
            "next: data.min_count=1, or a larger data.max_words",
        )
    return Captioned(split, torch.tensor(rows), torch.tensor(count))


def _strays(root: str, names: Sequence[str]) -> list[str]:
    """Return the line about captions of no picture, if there are some."""
    wanted = {_place(name) for name in names}
    found = {
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, files in os.walk(root)
        for name in files
        if name.endswith(".txt")
    }
    strays = len(found - wanted)
    return [f"{strays:,} files of captions have no picture"] if strays else []
