"""Scores of restored images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.results import Value
from zoo_eval.extractors.effnet import EffNetLite0
from zoo_eval.metrics.translation import BATCH, pair_scores
from zoo_restore.operator import Operator

COLUMNS = ("PSNR", "SSIM", "feature distance", "consistency", "diversity")
"""Scores in the order of the table: PSNR in dB and SSIM, higher is better; feature distance, lower is better;
root mean square of A(restored) - y and of the spread over draws, in units of the range of an image."""


def unit(x: Tensor) -> Tensor:
    """Return images in [-1, 1] as float32 images in [0, 1], clamped."""
    return x.float().cpu().clamp(-1, 1).add(1).div(2)


def scores(
    draws: Sequence[Tensor], y: Tensor, operator: Operator, target: Tensor | None, network: EffNetLite0 | None
) -> dict[str, float | None]:
    """Return the scores of restorations; None where one does not apply.

    Args:
        draws: restorations of the same measurements, each (n, *shape); all but `diversity` are of the first.
        y: the measurements.
        operator: A.
        target: the original images; None where they are not known.
        network: for the feature distance.
    """
    found: dict[str, float | None] = dict.fromkeys(COLUMNS)
    first = draws[0].clamp(-1, 1)
    off = operator(first.to(y)) - y
    found["consistency"] = float(off.double().square().mean().sqrt()) / 2
    if len(draws) > 1:
        variance = torch.stack([unit(draw) for draw in draws]).double().var(0)
        found["diversity"] = float(variance.mean().sqrt())
    if target is None:
        return found
    made, goal = unit(first), unit(target)
    pairs = pair_scores(made, goal, "x")
    for name in ("PSNR", "SSIM"):
        value = pairs[f"{name}[x]"]
        found[name] = value.value if isinstance(value, Value) else None
    if network is not None:
        with torch.no_grad():
            apart = [network.apart(a, b) for a, b in zip(made.split(BATCH), goal.split(BATCH), strict=True)]
        found["feature distance"] = float(torch.cat(apart).mean())
    return found
