"""The losses that a result shows, beside those of the segments that were executed again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo_audit.trace import Trace
from zoo_core.config import RunConfig, strict_json
from zoo_core.errors import ZooError
from zoo_core.results import Result
from zoo_core.results.attachments import read_attachment
from zoo_core.training.harness import is_logged

CURVES = "curves"
"""Name of the attachment."""
CLOCKED = ("steps_per_second",)
"""Series that no two equal trainings have in common."""
TOLERANCE = 1e-9
"""Relative, of a loss of the same bits: a curve is text."""


@dataclass(frozen=True)
class Curves:
    """Points that a result shows: series -> step -> value."""

    series: Mapping[str, Mapping[int, float]]

    def compared(self, logged: Mapping[int, Mapping[str, float]]) -> tuple[int, list[str]]:
        """Return how many points were compared with logged ones, and a line for each that differs."""
        count, wrong = 0, []
        for step, values in logged.items():
            for name, value in values.items():
                claimed = self.series.get(name, {}).get(step)
                if claimed is None or name in CLOCKED:
                    continue
                count += 1
                if not math.isclose(claimed, value, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                    wrong.append(f"curve {name} at step {step}: {claimed:.6g} claimed, {value:.6g} again")
        return count, wrong


def curves_of(result: Result, folder: Path) -> Curves | None:
    """Return the curves that a result is attached to; None where it names none, or the file is not there."""
    attachment = result.attachments.get(CURVES)
    content = None if attachment is None else read_attachment(folder, attachment)
    if content is None:
        return None
    try:
        strict_json.check_keys(content)
        plain = json.loads(content)
        return Curves({name: {int(step): float(v) for step, v in points} for name, points in plain.items()})
    except (ZooError, AttributeError, TypeError, ValueError):
        return Curves({})


def whole_records(
    logged: Mapping[int, Mapping[str, float]], start: int, config: RunConfig, trace: Trace
) -> dict[int, Mapping[str, float]]:
    """Return the records of a segment that are means over the same steps as those of the run.

    A record is a mean since the one before. The first one of a segment that starts between two records lacks
    some of its steps; the first one after an interruption lacks them in the run.
    """
    steps, every = sorted(logged), config.train.log_every
    cut = [step for step in (start, *trace.resumed) if step and not is_logged(step, every)]
    left_out = {next((step for step in steps if step > place), None) for place in cut}
    return {step: logged[step] for step in steps if step not in left_out}
