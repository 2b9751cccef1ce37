"""One result of samples that were scored twice under one protocol."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from zoo_core.config import DEFAULT_METRICS
from zoo_core.results.records import MOST
from zoo_core.results.result import Cost, Result

_ODE = ("never", "auto", "always")
"""Values of `eval.ode`, from the fewest columns to the most."""


def merged(kept: Result, new: Result, optional: Collection[str] = ()) -> Result:
    """Return a new result with the columns and attachments of an earlier one of the same samples.

    A column, attachment or cost in both has its new value.

    Args:
        kept: the recorded result.
        new: the result that would replace it.
        optional: names of the metrics that are not computed by default.

    Returns:
        `new` itself where the protocol or the samples differ.
    """
    if (kept.protocol.hash, kept.samples_sha256) != (new.protocol.hash, new.samples_sha256):
        return new
    metrics = {**kept.metrics, **new.metrics}
    absent = {**kept.not_applicable, **new.not_applicable}
    return new.model_copy(
        update={
            "config": _config(kept, new, optional),
            "metrics": metrics,
            "not_applicable": {column: why for column, why in absent.items() if column not in metrics},
            "cost": _cost(kept.cost, new.cost),
            "attachments": {**kept.attachments, **new.attachments},
        }
    )


def _config(kept: Result, new: Result, optional: Collection[str]) -> dict[str, Any]:
    """Return the new options, with the `eval.metrics` and `eval.ode` that give the columns of both."""
    config: dict[str, Any] = dict(new.config)
    both = [kept.config.get("eval.metrics"), new.config.get("eval.metrics")]
    if "eval.metrics" in config:
        each = [some if isinstance(some, list) else [DEFAULT_METRICS] for some in both]
        names = list(dict.fromkeys(name for some in each for name in some))
        if DEFAULT_METRICS in names:
            names = [DEFAULT_METRICS, *(name for name in names if name in optional)]
        config["eval.metrics"] = None if names == [DEFAULT_METRICS] else names[:MOST]
    if kept.config.get("eval.ode") in _ODE and config.get("eval.ode") in _ODE:
        config["eval.ode"] = max(str(kept.config["eval.ode"]), str(config["eval.ode"]), key=_ODE.index)
    return config


def _cost(kept: Cost, new: Cost) -> Cost:
    """Return the new costs, and the earlier ones of what was not measured again."""
    known = {name: value for name, value in new if value is not None}
    each = {
        name: {**getattr(kept, name), **getattr(new, name)}
        for name in ("updates", "metric_seconds", "metric_device")
    }
    return kept.model_copy(update={**known, **each})
