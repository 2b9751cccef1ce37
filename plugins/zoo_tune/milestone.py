"""One milestone of a trial: train to a number of steps, and score on the validation part.

python -m zoo_tune.milestone FOLDER    does what FOLDER/task.json says, and writes its answer beside it
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from zoo_core.config import RunConfig, flatten, strict_json
from zoo_core.errors import UsageError, ZooError
from zoo_core.launch.calibration import allowed_steps, measure, shortened
from zoo_core.machine.files import write_atomic
from zoo_core.machine.terminal import untold
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import plain, resolve
from zoo_core.results import Result
from zoo_core.runs import build, load_data, restore
from zoo_core.runs import cost as cost_of
from zoo_core.runs.checkpoints import newest
from zoo_core.runs.continuing import extension
from zoo_core.runs.folder import recorded_state
from zoo_core.runs.job import execute
from zoo_eval.pipeline import evaluate
from zoo_eval.rescoring import identity_of
from zoo_eval.sampling import source_of
from zoo_eval.validation import validation_data
from zoo_eval.verdicts import memorization
from zoo_tune.metrics import Metric, metric_of
from zoo_tune.search import Measured, Planned

TASK, RUN = "task.json", "run-{}"
"""In a trial's folder: what a process of its own is to do, and the run of a number of steps."""
LONGEST_PROBE = 5.0
"""Most seconds of training that measure a trial's speed."""
QUIET = {
    "track.wandb": "off",
    "track.plots": False,
    "track.tensorboard": False,
    "track.progress": False,
    "plots.worst": 0,
    "eval.baselines": False,
}
"""Options of a trial's runs that keep them from drawing, tracking and printing."""


def options_of(base: RunConfig, chosen: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Return the options of a run of `steps` steps with chosen options, by dotted name.

    What is counted in steps keeps its fraction of the run, as `shortened` has it.
    """
    config = resolve({**flatten(plain(base)), **chosen})
    return {**flatten(plain(config)), **shortened(config, steps)}


def plan(base: RunConfig, chosen: Mapping[str, Any], seconds: float) -> Planned:
    """Return how many steps a budget of training allows a trial, at most those of its config.

    Args:
        base: of all trials.
        chosen: the trial's options.
        seconds: of training.
    """
    config = resolve({**flatten(plain(base)), **chosen})
    start = time.monotonic()
    found = measure(config, min(LONGEST_PROBE, seconds / 10))
    rate, whole = found["steps_per_second"], config.train.steps
    steps = whole if not rate else min(whole, allowed_steps(rate, seconds))
    return Planned(steps, time.monotonic() - start)


def advance(options: Mapping[str, Any], steps: int, folder: Path, before: int, metric: Metric) -> Measured:
    """Train a trial to `steps` steps and score it on the validation part.

    The run of `before` steps is trained further where its options allow that, else a run of `steps` steps is
    trained anew.

    Args:
        options: of the trial with all its steps, by dotted name.
        steps: at this milestone.
        folder: of the trial.
        before: steps at the milestone before; 0 at the first.
        metric: that selects.

    Raises:
        ZooError: where training or scoring fails.
    """
    place, earlier = folder / RUN.format(steps), folder / RUN.format(before)
    config = resolve(
        {**options, **QUIET, "train.steps": steps, "eval.protocol": "none", "run_dir": str(place)}
    )
    known, anew = 0.0, False
    try:
        begun = extension(earlier, steps) if before else None
    except UsageError:  # an option is a function of the number of steps
        begun, anew = None, True
    if begun is None:
        execute(config, place, replace(load_data(config), report=()))
    else:
        known = _train_seconds(earlier)
        execute(begun.config, place, replace(begun.data, report=()), begun.checkpoint)
    trained = _train_seconds(place)
    start = time.monotonic()
    result = scored(place, resolve({**flatten(plain(config)), **scoring(options, metric)}))
    took = time.monotonic() - start
    column, value = metric.of(result)
    return Measured(column, value, memorization(result), trained - known, took, anew)


def _train_seconds(folder: Path) -> float:
    """Return the seconds of training of a finished run, those of the run that it began from included."""
    return float(recorded_state(folder)["cost"]["train_seconds"])


def scoring(options: Mapping[str, Any], metric: Metric) -> dict[str, Any]:
    """Return the options by which a trial is scored: the user's protocol, the metric, memorization."""
    return {"eval.protocol": options["eval.protocol"], "eval.metrics": [metric.entry, "memorization"]}


def scored(folder: Path, config: RunConfig) -> Result:
    """Return a trained run's result against the validation part, in the place of the test split.

    Args:
        folder: of the run.
        config: of the run, with the options of its scoring.
    """
    data = validation_data(load_data(config))
    made = build(config, data, folder, manager(), say=untold, warn=untold)
    restore(made, *newest(folder, untold))
    made.cost = {name: value for name, value in cost_of(made).items() if name != "train_peak_bytes"}
    return evaluate(replace(source_of(made), folder=None, say=untold), identity_of(made))


def write_task(folder: Path, task: Mapping[str, Any]) -> None:
    """Write into a trial's folder what `main` is to do; `_done` reads its fields."""
    write_atomic(folder / TASK, json.dumps(task).encode(), parents=True)


def _done(task: Mapping[str, Any], folder: Path) -> Planned | Measured:
    if task["kind"] == "plan":
        return plan(resolve(task["base"]), task["chosen"], task["seconds"])
    return advance(task["options"], task["steps"], folder, task["before"], metric_of(task["metric"]))


def main(words: list[str]) -> int:
    """Do what a trial's task.json says; the status is the command line's."""
    folder = Path(words[0])
    task = strict_json.read(folder / TASK)
    try:
        found = _done(task, folder)
        write_atomic(folder / task["answer"], json.dumps(asdict(found)).encode())
    except ZooError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
