"""What follows from a result's numbers: derived here, never read from a file."""

from __future__ import annotations

from zoo_core.registry.metrics import base_name
from zoo_core.results import Result

EXCESS = 0.1
"""Excess fraction of close samples above which memorization is reported."""


def memorization(result: Result) -> float | None:
    """Return the largest excess fraction of close samples in any space; None where it was not computed."""
    found = [v.value for column, v in result.metrics.items() if base_name(column) == "memorization"]
    return max(found, default=None)


def memorizes(result: Result) -> bool | None:
    """Return whether memorization was detected; None where it was not computed."""
    excess = memorization(result)
    return None if excess is None else excess > EXCESS


def memorization_text(result: Result) -> str:
    """Return the verdict in words."""
    excess = memorization(result)
    if excess is None:
        why = result.not_applicable.get("memorization")
        return f"not checked: {why.reason}" if why else "not checked"
    found = "DETECTED" if excess > EXCESS else "not detected"
    return f"{found}: {excess:+.1%} of samples are close to the training split beyond the expected fraction"
