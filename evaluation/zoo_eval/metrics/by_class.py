"""The Frechet distance class by class: of what was asked for to the training examples of the same class.

A model that draws every class well, and each where it was not asked for, has a good distance and bad ones by
class. A class has few examples, and the distance is biased by c (1/n + 1/m): beside the distance of all it
looks large, and it is compared between models of equal numbers only. It is shown and never ranked.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo_eval.features import Features
from zoo_eval.metrics.frechet import check_pair, distance, moments

LEAST = 2
"""Examples of a class, real and generated, that a covariance takes."""


def class_distances(
    real: Features, real_label: Tensor | None, fake: Features, asked: Tensor | None
) -> dict[str, dict[str, Any]]:
    """Return the column `FD[extractor] by class`: the mean over classes, and each class's own.

    Nothing where samples were not asked for by class. A class with fewer than two examples is left out.

    Args:
        real, fake: features of the training split and of the samples.
        real_label: classes of the training split, (n,).
        asked: classes that the samples were asked for, (m,).
    """
    if real_label is None or asked is None:
        return {}
    one, two = check_pair(real.values, fake.values)
    label, asked = real_label.cpu(), asked.cpu()
    found: dict[str, float] = {}
    counts: list[int] = []
    for k in label.unique().tolist():
        rows, drawn = one[label == k], two[asked == k]
        if min(len(rows), len(drawn)) < LEAST:
            continue
        found[str(k)] = distance(moments(rows), moments(drawn))
        counts.append(min(len(rows), len(drawn)))
    if not found:
        return {}
    value = float(torch.tensor(list(found.values()), dtype=torch.float64).mean())
    n, d = min(counts), two.shape[1]
    note = f"mean of {len(found)} classes of at least {n:,} examples, biased upwards for so few"
    if n <= d:
        note += f"; {d:,} features have a singular covariance"
    return {
        f"{fake.column('FD')} by class": {
            "value": value,
            "better": "",
            "classes": found,
            "n": n,
            "note": note,
        }
    }
