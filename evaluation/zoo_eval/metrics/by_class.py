"""Frechet distance class by class: of samples that were asked for by class to training examples of the class.

A model that draws every class well, but not where it was asked for, has a good distance and bad ones by
class. A class has few examples, and the distance is biased by c (1/n + 1/m): it is larger than the distance
of all samples, and is compared between models of equal numbers only. It is shown and never ranked.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor

from zoo_core.interfaces import EvalContext
from zoo_core.results import NotApplicable, Value
from zoo_eval.metrics.frechet import check_pair, distance, moments, pair_on_device

LEAST = 2
"""Examples of a class, real and generated, that a covariance takes."""


def class_distances(
    real: Tensor, real_label: Tensor, fake: Tensor, asked: Tensor
) -> tuple[dict[int, float], int]:
    """Return the distance of each class, and the fewest examples of any; {} and 0 where no class has enough.

    A class with fewer than two examples is left out.

    Args:
        real, fake: (n, d) and (m, d) features of the training split and of the samples.
        real_label: classes of the training split, (n,).
        asked: classes that the samples were asked for, (m,).
    """
    one, two = check_pair(real, fake)
    label, asked = real_label.cpu(), asked.cpu()
    found: dict[int, float] = {}
    counts: list[int] = []
    for k in label.unique().tolist():
        rows, drawn = one[label == k], two[asked == k]
        if min(len(rows), len(drawn)) < LEAST:
            continue
        found[k] = distance(moments(rows), moments(drawn))
        counts.append(min(len(rows), len(drawn)))
    return found, min(counts, default=0)


# -- as a registered metric


def by_class(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return `FD by class[extractor]`: the mean over classes; each class's own is attached as `by-class`."""
    column = ctx.column("FD by class")
    assert ctx.label is not None
    real, fake = pair_on_device(ctx, ctx.train.main, ctx.generated.main)
    found, n = class_distances(real, ctx.data.train.label, fake, ctx.label)
    if not found:
        return {column: NotApplicable(reason=f"no class has {LEAST} samples and {LEAST} training examples")}
    ctx.attach("by-class", json.dumps({str(k): value for k, value in found.items()}).encode(), "json")
    value = float(torch.tensor(list(found.values()), dtype=torch.float64).mean())
    d = fake.shape[1]
    worst = max(found, key=found.__getitem__)
    note = (
        f"mean of {len(found)} classes of at least {n:,} examples; highest: class {worst}, {found[worst]:.4g}"
    )
    if n <= d:
        note += f"; {d:,} features have a singular covariance"
    return {column: Value(value=value, n=n, note=note)}
