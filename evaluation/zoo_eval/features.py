"""Features of images: one pass of the extractor over each set, and the checks that precede any metric.

Several processes each pass their share, and the first has the features of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, runtime_checkable
from typing import Protocol as Interface

import torch
from torch import Tensor

from zoo_core.data.loading import Table
from zoo_core.errors import UsageError
from zoo_core.interfaces import Extractor
from zoo_core.machine.distributed import share, world
from zoo_core.machine.leading import rows_to_first
from zoo_core.machine.readback import Arriving, arriving, one_behind
from zoo_core.types import DataInfo

LARGEST = 1e30
"""Of a feature's magnitude: beyond it a product of two covariances may overflow float64."""


@runtime_checkable
class SpatialExtractor(Interface):
    """An extractor that also gives features that keep their place in the image.

    Attributes:
        spatial: what they are, as a protocol records it.
    """

    spatial: str

    def with_spatial(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return what calling the extractor does, and spatial features (n, s) float32, of the same pass."""
        ...


@runtime_checkable
class ProjectedExtractor(Interface):
    """An extractor of more features than small sets can bear: the ranked distance is taken on a few axes.

    Attributes:
        projection: what the axes are, as a protocol records it.
        axes: their number.
    """

    projection: str
    axes: int

    def project(self, values: Tensor) -> Tensor:
        """Return features (n, d) on the axes, (n, k)."""
        ...


class Extracted(NamedTuple):
    """What one pass gives, on the CPU, float32: features (n, d), logits (n, K), spatial (n, s)."""

    values: Tensor
    logits: Tensor | None
    spatial: Tensor | None


@dataclass(frozen=True)
class Modes:
    """The class or mode of each example of a set.

    Attributes:
        name: what assigns them: "digits-classifier", or "density".
        index: (n,) int64 in [0, count), -1 for none.
        count: number of classes or modes.
        accuracy: of the classifier on held-out real images; None where no classifier assigns them.
    """

    name: str
    index: Tensor
    count: int
    accuracy: float | None = None


@dataclass(frozen=True)
class Features:
    """A set of examples as metrics see it: an `interfaces.FeatureSet`.

    Attributes:
        values: (n, d) float64, finite, on the CPU.
        logits: (n, K) float64; None where the extractor is not a classifier.
        spatial: (n, s) float64 features that keep their position; None where the extractor has none.
        modes: classes or modes; None where nothing can assign them.
        points: (n, D) float64, the examples themselves where they are points; None for images.
        projected: (n, k) float64, the features on the extractor's axes; None where it has none.
    """

    values: Tensor
    logits: Tensor | None = None
    spatial: Tensor | None = None
    modes: Modes | None = None
    points: Tensor | None = None
    projected: Tensor | None = None

    @property
    def main(self) -> Tensor:
        """The features that Frechet distances compare: on the extractor's axes where it has some."""
        return self.values if self.projected is None else self.projected

    def __len__(self) -> int:
        return len(self.values)


def check_examples(rows: Tensor, info: DataInfo) -> Tensor:
    """Return the same rows where they are what an extractor may see.

    Raises:
        UsageError: for a float image, a level outside [0, L), a point that is not finite, another shape.
    """
    if tuple(rows.shape[1:]) != info.shape:
        raise UsageError(
            f"examples of shape {tuple(rows.shape[1:])}", f"expected: {info.shape}, as {info.name}"
        )
    if info.levels is None:
        check_finite(rows, "the points")
        return rows
    if rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
        raise UsageError(
            f"images of {rows.dtype}",
            f"expected: integer levels, 0 to {info.levels - 1}; see data.quantize",
        )
    # int32: in uint8 itself, a comparison with 256 is one with 0
    outside = ((rows.int() < 0) | (rows.int() >= info.levels)).flatten(1).any(1)
    if bool(outside.any()):
        raise UsageError(
            f"{int(outside.sum())} of {len(rows)} images hold levels out of range, "
            f"from {int(rows.min())} to {int(rows.max())}",
            f"first: number {int(outside.nonzero()[0])}",
            f"expected: 0 to {info.levels - 1}",
        )
    return rows


def check_finite(values: Tensor, what: str) -> None:
    """Raise where a row holds a NaN or an infinity, with their count and the first one's index.

    A non-finite matrix must never reach an eigenvalue routine: LAPACK may end the whole process on one.

    Raises:
        UsageError: as said.
    """
    bad = (~torch.isfinite(values)).flatten(1).any(1)
    if bool(bad.any()):
        raise UsageError(
            f"{int(bad.sum())} of {len(values)} rows of {what} hold a NaN or an infinity",
            f"first: number {int(bad.nonzero()[0])}",
            "expected: finite numbers",
        )


def check_features(values: Tensor, what: str, need: int = 2) -> Tensor:
    """Return features as float64, where they are, once they are fit for a metric.

    Args:
        values: (n, d), float32 or float64.
        what: "generated features", for the message.
        need: rows that the metric needs.

    Raises:
        UsageError: for another dtype (half precision overflows a covariance), another number of
            dimensions, too few rows, values that are not finite or absurdly large.
    """
    if values.ndim != 2 or values.shape[1] == 0:
        raise UsageError(f"{what} of shape {tuple(values.shape)}", "expected: (n, d)")
    if values.dtype not in (torch.float32, torch.float64):
        raise UsageError(f"{what} of {values.dtype}", "expected: float32 or float64")
    if len(values) < need:
        raise UsageError(f"{len(values)} rows of {what}", f"expected: at least {need}")
    check_finite(values, what)
    largest = float(values.abs().max())
    if largest > LARGEST:
        raise UsageError(f"{what} as large as {largest:.3g}", f"expected: at most {LARGEST:.0e}")
    return values.detach().double()


def arithmetic_device(device: torch.device | str) -> torch.device:
    """Return where metrics of a run on a device are computed: there, or on the CPU if it has no float64."""
    found = torch.device(device)
    return torch.device("cpu") if found.type == "mps" else found


@contextmanager
def full_precision() -> Iterator[None]:
    """Within the block networks run in float32 proper: no autocast, and no TF32 in a GPU's convolutions."""
    kept = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = kept


@torch.no_grad()
@full_precision()
def passed(batches: Iterable[Tensor], extractor: Extractor, info: DataInfo) -> list[Tensor | None]:
    """Return this process's features, logits and spatial features of a stream of batches; None for none.

    Args:
        batches: integer levels (n, C, H, W), or points (n, D).

    Raises:
        UsageError: where a batch is unfit.
    """
    kept = [Growing() for _ in range(3)]

    def begun() -> Iterator[Arriving[None]]:
        for batch in batches:
            rows = check_examples(batch, info)
            spatial: Tensor | None = None
            if isinstance(extractor, SpatialExtractor):
                features, classes, spatial = extractor.with_spatial(rows, info)
            else:
                features, classes = extractor(rows, info)
            found = zip(kept, (features, classes, spatial), strict=True)
            yield added([(own, part) for own, part in found if part is not None])

    for _ in one_behind(begun()):
        pass
    return [own.rows for own in kept]


def added(parts: Sequence[tuple[Growing, Tensor]]) -> Arriving[None]:
    """Begin to bring rows to the host, where they are added to those before."""

    def add(*rows: Tensor) -> None:
        for (own, _), part in zip(parts, rows, strict=True):
            own.add(part)

    return arriving(add, *(part for _, part in parts))


def extract(batches: Iterable[Tensor], extractor: Extractor, info: DataInfo, what: str) -> Extracted:
    """Run the extractor once over a stream of batches, and put together what every process's gave.

    Args:
        batches: integer levels (n, C, H, W), or points (n, D): this process's share.
        what: "generated", for messages.

    Returns:
        in the first process; no rows in the others.

    Raises:
        UsageError: where a batch or its features are unfit, or there are none at all.
    """
    every = rows_to_first(lambda: passed(batches, extractor, info))
    if not world().first:
        return Extracted(torch.empty(0, 0), None, None)
    values, *others = every
    if values is None:
        raise UsageError(f"no {what} examples", "expected: at least 1")
    for found, name in zip(every, ("features", "logits", "spatial features"), strict=True):
        if found is not None:
            check_features(found, f"{what} {name}", need=1)
    return Extracted(values, *others)


class Growing:
    """Rows that are put together, in one tensor that is doubled as it fills.

    A list of small tensors, each made after the large ones of its batch, keeps the allocator from using the
    memory of those again: it then grows by a batch each time.
    """

    def __init__(self) -> None:
        self._kept: Tensor | None = None
        self._count = 0

    def add(self, part: Tensor) -> None:
        """Add rows (n, ...) on the CPU, of the same shape and dtype as those before."""
        count = self._count + len(part)
        if self._kept is None or count > len(self._kept):
            larger = part.new_empty(max(count, 2 * self._count), *part.shape[1:])
            if self._kept is not None:
                larger[: self._count] = self._kept[: self._count]
            self._kept = larger
        self._kept[self._count : count] = part
        self._count = count

    @property
    def rows(self) -> Tensor | None:
        """All rows; None where none were added."""
        return None if self._kept is None else self._kept[: self._count]


def in_batches(split: Table, size: int) -> Iterator[Tensor]:
    """Yield this process's share of a split in order, `size` rows at a time; all of it where it is alone."""
    own = share(len(split), world())
    for index in torch.arange(own.start, own.stop).split(size):
        if len(index):
            yield split.examples(index)
