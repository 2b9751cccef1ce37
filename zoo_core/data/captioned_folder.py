"""A folder of images with captions in text files, as CUB and Oxford-102 come.

Reed et al. 2016 (arXiv:1605.05396) describe each image in ten sentences: images/<class>/<name>.jpg has
text/<class>/<name>.txt, one caption a line. Training draws one of an image's captions at every step; samples
are conditioned on each image's first.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

import torch

from zoo_core.data.captions import Tokenizer
from zoo_core.data.configs import CaptionedFolderConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.decoding import shown
from zoo_core.data.folder import read
from zoo_core.data.image_files import LISTED, find_root
from zoo_core.data.table import Table
from zoo_core.data.transforms import ChooseCaption
from zoo_core.errors import NotFoundError, UsageError, beginning
from zoo_core.machine.files import read_bounded

MAX_BYTES = 1 << 20
"""Size of one file of captions, bytes."""
MAX_CAPTIONS = 1000
"""Captions of one image; the table has as many places for each image as the longest list needs."""

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
"""Letters and digits, with a hyphen or an apostrophe inside; what is between words is left out."""


def load(config: CaptionedFolderConfig, fresh: bool = False) -> Dataset:
    """Return the images under `config.path` as data=folder does, with the captions under `config.text`.

    The vocabulary is that of the training captions; what it lacks is left out of captions, and said.

    Raises:
        UsageError: as of data=folder; and for images without captions, files that are not text, and captions
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
            f"next: data={config.name} data.path=IMAGES data.text=CAPTIONS",
        )
    images, names = read(config, fresh)
    root = _text_root(config)
    texts = {split: _captions(root, part) for split, part in names.items()}
    tokenizer = vocabulary((words for lines in texts["train"] for words in lines), config)
    number = {word: k + 1 for k, word in enumerate(tokenizer.words)}
    left_out = Counter(
        word
        for part in texts.values()
        for lines in part
        for words in lines
        for word in words
        if word not in number
    )
    cut = sum(len(words) > config.length for part in texts.values() for lines in part for words in lines)
    tables = {"train": images.train, "test": images.test, "validation": images.validation}
    whole = hashlib.sha256(images.sha256.encode())
    captioned: dict[str, Table | None] = {"validation": None}
    for split, lines in texts.items():
        table = tables[split]
        assert table is not None
        captioned[split] = _captioned(table, lines, names[split], number, config.length, whole.update)
    whole.update("\n".join(tokenizer.words).encode())
    report = [*images.report, *_strays(root, [name for part in names.values() for name in part])]
    if left_out:
        report.append(f"{left_out.total():,} words left out of captions: {len(left_out):,} rare ones")
    if cut:
        report.append(f"{cut:,} captions of more than {config.length} words were cut")
    train, test = captioned["train"], captioned["test"]
    assert train is not None
    assert test is not None
    return replace(
        images,
        info=replace(
            images.info,
            name=config.name,
            vocabulary=tokenizer.vocabulary,
            caption_length=tokenizer.length,
        ),
        train=train,
        test=test,
        validation=captioned["validation"],
        sha256=whole.hexdigest(),
        report=tuple(report),
        tokenizer=tokenizer,
        reread=lambda: load(config, fresh=True).sha256,
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
            f"no word occurs {config.min_count} times in the training captions",
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
            "expected: a folder in which an image a/b.jpg has its captions in a/b.txt, one a line",
        )
    return os.path.realpath(root)


def _place(name: str) -> str:
    """Return where the captions of an image are, relative to the folder of captions."""
    return str(PurePath(name).with_suffix(".txt"))


def _captions(root: str, names: Sequence[str]) -> list[list[list[str]]]:
    """Return the words of each image's captions, one list a line.

    Raises:
        UsageError: for files that are missing, unreadable, too large, or without a word: each by name.
    """
    texts: list[list[list[str]]] = []
    bad: list[str] = []
    for name in names:
        place = _place(name)
        try:
            content = read_bounded(Path(root, place), MAX_BYTES).decode("utf-8-sig")
        except NotFoundError:
            bad.append(f"{shown(name)}: there is no {shown(place)}")
            continue
        except UnicodeDecodeError:
            bad.append(f"{shown(place)}: not text in UTF-8")
            continue
        except UsageError as error:
            bad.append(f"{shown(place)}: {'; '.join(error.notes)}")
            continue
        lines = [
            words for line in io.StringIO(content, newline=None) if (words := WORD.findall(line.lower()))
        ]
        if not lines:
            bad.append(f"{shown(place)}: no caption in it")
        if len(lines) > MAX_CAPTIONS:
            bad.append(f"{shown(place)}: {len(lines):,} captions; at most {MAX_CAPTIONS:,} of one image")
        texts.append(lines)
    if bad:
        raise UsageError(
            f"{len(bad)} of {len(names)} images have no usable captions in {shown(root)}",
            *beginning(bad, LISTED),
            "expected: for an image a/b.jpg a file a/b.txt of one caption a line",
        )
    return texts


def _captioned(
    table: Table,
    texts: Sequence[Sequence[Sequence[str]]],
    names: Sequence[str],
    number: dict[str, int],
    length: int,
    digest: Callable[[bytes], None],
) -> Table:
    """Return a table with its captions as tokens; a caption without a known word is left out.

    Args:
        table: of the images.
        texts: for each image the words of each caption.
        names: of the files, for messages.
        number: token of each word.
        length: tokens of a caption.
        digest: called with the bytes of all captions, and of how many each image has.

    Raises:
        UsageError: where an image has no caption left.
    """
    rows: list[list[int]] = []
    count: list[int] = []
    for lines in texts:
        known = [[number[word] for word in words if word in number][:length] for words in lines]
        kept = [tokens + [0] * (length - len(tokens)) for tokens in known if tokens]
        rows += kept
        count.append(len(kept))
    bare = [f"{shown(_place(name))}: rare words only" for name, n in zip(names, count, strict=True) if not n]
    if bare:
        raise UsageError(
            f"{len(bare)} of {len(names)} images have captions without a word of the vocabulary",
            *bare[:LISTED],
            "next: data.min_count=1, or a larger data.max_words",
        )
    captions, many = torch.tensor(rows), torch.tensor(count)
    for part in (captions, many):
        digest(part.numpy().tobytes())
    first = many.cumsum(0) - many
    # Each image has as many places as the one with most captions; a place beyond its own is never drawn.
    own = first[:, None] + torch.arange(int(many.max())).clamp(max=many[:, None] - 1)
    whole = table.having(caption=captions[first], captions=captions[own], caption_count=many)
    return whole.then(ChooseCaption())


def _strays(root: str, names: Sequence[str]) -> list[str]:
    """Return the line about captions without an image, if there are any."""
    wanted = {_place(name) for name in names}
    found = {
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, files in os.walk(root)
        for name in files
        if name.endswith(".txt")
    }
    strays = len(found - wanted)
    return [f"{strays:,} files of captions have no image"] if strays else []
