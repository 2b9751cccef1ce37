"""Metrics that trials can be selected by: those whose reference can be the validation part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zoo_core.errors import UsageError, guess
from zoo_core.registry.metrics import base_name
from zoo_core.results import Result


@dataclass(frozen=True)
class Metric:
    """A metric on the validation part.

    Attributes:
        name: as it is asked for: "FD", which is called FID with Inception features.
        entry: registered metric that computes it.
        better: "lower" or "higher".
        suffix: of the column whose reference is the test split: " to test".
    """

    name: str
    entry: str
    better: str
    suffix: str = ""

    def of(self, result: Result) -> tuple[str, float]:
        """Return the column's name without its suffix ("FD[digits]"), and its value.

        Raises:
            UsageError: where the result has no such column.
        """
        names = {f"{name}{self.suffix}" for name in (self.name, self.name.replace("FD", "FID"))}
        for column, one in result.metrics.items():
            if base_name(column) in names:
                return column.replace(self.suffix, "", 1), one.value
        why = [f"{name}: {one.reason}" for name, one in result.not_applicable.items()]
        raise UsageError(f"the trial has no {self.name} on validation", *why[:4], "next: another --metric")

    def loss(self, value: float) -> float:
        """Return a number of which lower is better."""
        return value if self.better == "lower" else -value


METRICS: Mapping[str, Metric] = {
    one.name: one
    for one in (
        Metric("FD", "frechet-test", "lower", " to test"),
        Metric("bits_per_dim", "likelihood", "lower"),
        Metric("nats", "likelihood", "higher"),
        Metric("L1", "translation", "lower"),
        Metric("LPIPS", "translation", "lower"),
        Metric("PSNR", "translation", "higher"),
        Metric("SSIM", "translation", "higher"),
    )
}
"""By name. Metrics that compare with the training split, such as precision, can't select."""


def metric_of(name: str) -> Metric:
    """Return a metric by its name.

    Raises:
        UsageError: for a name that is none, with the nearest one.
    """
    if name not in METRICS:
        raise UsageError(
            f"trials can't be selected by {name!r}",
            guess(name, METRICS, "--metric {}"),
            f"expected: {', '.join(METRICS)}",
        )
    return METRICS[name]
