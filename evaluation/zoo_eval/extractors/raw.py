"""No network at all: values as they are. For points of the plane, and for images that no network fits."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_core.config import EvalConfig
from zoo_core.data.loading import to_unit
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo

LARGEST = 4096
"""Values in an example: beyond it a covariance of raw pixels is of no use and takes too long."""


class Raw:
    """Flattened values, images in [-1, 1], as an `interfaces.Extractor`; `dim` 0 means the data's own."""

    name = "raw"
    sha256 = "none"
    dim = 0

    def __call__(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor | None]:
        """Return (values (n, D) float32, None) of levels or points.

        Raises:
            UsageError: where D is beyond `LARGEST`.
        """
        if info.dims > LARGEST:
            raise UsageError(
                f"eval.extractor=raw on {info.dims:,} values an example",
                f"expected: at most {LARGEST:,}",
                "next: eval.extractor=inception, or a smaller data.size",
            )
        x = levels.float() if info.levels is None else to_unit(levels, info.levels)
        return x.flatten(1), None


def raw(config: EvalConfig, device: torch.device | str) -> Raw:
    """Return the extractor that extracts nothing."""
    return Raw()
