"""What a search prints: its space, its trials, its winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo_core.results import Result
from zoo_core.results.result import Value
from zoo_tune.space import Space, as_plain
from zoo_tune.trials import Record, Trial

SPACE_HEAD = ("option", "searched", "default")
TRIALS_HEAD = ("trial", "state", "steps", "seconds", "score", "options")


def space_rows(space: Space, defaults: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for each option that is searched."""
    return [[key, text, _short(defaults.get(key))] for key, text in as_plain(space).items()]


def trial_rows(record: Record, winner: Trial | None) -> list[list[str]]:
    """Return a row for each trial, best first: those that got furthest, then by their last score."""
    ranked = sorted(record.trials, key=_place)
    return [
        [
            f"{trial.number + 1}{' *' if trial is winner else ''}",
            trial.state,
            f"{trial.steps_done:,}",
            f"{trial.seconds:.1f}",
            f"{trial.scores[-1].value:.4g}" if trial.scores else "",
            trial.reason or options_text(trial.options),
        ]
        for trial in ranked
    ]


def _place(trial: Trial) -> tuple[bool, int, float]:
    loss = trial.scores[-1].loss if trial.scores else 0.0
    return trial.state in ("failed", "memorizes"), -len(trial.scores), loss


def options_text(options: Mapping[str, Any]) -> str:
    """Return options as they are typed."""
    return " ".join(f"{key}={_short(value)}" for key, value in sorted(options.items()))


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def summary(record: Record, winner: Trial) -> list[str]:
    """Return what became of the trials, and which is the best."""
    states: dict[str, int] = {}
    for trial in record.trials:
        states[trial.state] = states.get(trial.state, 0) + 1
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    return [
        f"{len(record.trials)} trials ({told}), {record.seconds:,.1f} s of training and scoring",
        f"selected: trial {winner.number + 1}, best of {len(record.trials)} by {record.metric} on "
        f"validation: {winner.scores[-1].value:.4g}",
        f"options: {options_text(winner.options)}",
    ]


def result_lines(results: Sequence[Result], column: str) -> list[str]:
    """Return a line for each run of the winner: its score by the ordinary protocol."""
    lines = []
    for result in results:
        value: Value | None = result.metrics.get(column)
        score = "" if value is None else f"{column} {value.value:.4g}, "
        lines.append(
            f"seed {result.seed}: {score}protocol {result.protocol.name}, trained on the whole split"
        )
    return lines
