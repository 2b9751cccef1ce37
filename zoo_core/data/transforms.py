"""What is derived from a table's rows, or drawn for them: a transform takes rows by column and returns rows.

Random numbers are drawn for a whole batch, and a process takes those of its own rows: no example depends on
how many processes train. Each transform has its own stream of random numbers, so that one more in a list
changes nothing for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from zoo_core.data import corruptions
from zoo_core.data.augment import mirrored_where
from zoo_core.data.views import numbers, view

Rows = dict[str, Tensor]
"""Column name -> values of some rows, (n, ...)."""


def stretches(rows: Tensor, of: Sequence[range]) -> Tensor:
    """Return the chosen stretches of rows, one after the other."""
    parts = [rows[one.start : one.stop] for one in of]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class RowRandom:
    """Random numbers for the rows of one batch.

    Args:
        rng: the transform's generator for this batch.
        size: rows of the whole batch.
        own: those of this process, as stretches of the batch.
    """

    def __init__(self, rng: torch.Generator, size: int, own: Sequence[range]) -> None:
        self.rng, self.size, self.own = rng, size, own

    def rand(self, *shape: int) -> Tensor:
        """Return uniforms in [0, 1), (n, *shape) float32."""
        return stretches(torch.rand((self.size, *shape), **self._made()), self.own)

    def randn(self, *shape: int) -> Tensor:
        """Return standard normals, (n, *shape) float32."""
        return stretches(torch.randn((self.size, *shape), **self._made()), self.own)

    def randint(self, high: int) -> Tensor:
        """Return integers in [0, high), (n,) int64."""
        return stretches(torch.randint(high, (self.size,), **self._made()), self.own)

    def _made(self) -> dict[str, Any]:
        return {"generator": self.rng, "device": self.rng.device}


class Examples(Protocol):
    """What an image can be paired with: the examples of a table."""

    def __len__(self) -> int: ...

    def examples(self, index: Tensor) -> Tensor: ...

    def to(self, device: torch.device | str) -> Examples: ...


class Transform:
    """Base of transforms; a pure function of rows and random numbers.

    Attributes:
        name: of its stream of random numbers.
        random: whether it draws any; such a transform is applied in training only.
        makes: names of the columns that it adds or changes.
        drops: names of the columns that it removes.
    """

    name: ClassVar[str] = ""
    random: ClassVar[bool] = False
    makes: ClassVar[Sequence[str]] = ()
    drops: ClassVar[Sequence[str]] = ()

    def __call__(self, rows: Rows, rng: RowRandom | None) -> Rows:
        """Return rows with some columns added, changed or removed; the given rows are not modified."""
        raise NotImplementedError(f"{type(self).__name__}.__call__")

    def to(self, device: torch.device | str) -> Transform:
        """Return the transform for rows on a device."""
        return self


@dataclass(frozen=True)
class Corrupt(Transform):
    """Add the `source` that an image is to be restored from, computed from it.

    Attributes:
        kind: one of `corruptions.SOURCES`.
        levels: number of gray levels of the image.
    """

    kind: str
    levels: int
    makes: ClassVar[Sequence[str]] = ("source",)

    def __call__(self, rows: Rows, rng: RowRandom | None) -> Rows:
        return {**rows, "source": corruptions.SOURCES[self.kind](rows["image"], self.levels)}


@dataclass(frozen=True)
class SideBySide(Transform):
    """Cut images that hold two, A's channels before B's, into `image` and `source`.

    Attributes:
        made_from: "A" or "B": which of the two is the source.
    """

    made_from: str
    makes: ClassVar[Sequence[str]] = ("image", "source")

    def __call__(self, rows: Rows, rng: RowRandom | None) -> Rows:
        a, b = rows["image"].chunk(2, dim=1)
        source, image = (a, b) if self.made_from == "A" else (b, a)
        return {**rows, "image": image, "source": source}


class SourceAsImage(Transform):
    """Make the source the example: the table of the domain that is translated from."""

    makes: ClassVar[Sequence[str]] = ("image",)
    drops: ClassVar[Sequence[str]] = ("source",)

    def __call__(self, rows: Rows, rng: RowRandom | None) -> Rows:
        kept = {name: values for name, values in rows.items() if name != "source"}
        return {**kept, "image": rows["source"]}


class CaptionAsExample(Transform):
    """Make the caption the example, and its image the source that it may be conditioned on."""

    makes: ClassVar[Sequence[str]] = ("tokens", "source")
    drops: ClassVar[Sequence[str]] = ("image", "caption")

    def __call__(self, rows: Rows, rng: RowRandom | None) -> Rows:
        kept = {name: values for name, values in rows.items() if name not in self.drops}
        return {**kept, "tokens": rows["caption"], "source": rows["image"]}


class WithoutSource(Transform):
    """Remove the source, so that nothing tells which image belongs to which."""

    drops: ClassVar[Sequence[str]] = ("source",)

    def __call__(self, rows: Rows, rng: RowRandom | None) -> Rows:
        return {name: values for name, values in rows.items() if name != "source"}


@dataclass(frozen=True)
class Binarize(Transform):
    """Draw the image anew from its gray values: 1 with probability gray / (levels - 1).

    Attributes:
        levels: number of gray levels of the column `gray`.
    """

    levels: int
    name: ClassVar[str] = "redraw"
    random: ClassVar[bool] = True
    makes: ClassVar[Sequence[str]] = ("image",)

    def __call__(self, rows: Rows, rng: RowRandom | None) -> Rows:
        assert rng is not None
        gray = rows["gray"]
        return {**rows, "image": binarize(gray, self.levels, rng.rand(*gray.shape[1:]))}


def binarize(gray: Tensor, levels: int, u: Tensor) -> Tensor:
    """Return 1 where u < gray / (levels - 1) and 0 elsewhere, uint8.

    Args:
        gray: integers in [0, levels).
        u: uniform in [0, 1), like gray.
    """
    return (u * (levels - 1) < gray).to(torch.uint8)


class ChooseCaption(Transform):
    """Draw one of each image's captions; `captions` holds `caption_count` of them a row."""

    name: ClassVar[str] = "retell"
    random: ClassVar[bool] = True
    makes: ClassVar[Sequence[str]] = ("caption",)

    def __call__(self, rows: Rows, rng: RowRandom | None) -> Rows:
        assert rng is not None
        count = rows["caption_count"]
        chosen = (rng.rand().to(count.device) * count).long()
        return {**rows, "caption": rows["captions"][torch.arange(len(count), device=count.device), chosen]}


class TwoViews(Transform):
    """Replace each image by one view of it, and add another as `second`."""

    name: ClassVar[str] = "couple"
    random: ClassVar[bool] = True
    makes: ClassVar[Sequence[str]] = ("image", "second")

    def __call__(self, rows: Rows, rng: RowRandom | None) -> Rows:
        assert rng is not None
        image = rows["image"]
        first, second = (rng.rand(numbers(image.shape[1])).to(image.device) for _ in range(2))
        return {**rows, "image": view(image, first), "second": view(image, second)}


@dataclass(frozen=True)
class SecondDomain(Transform):
    """Add an image of another domain as `second`, drawn with replacement: unpaired data.

    Attributes:
        table: of the other domain.
    """

    table: Examples
    name: ClassVar[str] = "couple"
    random: ClassVar[bool] = True
    makes: ClassVar[Sequence[str]] = ("second",)

    def __call__(self, rows: Rows, rng: RowRandom | None) -> Rows:
        assert rng is not None
        return {**rows, "second": self.table.examples(rng.randint(len(self.table)))}

    def to(self, device: torch.device | str) -> SecondDomain:
        return SecondDomain(self.table.to(device))


class HorizontalFlip(Transform):
    """Mirror an image left to right with probability 1/2, and what belongs to it alike."""

    name: ClassVar[str] = "flip"
    random: ClassVar[bool] = True
    makes: ClassVar[Sequence[str]] = ("image",)

    def __call__(self, rows: Rows, rng: RowRandom | None) -> Rows:
        assert rng is not None
        mask = rng.rand() < 0.5
        images = {name: rows[name] for name in ("image", "source", "second") if name in rows}
        return {**rows, **{name: mirrored_where(x, mask.to(x.device)) for name, x in images.items()}}
