"""Checks of a metric, on real features: those that scoring a run computes."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from zoo_core.errors import ZooError
from zoo_core.job import run
from zoo_core.registry.manager import Entry, load_entry, manager
from zoo_core.registry.spec import MetricSpec
from zoo_core.resolution import resolve
from zoo_core.seeds import generator
from zoo_core.testing.results import Failed, NotApplicable

_caught: list[tuple[Any, Any]] = []


def catch(real: Any, fake: Any) -> dict[str, Any]:
    """A metric without columns that keeps what it is given."""
    _caught.append((real, fake))
    return {}


@cache
def scored_features() -> tuple[Any, Any]:
    """Return the (real, fake) that a metric is called with when `gaussian` is scored on the digits.

    Raises:
        NotApplicable: where nothing that is installed scores runs.
    """
    here = manager()
    spec = MetricSpec("kit-catch", "zoo_core.testing.metrics:catch", "", "for the kit alone")
    with here.brought("metric", Entry(spec, "genzoo")), tempfile.TemporaryDirectory() as folder:
        fixed = ["device=cpu", "track.wandb=off", "track.pictures=false", "track.progress=false"]
        config = resolve(
            ["plugin=gaussian", "data=digits", "eval.baselines=false", f"run_dir={folder}/run", *fixed]
        )
        run(config)
    if not _caught:
        raise NotApplicable("nothing that is installed scores runs")
    return _caught.pop()


class MetricSubject:
    """A registered metric on the features of the digits."""

    kind = "metric"
    case = "digits"

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    @cached_property
    def function(self) -> Any:
        return load_entry("metric", self.entry)

    def columns(self, real: Any, fake: Any) -> Mapping[str, Any]:
        """Return its columns, or raise where they are no mapping."""
        found = self.function(real, fake)
        if not isinstance(found, Mapping):
            raise Failed(f"it returned {type(found).__name__}", "return {column: {'value': number}}")
        return found


def subjects(entry: Entry, data: tuple[str, ...] = ()) -> Iterator[MetricSubject]:
    """Yield the metric."""
    yield MetricSubject(entry)


def _rows(features: Any, change: Any) -> Any:
    """Return features with every tensor of theirs that has a row a picture changed by a function."""
    if not is_dataclass(features) or isinstance(features, type):
        raise NotApplicable("features are no dataclass here")
    n = len(features.values)  # type: ignore[attr-defined]
    made = {
        field.name: change(value)
        for field in fields(features)
        if isinstance(value := getattr(features, field.name), Tensor) and len(value) == n
    }
    return replace(features, **made)


def columns_are_numbers(subject: MetricSubject) -> None:
    """Each column is a mapping with a finite `value`, ready for JSON, or says why there is none."""
    for column, cell in subject.columns(*scored_features()).items():
        if isinstance(cell, str):  # why there is no figure
            continue
        if not isinstance(cell, Mapping) or not isinstance(cell.get("value"), int | float):
            raise Failed(f"column {column!r} is {cell!r}"[:150], "return {column: {'value': float}}")
        if not math.isfinite(cell["value"]):
            raise Failed(f"{column} is {cell['value']}", "leave the column out where there is no figure")
        try:
            json.dumps(cell, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise Failed(f"column {column!r} is not JSON: {error}", "return Python's own numbers") from error


def it_says_which_way_is_better(subject: MetricSubject) -> None:
    """`better` is lower, higher, or empty for a figure that is shown and never ranked."""
    if subject.entry.spec.better not in ("lower", "higher", ""):
        raise Failed(f"better={subject.entry.spec.better!r}", "expected: 'lower', 'higher' or ''")


def it_is_repeatable_and_touches_nothing(subject: MetricSubject) -> None:
    """The same features give the same figures; features and torch's generator are left as they were."""
    real, fake = scored_features()
    kept = real.values.clone(), fake.values.clone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = subject.columns(real, fake)
        moved = not torch.equal(before, torch.get_rng_state())
        torch.manual_seed(2)
        second = subject.columns(real, fake)
    if not (torch.equal(kept[0], real.values) and torch.equal(kept[1], fake.values)):
        raise Failed("it changed the features that it was given", "copy before you change")
    if first != second:
        raise Failed("the same features gave other figures", "draw from zoo_core.seeds.generator(0, name)")
    if moved:
        raise Failed("it drew from torch's own generator", "draw from zoo_core.seeds.generator(0, name)")


def real_pictures_beat_noise(subject: MetricSubject) -> None:
    """Held-out real features are better than noise that lies some standard deviations away from them."""
    real, _ = scored_features()
    half, held = _rows(real, lambda t: t[::2]), _rows(real, lambda t: t[1::2])
    std, mean = torch.std_mean(real.values, 0)

    def noisy(t: Tensor) -> Tensor:
        drawn = torch.randn(t.shape, generator=generator(0, "noise"), dtype=torch.float64)
        return (2 * drawn * std + mean + 3 * std).to(t) if t.shape[1:] == std.shape else drawn.to(t)

    noise = _rows(held, noisy)
    try:
        good, bad = subject.columns(half, held), subject.columns(half, noise)
    except ZooError as error:
        raise NotApplicable(f"it needs more than {len(held.values)} pictures a side: {error.what}") from error
    told = False
    for column in good.keys() & bad.keys():
        if isinstance(good[column], str) or isinstance(bad[column], str):
            continue
        better = good[column].get("better", subject.entry.spec.better)
        gain = good[column]["value"] - bad[column]["value"]
        told |= bool(better) and gain != 0
        if (gain > 0 and better == "lower") or (gain < 0 and better == "higher"):
            raise Failed(
                f"{column}: real pictures {good[column]['value']:.4g}, noise {bad[column]['value']:.4g}, "
                f"and {better} is better",
                "look at the direction in MetricSpec.better, and at which argument is real",
            )
    if not told:
        raise NotApplicable("it ranks nothing here, or does not tell the two apart")


CHECKS = (
    it_says_which_way_is_better,
    columns_are_numbers,
    it_is_repeatable_and_touches_nothing,
    real_pictures_beat_noise,
)
