"""Metrics that trials can be selected by: those whose reference can be the validation part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zoo_core.errors import UsageError, not_found
from zoo_core.registry.metrics import base_name
from zoo_core.results import Result


@dataclass(frozen=True)
class Metric:
    """A metric on the validation part.

    Attributes:
        name: as it is asked for, and as the column is called: "FD".
        entry: registered metric that computes it.
        column: base name of the column that it returns, whose reference is the test split.
        better: "lower" or "higher".
    """

    name: str
    entry: str
    column: str
    better: str

    def of(self, result: Result) -> tuple[str, float]:
        """Return the column's name with the metric's own ("FD[digits]"), and its value.

        Raises:
            UsageError: where the result has no such column.
        """
        for column, one in result.metrics.items():
            if base_name(column) == self.column:
                return column.replace(self.column, self.name, 1), one.value
        why = [f"{name}: {one.reason}" for name, one in result.not_applicable.items()]
        raise UsageError(f"the trial has no {self.name} on validation", *why[:4], "next: another --metric")

    def loss(self, value: float) -> float:
        """Return a number of which lower is better."""
        return value if self.better == "lower" else -value


METRICS: Mapping[str, Metric] = {
    one.name: one
    for one in (
        Metric("FD", "frechet-test", "FD to test", "lower"),
        Metric("FID", "frechet-test", "FID to test", "lower"),
        Metric("bits_per_dim", "likelihood", "bits_per_dim", "lower"),
        Metric("nats", "likelihood", "nats", "higher"),
        Metric("L1", "translation", "L1", "lower"),
        Metric("LPIPS", "translation", "LPIPS", "lower"),
        Metric("PSNR", "translation", "PSNR", "higher"),
        Metric("SSIM", "translation", "SSIM", "higher"),
    )
}
"""By name. Metrics that compare with the training split, such as precision, can't select."""


def metric_of(name: str) -> Metric:
    """Return a metric by its name.

    Raises:
        NotFoundError: for a name that is none, with the nearest one.
    """
    if name not in METRICS:
        raise not_found("metric", name, METRICS, say="--metric {}")
    return METRICS[name]
