"""Checks of a metric, on real features: those that scoring a run computes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from zoo_core.errors import ZooError
from zoo_core.home import OURS
from zoo_core.registry.manager import Entry, load_entry, manager
from zoo_core.registry.metrics import base_name
from zoo_core.registry.resolution import resolve
from zoo_core.registry.spec import MetricSpec
from zoo_core.results import NotApplicable as NoValue
from zoo_core.results import Value
from zoo_core.runs.job import run
from zoo_core.seeds import generator
from zoo_core.testing.results import Failed, NotApplicable

_caught: list[Any] = []


def catch(ctx: Any) -> dict[str, Any]:
    """A metric without columns that keeps its context."""
    _caught.append(ctx)
    return {}


@cache
def scored_context() -> Any:
    """Return the context that metrics get when `gaussian` is scored on the digits.

    Raises:
        NotApplicable: where nothing that is installed scores runs.
    """
    here = manager()
    spec = MetricSpec(
        "kit-catch", "zoo_core.testing.metrics:catch", ("samples",), summary="for the kit alone"
    )
    with here.brought("metric", Entry(spec, OURS)), tempfile.TemporaryDirectory() as folder:
        fixed = ["device=cpu", "track.wandb=off", "track.plots=false", "track.progress=false"]
        config = resolve(
            ["plugin=gaussian", "data=digits", "eval.baselines=false", f"run_dir={folder}/run", *fixed]
        )
        run(config)
    if not _caught:
        raise NotApplicable("nothing that is installed scores runs")
    return _caught.pop()


class Changed:
    """A context with other features, and so with none of the other's intermediate results."""

    def __init__(self, ctx: Any, **features: Any) -> None:
        self._ctx = ctx
        self._computed: dict[str, Any] = {}
        vars(self).update(features)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return what was computed under this name in this context, or compute it."""
        if name not in self._computed:
            self._computed[name] = compute()
        return self._computed[name]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)


class MetricSubject:
    """A registered metric on the features of the digits."""

    kind = "metric"
    case = "digits"

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    @cached_property
    def function(self) -> Any:
        return load_entry("metric", self.entry)

    def columns(self, ctx: Any) -> Mapping[str, Any]:
        """Return its columns; raise where its needs are not met here, or where it returns no mapping."""
        why = ctx.missing(self.entry.spec.needs)
        if why:
            raise NotApplicable(f"the metric does not apply to gaussian on the digits: {why}")
        found = self.function(ctx)
        if not isinstance(found, Mapping):
            raise Failed(f"it returned {type(found).__name__}", "return {column: Value(value=number)}")
        return found


def subjects(entry: Entry, data: tuple[str, ...] = ()) -> Iterator[MetricSubject]:
    """Yield the metric."""
    yield MetricSubject(entry)


def _rows(features: Any, change: Any) -> Any:
    """Return features with every tensor of theirs that has a row per image changed by a function."""
    if not is_dataclass(features) or isinstance(features, type):
        raise NotApplicable("features are not a dataclass here")
    n = len(features.values)  # type: ignore[attr-defined]
    made = {
        field.name: change(value)
        for field in fields(features)
        if isinstance(value := getattr(features, field.name), Tensor) and len(value) == n
    }
    return replace(features, **made)


def columns_are_values(subject: MetricSubject) -> None:
    """Each column is declared, and is a `Value`, or a `NotApplicable` that says why there is none."""
    for column, one in subject.columns(scored_context()).items():
        if not isinstance(one, Value | NoValue):
            raise Failed(f"column {column!r} is {one!r}"[:150], "return {column: Value(value=number)}")
        if base_name(column) not in subject.entry.spec.directions:
            raise Failed(f"column {column!r} is not declared", "add its base name to MetricSpec.columns")


def it_says_which_way_is_better(subject: MetricSubject) -> None:
    """Each direction is lower, higher, or empty for a metric that is shown and never ranked."""
    for base, better in subject.entry.spec.directions.items():
        if better not in ("lower", "higher", ""):
            raise Failed(f"better={better!r} of {base!r}", "expected: 'lower', 'higher' or ''")


def it_is_repeatable_and_touches_nothing(subject: MetricSubject) -> None:
    """The same context gives the same values; features and torch's generator are left as they were."""
    ctx = scored_context()
    kept = ctx.train.values.clone(), ctx.generated.values.clone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = subject.columns(ctx)
        moved = not torch.equal(before, torch.get_rng_state())
        torch.manual_seed(2)
        second = subject.columns(ctx)
    if not (torch.equal(kept[0], ctx.train.values) and torch.equal(kept[1], ctx.generated.values)):
        raise Failed("it changed the features that it was given", "copy before you change")
    if first != second:
        raise Failed("the same features gave other values", "draw from zoo_core.seeds.generator(0, name)")
    if moved:
        raise Failed("it drew from torch's own generator", "draw from zoo_core.seeds.generator(0, name)")


def real_examples_beat_noise(subject: MetricSubject) -> None:
    """Held-out real features are better than noise that lies some standard deviations away from them."""
    ctx = scored_context()
    if not {"features", "reference"} <= set(subject.entry.spec.needs):
        raise NotApplicable("it does not compare features")
    real = ctx.train
    half, held = _rows(real, lambda t: t[::2]), _rows(real, lambda t: t[1::2])
    std, mean = torch.std_mean(real.values, 0)

    def noisy(t: Tensor) -> Tensor:
        drawn = torch.randn(t.shape, generator=generator(0, "noise"), dtype=torch.float64)
        return (2 * drawn * std + mean + 3 * std).to(t) if t.shape[1:] == std.shape else drawn.to(t)

    noise = _rows(held, noisy)
    try:
        good, bad = (subject.columns(Changed(ctx, train=half, generated=fake)) for fake in (held, noise))
    except ZooError as error:
        raise NotApplicable(f"it needs more than {len(held.values)} examples a side: {error.what}") from error
    differs = False
    for column in good.keys() & bad.keys():
        one, other = good[column], bad[column]
        if not isinstance(one, Value) or not isinstance(other, Value):
            continue
        better = subject.entry.spec.directions.get(base_name(column), "")
        gain = one.value - other.value
        differs |= bool(better) and gain != 0
        if (gain > 0 and better == "lower") or (gain < 0 and better == "higher"):
            raise Failed(
                f"{column}: real examples {one.value:.4g}, noise {other.value:.4g}, and {better} is better",
                "look at the direction in MetricSpec, and at which features are real",
            )
    if not differs:
        raise NotApplicable("it ranks nothing here, or does not tell the two apart")


CHECKS = (
    it_says_which_way_is_better,
    columns_are_values,
    it_is_repeatable_and_touches_nothing,
    real_examples_beat_noise,
)
