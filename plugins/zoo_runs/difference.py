"""Two runs compared: options that differ, and scores with the significance of their difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo_core.registry.resolution import deciding
from zoo_core.results import Result
from zoo_eval.leaderboard.facts import BASELINE, Column, installed
from zoo_eval.statistics.ranking import LEVEL, rank
from zoo_runs.records import RunRecord, same_configuration

LOCAL = ("run_dir", "track", "device")
"""Options that say where a run was made; their differences are left out."""
ABSENT = "(none)"
"""Value of an option that a run does not have."""


@dataclass(frozen=True)
class OptionDifference:
    """An option with different values in runs.

    Attributes:
        name: dotted.
        values: one per run, as text.
        decides: whether the option decides the trained model and its samples.
    """

    name: str
    values: tuple[str, ...]
    decides: bool


def option_differences(options: Sequence[Mapping[str, Any]]) -> list[OptionDifference]:
    """Return the options whose values differ, those that decide the model first."""
    names = dict.fromkeys(name for one in options for name in one)
    decides = {name for one in options for name in deciding(one)} | {"seed"}
    found = []
    for name in names:
        if any(name == local or name.startswith(f"{local}.") for local in LOCAL):
            continue
        values = tuple(str(one.get(name, ABSENT)) for one in options)
        if len(set(values)) > 1:
            found.append(OptionDifference(name, values, name in decides))
    return sorted(found, key=lambda one: not one.decides)


@dataclass(frozen=True)
class ScoreDifference:
    """A column of two results.

    Attributes:
        column: its name.
        values: of the two runs.
        difference: second minus first.
        better: index of the better run; None for a column without a direction, or for equal values.
        verdict: whether the difference is significant, and by which test; or why it was not tested.
    """

    column: str
    values: tuple[float, float]
    difference: float
    better: int | None
    verdict: str


def score_differences(
    first: RunRecord, second: RunRecord, records: list[RunRecord]
) -> tuple[list[ScoreDifference], str]:
    """Return the columns of two runs with their differences, and why there are none ("" where there are).

    Scores are tested as in the leaderboard: by the moderated t-test over the training seeds of both
    configurations among the known runs (`zoo_eval.statistics.ranking`), at a level of 5 % per column. With a
    single seed there is no such test; the intervals over samples are compared instead.
    """
    for record in (first, second):
        if record.result is None:
            return [], f"{record.folder} has no scores; next: zoo eval {record.folder}"
    one, two = first.result, second.result
    assert one is not None
    assert two is not None
    if one.data.sha256 != two.data.sha256:
        return [], f"the runs are of other data: {one.data.name} and {two.data.name}; scores are not compared"
    if one.protocol.hash != two.protocol.hash:
        return [], (
            f"the protocols differ: {one.protocol.name} ({one.protocol.hash}) and "
            f"{two.protocol.name} ({two.protocol.hash}); next: zoo eval with equal eval.* options"
        )
    seeds = [same_configuration(record, records) for record in (first, second)]
    return [_difference(column, one, two, seeds) for column in one.metrics if column in two.metrics], ""


def _difference(column: str, one: Result, two: Result, seeds: Sequence[Sequence[Result]]) -> ScoreDifference:
    values = (one.metrics[column].value, two.metrics[column].value)
    facts = installed().column(column)
    direction, better = "" if facts is None else facts.better, None
    if direction and values[0] != values[1]:
        better = int((values[1] < values[0]) == (direction == "lower"))
    verdict = _verdict(column, facts, one, two, seeds)
    return ScoreDifference(column, values, values[1] - values[0], better, verdict)


def _verdict(
    column: str, facts: Column | None, one: Result, two: Result, seeds: Sequence[Sequence[Result]]
) -> str:
    if facts is None or facts.better not in ("lower", "higher"):
        return "not ranked"
    if (one.plugin, one.config_hash) == (two.plugin, two.config_hash):
        return f"two seeds of one configuration; {_samples(column, one, two)}"
    scores = [[r.metrics[column].value for r in results if column in r.metrics] for results in seeds]
    counts = f"{len(scores[0])} and {len(scores[1])} seeds"
    ranking = rank(
        scores,
        better="lower" if facts.better == "lower" else "higher",
        testable=[one.family != BASELINE, two.family != BASELINE],
        scale=facts.scale,
    )
    reasons = [place.reason for place in ranking.places if place.reason]
    if reasons:
        return f"not tested over seeds ({reasons[0]}; {counts}); {_samples(column, one, two)}"
    p = next(place.p_above for place in ranking.places if place.p_above is not None)
    word = "significant" if ranking.different else "not significant"
    return f"{word} (p = {p:.2g}, level {LEVEL:g}, {counts})"


def _samples(column: str, one: Result, two: Result) -> str:
    found = [result.metrics[column].interval for result in (one, two)]
    ends = [interval for interval in found if interval is not None]
    if len(ends) < 2:
        return "no intervals"
    apart = ends[0].high < ends[1].low or ends[1].high < ends[0].low
    return f"95 % intervals over samples {'do not overlap' if apart else 'overlap'}"


def lines(first: RunRecord, second: RunRecord, records: list[RunRecord]) -> Iterator[str]:
    """Yield the lines that `zoo diff` prints."""
    from zoo_core.cli.listings import table
    from zoo_eval.numbers import number

    yield f"A: {first.name}  {first.folder}"
    yield f"B: {second.name}  {second.folder}"
    yield ""
    options = option_differences([first.options, second.options])
    if options:
        rows = [
            (
                one.name,
                *(value[:40] for value in one.values),
                "" if one.decides else "does not change the model",
            )
            for one in options
        ]
        yield table(rows, ("option", "A", "B", ""))
    else:
        yield "the options are equal"
    yield ""
    scores, reason = score_differences(first, second, records)
    if not scores:
        yield reason or "the results share no column"
        return
    rows = [(s.column, *map(number, s.values), f"{s.difference:+.3g}", _better(s), s.verdict) for s in scores]
    yield table(rows, ("score", "A", "B", "B - A", "better", "difference"))


def _better(score: ScoreDifference) -> str:
    return "" if score.better is None else "AB"[score.better]
