"""What options of any data set do to it: a validation part of the training split, and augmentations."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.splits import all_digests, numbered, stratified
from zoo_core.data.transforms import HorizontalFlip
from zoo_core.errors import UsageError


def configured(dataset: Dataset, config: DataConfig) -> Dataset:
    """Return a data set with what `data.validation` and `data.hflip` ask for.

    Raises:
        UsageError: where the data can't be flipped, or are too few for a validation part.
    """
    if config.hflip:
        if not dataset.info.is_image:
            raise UsageError(
                f"data.hflip=true was given and dataset {dataset.info.name!r} has no images",
                "expected: data.hflip=false for points",
            )
        dataset = replace(dataset, augmentations=(*dataset.augmentations, HorizontalFlip()))
    return with_validation(dataset, config.validation) if config.validation else dataset


def with_validation(dataset: Dataset, fraction: float) -> Dataset:
    """Return a data set with a part of its training split held out for selection.

    Equal examples, and near-duplicates where they are known, go to the same side. Which rows are held out
    depends on the data, not on a run's seed.

    Args:
        fraction: of the training split.

    Raises:
        UsageError: where the data bring a validation split, or the part would be empty or everything.
    """
    if dataset.validation is not None:
        raise UsageError(
            f"data.validation={fraction} was given and the data have a validation split of their own",
            "next: leave data.validation out",
        )
    train = dataset.train
    kept, held = validation_rows(train.groups or all_digests(train), train.label, fraction)
    if not len(kept) or not len(held):
        raise UsageError(
            f"data.validation={fraction} of {len(train)} training examples leaves {len(kept)} to train on "
            f"and {len(held)} to validate on",
            "expected: at least 1 of each",
        )
    line = f"{len(held):,} of {len(train):,} training examples held out for validation (data.validation)"
    origin = dataset.origin
    if origin is not None and "source" in train:  # of pairs: row k of both is one pair
        origin = replace(origin, train=origin.train.take(kept))
    return replace(
        dataset,
        train=train.take(kept),
        validation=train.take(held),
        origin=origin,
        report=(*dataset.report, line),
    )


def validation_rows(
    groups: Sequence[Hashable], label: Tensor | None, fraction: float
) -> tuple[Tensor, Tensor]:
    """Return the rows to train on and to validate on, ascending; rows of one group on the same side.

    Args:
        groups: of each row's example.
        label: (N,) int64, by which the part is stratified, or None.
        fraction: of the groups to validate on.
    """
    of_row, first = numbered(groups)
    classes = torch.zeros_like(first) if label is None else label.cpu()[first]
    wanted = min(max(1, round(fraction * len(first))), len(first) - 1)
    _, chosen = stratified(classes, wanted, keep=1, purpose="validation")
    held = torch.isin(of_row, chosen)
    return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()
