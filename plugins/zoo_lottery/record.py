"""Scores of many runs under many sampling seeds, in one file: an interrupted lottery goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from zoo_core.config import RunConfig, strict_json
from zoo_core.errors import MachineError, UsageError
from zoo_core.machine.files import write_atomic
from zoo_core.registry.metrics import base_name
from zoo_core.registry.resolution import config_hash, resolve
from zoo_core.results import Result, recorded_result
from zoo_core.runs import default_dir, load
from zoo_eval.leaderboard.tasks import task_of
from zoo_eval.pipeline import evaluate
from zoo_eval.rescoring import identity_of
from zoo_eval.sampling import source_of
from zoo_lottery.components import Array

SCHEMA = 1
"""Of scores.json; raised when a field changes its meaning."""
METRICS = "[frechet]"
"""What is computed again for each sampling seed."""


class Record:
    """Scores by run and sampling seed.

    Args:
        path: of the file, which need not be there.

    Raises:
        UsageError: for a file that is not such a record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._scores: dict[str, float] = {}
        if path.exists():
            try:
                found = strict_json.loads(path.read_text(encoding="utf-8"))
                if found["schema"] != SCHEMA:
                    raise ValueError
                self._scores = {str(key): float(value) for key, value in found["scores"].items()}
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise UsageError(
                    f"{path} holds no scores of a lottery", "next: remove it, or choose another --out"
                ) from error

    def score(self, config: RunConfig, sampling: int, say: Callable[[str], None]) -> float:
        """Return the ranked score of a finished run with another seed of its samples.

        Args:
            config: of the run.
            sampling: 0 for the run's own samples, else what is added to their seed.
            say: receives progress and warnings.

        Raises:
            MachineError: where the run has no result.
        """
        folder = default_dir(config)
        key = f"{config.data.name}/{config.plugin}/{folder.name}/{sampling}"
        if key not in self._scores:
            self._scores[key] = _value(folder, config, sampling, say)
            text = json.dumps({"schema": SCHEMA, "scores": self._scores}, indent=1)
            write_atomic(self.path, text.encode(), parents=True)
        return self._scores[key]


def _value(folder: Path, config: RunConfig, sampling: int, say: Callable[[str], None]) -> float:
    own = recorded_result(folder / "result.json")
    if own is None:
        raise MachineError(f"{folder} has no result", "next: the same command trains what is missing")
    if not sampling:
        return own.metrics[column_of(own)].value
    words = {"sample.seed": str(config.sample.seed + sampling), "eval.metrics": METRICS}
    again = resolve({"config": str(folder), "eval.baselines": "false", **words})
    run = load(folder, config=again, say=say)
    return evaluate(source_of(run), identity_of(run)).metrics[column_of(own)].value


def column_of(result: Result) -> str:
    """Return the column that ranks the table of a result.

    Raises:
        UsageError: where the result lacks that column, or it is not positive.
    """
    for name in task_of(result.data).ranks:
        for column, value in result.metrics.items():
            if base_name(column) == name and value.value > 0:
                return column
    raise UsageError(
        f"{result.plugin} on {result.data.title} has no positive score that ranks",
        "expected: a model of images or points that is scored by a distance",
    )


def by_model(configs: Sequence[RunConfig], scores: Sequence[float], shape: Sequence[int]) -> dict[str, Array]:
    """Return model -> its log-scores in the shape of the design.

    Args:
        configs: of the runs, in the order of `scores`, those of a model next to one another.
        scores: one each; where the last axis of the design is the sampling seed, as many as it has levels.
        shape: of the design.
    """
    found: dict[str, list[float]] = {}
    each = len(scores) // len(configs)
    for k, config in enumerate(configs):
        name = f"{config.plugin} {_options(config)}".strip()
        found.setdefault(name, []).extend(scores[k * each : (k + 1) * each])
    return {name: np.log(np.array(values)).reshape(shape) for name, values in found.items()}


def _options(config: RunConfig) -> str:
    """Return what tells several configurations of one model apart: the hash without the seeds."""
    return config_hash(config.model_copy(update={"seeds": type(config.seeds)()}))[:6]
