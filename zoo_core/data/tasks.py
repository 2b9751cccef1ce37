"""Tasks: transforms added to the tables of a data set, a second domain where there is one, and captions."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from zoo_core.data.corruptions import SOURCES
from zoo_core.data.dataset import Dataset, Domain
from zoo_core.data.splits import stratified
from zoo_core.data.table import Table
from zoo_core.data.transforms import (
    CaptionAsExample,
    Corrupt,
    SecondDomain,
    SideBySide,
    SourceAsImage,
    TwoViews,
    WithoutSource,
)
from zoo_core.errors import UsageError


def _with_sources(dataset: Dataset, name: str) -> Dataset:
    """Return a data set whose tables have a source, with the domain of the sources."""
    origin = Domain(name, *(table.then(SourceAsImage()) for table in (dataset.train, dataset.test)))
    return replace(dataset, origin=origin)


def halved(dataset: Dataset, made_from: str) -> Dataset:
    """Return pairs from a data set whose images hold two each, A's channels before B's.

    Args:
        dataset: its info is of one of the two.
        made_from: "A" or "B": the image that the other one is made from.
    """
    info = replace(dataset.info, image_channels=dataset.info.shape[0], task="paired")
    return _with_sources(dataset.then(SideBySide(made_from), info=info), made_from)


def with_origin(dataset: Dataset, source: str) -> Dataset:
    """Return a data set of images with the domain that they are made from: its own, or a computed one.

    Args:
        source: one of `SOURCES`; not used where the data set brings its own.

    Raises:
        UsageError: where these images have no such source.
    """
    if dataset.origin is not None:
        return dataset
    assert dataset.info.levels is not None
    blank = torch.zeros(1, *dataset.info.shape, dtype=torch.uint8)
    channels = SOURCES[source](blank, dataset.info.levels).shape[1]
    info = replace(dataset.info, image_channels=channels)
    return _with_sources(dataset.then(Corrupt(source, dataset.info.levels), info=info), source)


def unpaired(dataset: Dataset, source: str) -> Dataset:
    """Return the data of a run that sees two domains, and never which image belongs to which.

    Where both come from the same training images, one half of these is the domain translated to, and the
    sources of the other half are the domain translated from: no image's own source is in the training data.
    The halves depend on row numbers and labels alone. Scores compare with the whole training split, and the
    test split keeps the pairs that it has.

    Raises:
        UsageError: as `with_origin`, and for fewer than 2 training images.
    """
    made = with_origin(dataset, source)
    assert made.origin is not None
    if "source" not in made.train:
        return replace(made, subset=made.train.then(SecondDomain(made.origin.train)))
    n = len(made.train)
    if n < 2:
        raise UsageError(
            f"dataset {made.info.name!r} has {n} training image", "expected: 2, one for each domain"
        )
    label = made.train.label
    target, other = stratified(torch.zeros(n, dtype=torch.int64) if label is None else label.cpu(), n // 2)
    alone = made.train.then(WithoutSource()) if "source" in dataset.train else dataset.train
    return replace(made, subset=alone.take(target).then(SecondDomain(made.origin.train.take(other))))


def views(dataset: Dataset, source: str) -> Dataset:
    """Return data whose training draws two views of each image; samples are compared with the images.

    Args:
        dataset: of images.
        source: not used.
    """
    return replace(dataset, subset=dataset.train.then(TwoViews()))


def captions(dataset: Dataset, source: str) -> Dataset:
    """Return captions as the data: examples are tokens (length,), and each comes with its image as source.

    A test caption with a word that no training caption has is left out: a model of a closed vocabulary knows
    nothing of such a word, and its code length would be that of a constant. Where captions differ, as names
    do, the rest are new combinations of known words.

    Args:
        dataset: of images with captions.
        source: not used.

    Raises:
        UsageError: where no test caption is left.
    """
    assert dataset.train.tokens is not None
    known = dataset.train.tokens.unique()
    test, held = _made_of(dataset.test, known), dataset.validation
    held = None if held is None else _made_of(held, known)
    if not len(test):
        raise UsageError(
            f"every test caption of {dataset.info.name!r} has a word that no training caption has",
            "expected: test captions of words that training captions have",
        )
    left = len(dataset.test) - len(test)
    line = f"{left:,} of {len(dataset.test):,} test captions left out: words that no training caption has"
    info = dataset.info
    described = replace(dataset, test=test, validation=held, subset=None, origin=None)
    return described.then(
        CaptionAsExample(),
        described=described,
        report=(*dataset.report, *([line] if left else [])),
        info=replace(
            info,
            shape=(info.caption_length,),
            levels=info.vocabulary,
            image_channels=info.shape[0],
            image_levels=info.levels,
        ),
    )


def _made_of(table: Table, known: Tensor) -> Table:
    """Return the table of the rows whose captions have known tokens only."""
    assert table.tokens is not None
    return table.take(torch.isin(table.tokens, known).all(1).nonzero().flatten())
