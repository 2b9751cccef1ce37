"""Needs that metrics declare, and why a source can't meet one."""

from __future__ import annotations

from collections.abc import Iterable

from zoo_core.data.loading import Dataset

OF_IMAGES = frozenset({"features", "reference", "samples", "labels"})
"""Needs of metrics that compare images or points, and not captions."""


def unmet(needs: Iterable[str], data: Dataset, *, labeled: bool, model: bool) -> str:
    """Return why a metric with these needs can't be computed; "" where it can.

    Args:
        needs: as `MetricSpec.needs`.
        data: that the samples are compared with.
        labeled: whether the samples were asked for by class.
        model: whether the model is there, and not its samples alone.
    """
    needs = tuple(needs)
    written = data.described is not None
    if written and "captions" not in needs and OF_IMAGES & set(needs):
        return "the examples are captions"
    reasons = {
        "captions": "" if written else "the examples are not captions",
        "labels": "the samples were not asked for by class"
        if not labeled
        else "the training data have no labels"
        if data.train.label is None
        else "",
        "model": "" if model else "needs the model; these are samples alone",
        "density": "" if data.density is not None else "the density of the data is unknown",
        "source": "" if data.origin is not None else "the task is not a translation",
    }
    return next((reasons[need] for need in needs if reasons.get(need)), "")
