"""Ranges outside which a metric has no meaning: a file that reports such a value is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from zoo_core.registry.metrics import base_name
from zoo_core.results import Result

ROUNDING = 1e-6
"""Absolute, by which a computed value may lie outside its range."""

_NAMES: Mapping[tuple[float, float], tuple[str, ...]] = {
    (0.0, math.inf): (
        "FD", "FID", "FD-full", "FID-full", "sFD", "sFID", "FD to test", "FID to test",
        "FD to train part", "FID to train part", "FD by class", "FID by class", "FD to source",
        "FID to source", "reconstruction FD", "reconstruction FID", "SW", "L1", "LPIPS", "effnet distance",
        "noise floor", "bits_per_dim", "bits_per_token", "sample bits", "density", "modes",
        "log-likelihood error", "score error", "KL", "active",
    ),
    (0.0, 1.0): (
        "precision", "recall", "coverage", "clipped-density", "clipped-coverage", "accuracy", "authenticity",
        "balance", "on-modes", "cycle", "implausible", "retrieval", "captioning", "neighbor captioning",
        "copied captions",
    ),
    (1.0, math.inf): (
        "IS", "vendi", "caption rank", "new caption rank", "captioning rank", "neighbor captioning rank",
    ),
    (-1.0, 1.0): ("SSIM", "memorization"),
    (-1.0, math.inf): ("KL from truth",),
}  # fmt: skip
LIMITS = {name: ends for ends, names in _NAMES.items() for name in names}
"""Smallest and largest value by base name.

KD, KID, MMD, FD-inf, FLD, C_T, the generalization gap and nats may be negative, and so may the estimate of a
KL near 0.
"""


@lru_cache(maxsize=4096)
def limits(column: str) -> tuple[float, float]:
    """Return the smallest and the largest value that a column can have."""
    return LIMITS.get(base_name(column), (-math.inf, math.inf))


def problem(result: Result) -> str | None:
    """Return which value of a result is impossible, in one sentence; None where none is."""
    for column, cell in result.metrics.items():
        least, most = limits(column)
        if not least - ROUNDING <= cell.value <= most + ROUNDING:
            return f"{column}: {cell.value:g} is impossible; expected {_range(least, most)}"
    return None


def _range(least: float, most: float) -> str:
    return f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
