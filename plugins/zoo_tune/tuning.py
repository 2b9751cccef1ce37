"""A whole tuning: from options to a search, its winner, and the winner's runs on fresh seeds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_core.config import RunConfig, flatten
from zoo_core.errors import UsageError
from zoo_core.home import runs_root
from zoo_core.launch.here import run_matrix
from zoo_core.registry.resolution import config_hash, plain, resolve
from zoo_core.results import (
    Result,
    Selection,
    read_result,
    recorded,
    write_record,
    write_result,
)
from zoo_core.results.result import canonical_json
from zoo_core.runs import load_data
from zoo_eval.validation import validation_data
from zoo_tune.metrics import Metric
from zoo_tune.milestone import options_of
from zoo_tune.search import Limits, Search
from zoo_tune.space import Space, as_plain, space_hash
from zoo_tune.trainers import SEEDS, Folders
from zoo_tune.trials import Record, Trial, best

FRACTION = 0.1
"""Of the training split that trials are scored on, where `data.validation` is not given."""
RECORD = "search.json"


@dataclass(frozen=True)
class Tuning:
    """What is searched, and where.

    Attributes:
        config: of the runs that the winner is retrained in: no validation part is held out of their data.
        trial: config of every trial, before its own options.
        space: what is searched.
        metric: that selects.
        limits: what the search may take.
        seed: of the search.
        data_sha256: of the data with their validation part.
    """

    config: RunConfig
    trial: RunConfig
    space: Space
    metric: Metric
    limits: Limits
    seed: int = 0
    data_sha256: str = ""

    @property
    def folder(self) -> Path:
        """ZOO_HOME/tune/<data>/<plugin>/<hash>; ./tune where ZOO_HOME is not set.

        The hash is that of everything but the number of trials and the whole budget: a search with more
        trials goes on where one with fewer ended.
        """
        scoring = flatten({"eval": self.trial.eval.model_dump(mode="json")})
        facts = {
            "config": config_hash(self.trial),
            "space": as_plain(self.space),
            "metric": self.metric.name,
            "each": self.limits.each,
            "seed": self.seed,
            "data": self.data_sha256,
            **scoring,
        }
        name = hashlib.sha256(canonical_json(facts).encode()).hexdigest()[:12]
        root = runs_root().with_name("tune")
        return root / self.config.data.name / self.config.plugin / name

    @property
    def trials(self) -> Folders:
        """The folders and options of the trials."""
        return Folders(self.trial, self.folder / "trials", self.metric, self.seed)

    def search(self, say: Callable[[str], None]) -> Search:
        """Return the search as it stands.

        Raises:
            UsageError: where its file holds something else.
            MachineError: where Optuna is not installed.
        """
        path = self.folder / RECORD
        return Search(path, self.space, self.metric, self.limits, self.seed, self.defaults(), say)

    def defaults(self) -> dict[str, Any] | None:
        """Return the model's own values of the options, with which the first trial is made.

        None where one of them is not in the space: then no trial has the defaults.
        """
        values = flatten(plain(self.trial))
        own = {key: values.get(key) for key in self.space}
        return own if all(self.space[key].has(value) for key, value in own.items()) else None


def tuning(
    given: Mapping[str, str],
    space_of: Callable[[RunConfig], Space],
    metric: Metric,
    limits: Limits,
    seed: int = 0,
) -> Tuning:
    """Return the tuning that is asked for.

    Args:
        given: options by dotted name, without seeds.
        space_of: returns the space of a resolved config.
        metric: that selects.
        limits: what the search may take.
        seed: of the search.

    Raises:
        UsageError, Mistakes: for options that can't be used, an empty space, a model that does not train, or
            data without a validation part.
    """
    if taken := sorted(key for key in given if key in ("seed", "sample.seed") or key.startswith("seeds.")):
        raise UsageError(f"zoo tune chooses {', '.join(taken)}", "expected: options without it")
    for key in ("run_dir", "resume", "config", "init"):
        if key in given:
            raise UsageError(f"{key}= names one run, and a search has many", "expected: plugin=NAME")
    for key in ("sample.checkpoint", "sample.ema_length"):
        if key in given:
            raise UsageError(
                f"{key}= chooses among the weights of one run, and a search selects options",
                "expected: options without it",
            )
    if "plugin" not in given:
        raise UsageError("no model was named", "expected: plugin=NAME", "next: zoo list")
    asked = resolve(given)
    if asked.eval.protocol == "none":
        raise UsageError("eval.protocol=none was given; trials are scored", "expected: eval.protocol=quick")
    if not asked.train.steps:
        raise UsageError(f"{asked.plugin} does not train: it has nothing to tune", "next: zoo list")
    config = resolve({**given, "data.validation": "0", "eval.baselines": "false"})
    own = load_data(config).validation is not None
    fraction = 0.0 if own else asked.data.validation or FRACTION
    trial = resolve({**given, "data.validation": f"{fraction!r}", "eval.baselines": "false"})
    data = validation_data(load_data(trial))  # what it refuses, it refuses before the search
    space = space_of(config)
    if not space:
        raise UsageError("there is nothing to search", "next: --search option=low..high")
    return Tuning(config, trial, space, metric, limits, seed, data.sha256)


def winner_config(made: Tuning, winner: Trial, seed: int) -> RunConfig:
    """Return the config of one run of the winner, with a seed that no trial has.

    It trains on the whole training split, as every run of a leaderboard does, and as many steps as the trial.
    """
    if seed >= SEEDS:
        raise UsageError(f"seed {seed:,} is one of a search's", f"expected: below {SEEDS:,}")
    options = options_of(made.config, winner.options, winner.steps)
    config = resolve({**options, "seed": seed})
    return config.model_copy(
        update={"run_dir": str(made.folder / "winner" / f"{config_hash(config)}-s{seed}")}
    )


def selection(made: Tuning, record: Record, winner: Trial) -> Selection:
    """Return how the winner was selected, as its results have it."""
    return Selection(
        trials=len(record.trials),
        failed=record.count("failed"),
        stopped=record.count("stopped", "out of budget"),
        memorized=record.count("memorizes"),
        metric=record.metric,
        value=winner.scores[-1].value,
        space_sha256=space_hash(made.space),
        seconds=round(record.seconds, 3),
    )


def chosen(record: Record) -> Trial:
    """Return the winner.

    Raises:
        UsageError: where no trial has a score that counts.
    """
    winner = best(record.trials)
    if winner is None:
        reasons = dict.fromkeys(f"trial {t.number + 1}: {t.reason or t.state}" for t in record.trials)
        raise UsageError(
            f"none of {len(record.trials)} trials has a score that counts",
            *list(reasons)[:4],
            "next: another space (--search), a longer --budget, or zoo run with the defaults",
        )
    return winner


def retrain(
    made: Tuning,
    record: Record,
    seeds: int,
    run: Callable[[Sequence[RunConfig]], int] = run_matrix,
) -> tuple[list[Result], int]:
    """Train the winner on fresh seeds, score it by the ordinary protocol, and return (results, status).

    Each result says how the options were selected, and has the cost of the search.

    Args:
        made: what was searched.
        record: of the finished search.
        seeds: of training: 0, 1, ...
        run: trains and scores runs and returns the first status that is not 0.
    """
    winner = chosen(record)
    how = selection(made, record, winner)
    configs = [winner_config(made, winner, seed) for seed in range(seeds)]
    folders = [Path(str(config.run_dir)) for config in configs]
    for folder in folders:
        if recorded(Selection, folder) != how:  # of a search that has gone on since then
            write_record(how, folder)
    status = run(configs)
    results = [_said(folder / "result.json", how) for folder in folders if (folder / "result.json").exists()]
    return results, status


def _said(path: Path, how: Selection) -> Result:
    """Return a run's result, which says how its options were selected."""
    result = read_result(path)
    if result.selection != how:
        cost = result.cost.model_copy(update={"search_seconds": how.seconds})
        result = result.model_copy(update={"selection": how, "cost": cost})
        write_result(result, path)
    return result


def seconds_of(text: str) -> float:
    """Return the seconds that a text means: "90", "90s", "10m", "1.5h".

    Raises:
        ValueError: for another text, or none above 0.
    """
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    value = float(text[:-1] if unit else text) * (unit or 1.0)
    if not math.isfinite(value) or value <= 0:
        raise ValueError(text)
    return value
