"""Features of pictures: one pass of the extractor over each set, and the checks that precede any metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.data.loading import Split
from zoo_core.errors import UsageError
from zoo_core.interfaces import Extractor
from zoo_core.types import DataInfo
from zoo_eval.protocol import Protocol

LARGEST = 1e30
"""Of a feature's magnitude: beyond it a product of two covariances may overflow float64."""


@dataclass(frozen=True)
class Features:
    """A set of pictures as the metrics see it.

    Attributes:
        values: (n, d) float64, finite, on the CPU.
        logits: (n, K) float64, or None where the extractor is no classifier.
        protocol: the settings that metrics read.
    """

    values: Tensor
    logits: Tensor | None
    protocol: Protocol

    def __len__(self) -> int:
        return len(self.values)

    def column(self, short: str) -> str:
        """Return the column's name: "FD" is printed `FID` for Inception only, else e.g. `FD[digits]`."""
        if self.protocol.extractor == "inception":
            return {"FD": "FID", "KD": "KID"}.get(short, short)
        return f"{short}[{self.protocol.extractor}]"


def check_examples(rows: Tensor, info: DataInfo) -> Tensor:
    """Return the same rows where they are what an extractor may see.

    Raises:
        UsageError: for a float picture, a level outside [0, L), a point that is not finite, another shape.
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
            f"pictures of {rows.dtype}",
            f"expected: integer levels, 0 to {info.levels - 1}; see data.quantise",
        )
    # int32: in uint8 itself, a comparison with 256 is one with 0
    outside = ((rows.int() < 0) | (rows.int() >= info.levels)).flatten(1).any(1)
    if bool(outside.any()):
        raise UsageError(
            f"{int(outside.sum())} of {len(rows)} pictures hold levels out of range, "
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
    """Return features as float64 on the CPU, once they are fit for a metric.

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
    return values.detach().double().cpu()


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
def extract(
    batches: Iterable[Tensor], extractor: Extractor, info: DataInfo, what: str
) -> tuple[Tensor, Tensor | None]:
    """Run the extractor once over a stream of batches.

    Args:
        batches: integer levels (n, C, H, W), or points (n, D).
        what: "generated", for messages.

    Returns:
        features (N, d) float32 and logits (N, K) float32 or None, on the CPU.

    Raises:
        UsageError: where a batch or its features are unfit.
    """
    features: list[Tensor] = []
    logits: list[Tensor] = []
    for batch in batches:
        found, classes = extractor(check_examples(batch, info), info)
        features.append(found.cpu())
        if classes is not None:
            logits.append(classes.cpu())
    if not features:
        raise UsageError(f"no {what} examples", "expected: at least 1")
    every = torch.cat(features)
    check_features(every, f"{what} features", need=1)
    if not logits:
        return every, None
    every_logit = torch.cat(logits)
    check_features(every_logit, f"{what} logits", need=1)
    return every, every_logit


def in_batches(split: Split, size: int) -> Iterator[Tensor]:
    """Yield a split's rows in order, all of them, `size` at a time."""
    for index in torch.arange(len(split)).split(size):
        yield split.rows(index)
