"""Pictures that are made from other pictures: pairs to learn a translation from, and two unpaired domains.

Any dataset of pictures has them: the picture that each is made from is computed from it (`SOURCES`). A folder
may bring its own. All arithmetic is on integer levels, so that every machine computes the same pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.data.loading import Dataset, Domain, Movable, Paired, Split
from zoo_core.data.splits import stratified
from zoo_core.errors import UsageError

Maker = Callable[[Tensor, int], Tensor]
"""(uint8 levels (n, C, H, W), number of levels) to the pictures that these are made from."""

SMALL = 16
"""Sides below this are halved by `lowres`; longer ones are quartered."""


def luminance(levels: Tensor) -> Tensor:
    """Return the grey values of pictures, (n, 1, H, W) int32: ITU-R BT.601's weights of red, green and
    blue."""
    if levels.shape[1] != 3:
        return levels[:, :1].int()
    red, green, blue = levels.int().split(1, dim=1)
    return (299 * red + 587 * green + 114 * blue + 500) // 1000


def edges(levels: Tensor, count: int) -> Tensor:
    """Return a quarter of the magnitude of Sobel's gradient, bright on black, (n, 1, H, W) uint8.

    A step from the lowest level to the highest across a straight edge has the highest level; the border is
    repeated outwards.
    """
    x = F.pad(luminance(levels).double(), (1, 1, 1, 1), mode="replicate")
    across = x[..., :, 2:] - x[..., :, :-2]
    down = x[..., 2:, :] - x[..., :-2, :]
    gx = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    gy = down[..., :, :-2] + 2 * down[..., :, 1:-1] + down[..., :, 2:]
    magnitude = (gx.square() + gy.square()).sqrt() / 4
    return magnitude.round().clamp_(max=count - 1).to(torch.uint8)


def lowres(levels: Tensor, count: int) -> Tensor:
    """Return means of blocks, brought back to full size: of 2 x 2 pixels, of 4 x 4 where the side is 16 or
    more.

    Raises:
        UsageError: for a side that is no multiple of the block's.
    """
    n, channels, height, width = levels.shape
    block = 2 if min(height, width) < SMALL else 4
    if height % block or width % block:
        raise UsageError(
            f"data.source=lowres averages {block}x{block} pixels, and pictures are {height}x{width}",
            f"expected: sides that {block} divides",
            "next: for a folder, data.size=...; or another data.source",
        )
    blocks = levels.int().reshape(n, channels, height // block, block, width // block, block)
    means = (blocks.sum((3, 5)) + block * block // 2) // (block * block)
    return means.to(torch.uint8).repeat_interleave(block, 2).repeat_interleave(block, 3)


def mask(levels: Tensor, count: int) -> Tensor:
    """Return pictures whose middle half, a quarter of the area, is the middle level."""
    hidden = levels.clone()
    hidden[(..., *hole(*levels.shape[2:]))] = count // 2
    return hidden


def hole(height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns that `mask` hides."""
    return slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)


def grey(levels: Tensor, count: int) -> Tensor:
    """Return the grey values of coloured pictures, (n, 1, H, W) uint8.

    Raises:
        UsageError: for pictures that are grey already.
    """
    if levels.shape[1] != 3:
        raise UsageError(
            "data.source=grey was asked for and the pictures have no colour",
            "expected: data of 3 channels",
            f"next: data.source={' or '.join(name for name in SOURCES if name != 'grey')}",
        )
    return luminance(levels).to(torch.uint8)


def itself(levels: Tensor, count: int) -> Tensor:
    """Return the pictures as they are: two domains are then halves of one."""
    return levels


SOURCES: Mapping[str, Maker] = {
    "edges": edges,
    "lowres": lowres,
    "mask": mask,
    "grey": grey,
    "itself": itself,
}
"""By the name that `data.source` takes."""


def moved(split: Split, device: torch.device | str) -> Split:
    """Return a split on a device, where it can be moved."""
    return split.to(device) if isinstance(split, Movable) else split


class Computed:
    """The pictures that a split's own are made from, computed when they are asked for.

    Args:
        split: of the pictures.
        make: of `SOURCES`.
        levels: of the pictures.
    """

    def __init__(self, split: Split, make: Maker, levels: int) -> None:
        self.split, self.make, self.levels = split, make, levels
        self.label = split.label

    def __len__(self) -> int:
        return len(self.split)

    def rows(self, index: Tensor) -> Tensor:
        return self.make(self.split.rows(index), self.levels)

    def to(self, device: torch.device | str) -> Computed:
        return Computed(moved(self.split, device), self.make, self.levels)


class Part:
    """Some rows of a split.

    Args:
        split: the whole.
        kept: (n,) int64, which rows.
    """

    def __init__(self, split: Split, kept: Tensor) -> None:
        self.split, self.kept = split, kept
        self.label = None if split.label is None else split.label[kept.to(split.label.device)]

    def __len__(self) -> int:
        return len(self.kept)

    def rows(self, index: Tensor) -> Tensor:
        return self.split.rows(self.kept[index.to(self.kept.device)])

    def to(self, device: torch.device | str) -> Part:
        return Part(moved(self.split, device), self.kept.to(device))


class Pairs:
    """A split whose pictures each have the one that they are made from; implements `Paired`.

    Args:
        split: the pictures that are modelled.
        origin: as many pictures, each that of the same row.
    """

    def __init__(self, split: Split, origin: Split) -> None:
        self.split, self.origin = split, origin
        self.label = split.label

    def __len__(self) -> int:
        return len(self.split)

    def rows(self, index: Tensor) -> Tensor:
        return self.split.rows(index)

    def sources(self, index: Tensor) -> Tensor:
        """Return the pictures that these rows are made from: uint8 levels (n, C', H, W)."""
        return self.origin.rows(index)

    def to(self, device: torch.device | str) -> Pairs:
        return Pairs(moved(self.split, device), moved(self.origin, device))


class Unpaired:
    """A split learnt from beside another of which nobody knows what belongs to what; implements `Coupled`.

    Args:
        split: pictures of the domain translated to.
        origin: pictures of the domain translated from, as many as there are.
    """

    def __init__(self, split: Split, origin: Split) -> None:
        self.split, self.origin = split, origin
        self.label = split.label

    def __len__(self) -> int:
        return len(self.split)

    def rows(self, index: Tensor) -> Tensor:
        return self.split.rows(index)

    def couples(self, index: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return these rows, and as many pictures of the other domain, drawn with replacement."""
        drawn = torch.randint(len(self.origin), (len(index),), generator=rng, device=rng.device)
        return self.split.rows(index), self.origin.rows(drawn)

    def to(self, device: torch.device | str) -> Unpaired:
        return Unpaired(moved(self.split, device), moved(self.origin, device))


class Channels:
    """Some channels of a split's pictures.

    Args:
        split: the whole.
        kept: which.
    """

    def __init__(self, split: Split, kept: slice) -> None:
        self.split, self.kept = split, kept
        self.label = split.label

    def __len__(self) -> int:
        return len(self.split)

    def rows(self, index: Tensor) -> Tensor:
        return self.split.rows(index)[:, self.kept]

    def to(self, device: torch.device | str) -> Channels:
        return Channels(moved(self.split, device), self.kept)


def halved(dataset: Dataset, made_from: str) -> Dataset:
    """Return pairs of a dataset whose rows hold two pictures each, A's channels before B's.

    Args:
        dataset: its info is of one of the two.
        made_from: "A" or "B": the picture that the other one is made from.
    """
    half = dataset.info.shape[0]
    a, b = slice(half), slice(half, 2 * half)
    source, target = (a, b) if made_from == "A" else (b, a)
    train, test = (Channels(split, source) for split in (dataset.train, dataset.test))
    return replace(
        dataset,
        train=Pairs(Channels(dataset.train, target), train),
        test=Pairs(Channels(dataset.test, target), test),
        info=replace(dataset.info, image_channels=half, task="paired"),
        origin=Domain(made_from, train, test),
    )


def with_origin(dataset: Dataset, source: str) -> Dataset:
    """Return a dataset of pictures with the domain that they are made from: its own, or a computed one.

    Args:
        source: of `SOURCES`; without meaning where the dataset brings its own.

    Raises:
        UsageError: where these pictures have no such source.
    """
    if dataset.origin is not None:
        return dataset
    assert dataset.info.levels is not None
    make, count = SOURCES[source], dataset.info.levels
    channels = make(dataset.test.rows(torch.arange(1)), count).shape[1]
    train, test = (Computed(split, make, count) for split in (dataset.train, dataset.test))
    return replace(
        dataset,
        train=Pairs(dataset.train, train),
        test=Pairs(dataset.test, test),
        info=replace(dataset.info, image_channels=channels),
        origin=Domain(source, train, test),
    )


def paired(dataset: Dataset, source: str) -> Dataset:
    """Return the data of a run that is shown which picture each picture is made from.

    Raises:
        UsageError: as `with_origin`.
    """
    return with_origin(dataset, source)


def unpaired(dataset: Dataset, source: str) -> Dataset:
    """Return the data of a run that sees two domains, and never which picture belongs to which.

    Where both were had from the same training pictures, one half of these is the domain translated to, and
    the other half's sources are the domain translated from: no picture's own source is ever seen beside it,
    nor at all. Which half a row is in depends on its number and label alone. Scores compare with the whole
    training split, and the test split keeps what pairs it has.

    Raises:
        UsageError: as `with_origin`, and for fewer than 2 training pictures.
    """
    made = with_origin(dataset, source)
    assert made.origin is not None
    if not isinstance(made.train, Paired):
        return replace(made, learnt=Unpaired(made.train, made.origin.train))
    n = len(made.train)
    if n < 2:
        raise UsageError(
            f"dataset {made.info.name!r} has {n} training picture", "expected: 2, one for each domain"
        )
    label = made.train.label
    target, other = stratified(torch.zeros(n, dtype=torch.int64) if label is None else label.cpu(), n // 2)
    learnt = Unpaired(Part(made.train, target), Part(made.origin.train, other))
    return replace(made, learnt=learnt)
