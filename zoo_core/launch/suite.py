"""Suites: every model that fits some data, a few seeds each, under one budget of training time.

The budget is made steps once: each model's speed on this machine is measured by a short training, and the
steps of its runs are the smaller of its own and what the budget allows. They are written down, so a suite
that was interrupted goes on with the same configs, and each run's config says all that repeats it anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo_core.config import RunConfig, flatten, strict_json
from zoo_core.errors import UsageError, ZooError, not_found
from zoo_core.home import runs_root
from zoo_core.launch.calibration import allowed_steps, read_rate, shortened
from zoo_core.launch.jobs import Job, Outcome, training_job
from zoo_core.machine.files import write_atomic
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.presets import preset_key
from zoo_core.registry.resolution import config_hash, plain, resolve, resolve_matrix
from zoo_core.results import read_result
from zoo_core.results.attachments import read_attachment, write_attachment
from zoo_core.runs.folder import write_config

SCHEMA = 1
"""Of bench-<suite>.json; raised when a field changes its meaning."""

MEASURE_S = 5.0
"""Of training, for a model's speed."""


@dataclass(frozen=True)
class Suite:
    """A matrix of runs.

    Attributes:
        summary: one line.
        data: name of the dataset.
        seeds: of each model.
        budget: seconds of training a run, where none are asked for.
        options: of every run.
        preset: of the models that have one of this name; others take their default.
    """

    summary: str
    data: str
    seeds: tuple[int, ...] = (0, 1, 2)
    budget: float = 60.0
    options: Mapping[str, str] = field(default_factory=dict)
    preset: str = ""


SUITES = {
    "digits-quick": Suite(
        "every model on the 8x8 digits, protocol quick: two cores, an evening",
        "digits",
        options={"eval.protocol": "quick", "eval.baselines": "false"},
    ),
    "mnist": Suite(
        "every model on MNIST, protocol standard, ten minutes a run",
        "mnist",
        budget=600.0,
        options={"eval.protocol": "standard", "eval.baselines": "false"},
    ),
    "emoji-quick": Suite(
        "every model on the 32x32 color emoji, protocol quick, 7.5 minutes of training: two cores, 3 hours",
        "emoji",
        seeds=(0,),
        budget=450.0,
        options={
            "eval.protocol": "quick",
            "eval.baselines": "false",
            "eval.likelihood_n": "256",
            "eval.ode_tolerance": "0.01",
        },
    ),
    "cifar10": Suite(
        "every model on CIFAR-10, protocol standard, an hour a run: wants a GPU",
        "cifar10",
        budget=3600.0,
        options={"eval.protocol": "standard", "eval.baselines": "false"},
        preset="gpu",
    ),
}


def find_suite(name: str) -> Suite:
    """Return the suite of a name.

    Raises:
        NotFoundError: with the nearest one.
    """
    if name not in SUITES:
        raise not_found("suite", name, SUITES, say="zoo bench {}")
    return SUITES[name]


def fitting(data: str) -> list[str]:
    """Return the names of the models whose tasks some dataset serves, in order of family and name."""
    here = manager()
    served = set(here.find("dataset", data).spec.tasks)
    specs = [entry.spec for entry in here.entries("plugin") if served & set(entry.spec.tasks)]
    return [spec.name for spec in sorted(specs, key=lambda spec: (spec.family, spec.name))]


def _named(chosen: str) -> list[str]:
    """Return the models in a comma list, each once.

    Raises:
        UsageError: for more than there are, before any of them is looked for.
    """
    names, there = list(dict.fromkeys(chosen.split(","))), len(manager().entries("plugin"))
    if len(names) > there:
        raise UsageError(f"{len(names):,} models are asked for", f"installed: {there}; see zoo list")
    return names


def _preset(name: str, plugin: str, data: str) -> dict[str, str]:
    """Return the option that chooses a preset, where a model has it for a dataset."""
    if not name:
        return {}
    presets = load_entry("plugin", manager().find("plugin", plugin), "config").PRESETS
    return {"preset": name} if preset_key(presets, name, data) else {}


class Bench:
    """One suite under one budget, with what is written down of it.

    Args:
        name: of the suite.
        budget: seconds of training a run; None for the suite's own.
        out: folder that receives bench-<suite>.json and the results.
        words: options laid over the suite's; `plugin` and `seed` choose among its runs.

    Raises:
        UsageError: where `out` holds the same suite under another budget.
        ZooError: where no model can be configured with these words.
    """

    def __init__(self, name: str, budget: float | None, out: Path, words: Mapping[str, str]) -> None:
        suite = find_suite(name)
        self.name, self.out = name, out
        self.budget = budget or suite.budget
        self.path = out / f"bench-{name}.json"
        self.record = self._read()
        self.failed: list[Outcome] = []
        self.configs: dict[str, list[RunConfig]] = {}  # by key of the record
        given = {"data": suite.data, "seed": ",".join(map(str, suite.seeds)), **suite.options, **words}
        chosen = given.pop("plugin", "")
        problem: ZooError | None = None
        for plugin in _named(chosen) if chosen else fitting(given["data"]):
            try:
                preset = _preset(suite.preset, plugin, given["data"])
                self.configs |= _by_options(plugin, resolve_matrix({"plugin": plugin, **preset, **given}))
            except ZooError as error:
                problem = error
                job = Job(plugin, "", (), self._scratch(plugin), lambda: False)
                self.failed.append(Outcome(job, "mistake", error.status, note=str(error).partition("\n")[0]))
        if problem is not None and not self.configs:
            raise problem

    def _scratch(self, key: str) -> Path:
        return (runs_root() / "bench" / self.name / key).absolute()

    def _read(self) -> dict[str, Any]:
        fresh: dict[str, Any] = {
            "schema": SCHEMA,
            "suite": self.name,
            "budget_seconds": self.budget,
            "models": {},
        }
        if not self.path.exists():
            return fresh
        try:
            found = strict_json.read(self.path)
            budget, models = float(found["budget_seconds"]), found["models"]
            if not (isinstance(models, dict) and all(isinstance(model, dict) for model in models.values())):
                raise ValueError("its models are not mappings")
        except (UsageError, ValueError, LookupError, TypeError) as error:
            raise UsageError(f"{self.path} is not a record of a suite: {error}", "next: --out DIR") from error
        if budget != self.budget:
            raise UsageError(
                f"{self.path} is of a budget of {budget:g} s a run; asked for: {self.budget:g} s",
                f"next: --budget {budget:g}, or another folder: --out DIR",
            )
        return {**fresh, "models": models}

    def measuring(self) -> list[Job]:
        """Return a job for each model, under each choice of options, whose speed is not known yet."""
        jobs = []
        for key, configs in self.configs.items():
            first, folder = configs[0], self._scratch(key)
            known = self.record["models"].get(key, {})
            if known.get("config_hash") == config_hash(first):
                continue
            rate = folder / f"{config_hash(first)}.json"
            write_config(first, folder)
            words = (str(folder / "config.yaml"), str(MEASURE_S), str(rate))
            jobs.append(
                Job(
                    f"{key}: measuring its speed",
                    "zoo_core.launch.calibration",
                    words,
                    folder,
                    _is_there(rate),
                )
            )
        return jobs

    def write_down(self, outcomes: Sequence[Outcome]) -> None:
        """Turn measured speeds into steps and write them down; a model without a speed is left out."""
        self.failed += [outcome for outcome in outcomes if outcome.status]
        for key, configs in list(self.configs.items()):
            first = configs[0]
            if self.record["models"].get(key, {}).get("config_hash") == config_hash(first):
                continue
            found = read_rate(self._scratch(key) / f"{config_hash(first)}.json")
            if found is None:
                del self.configs[key]
                continue
            rate, whole = found["steps_per_second"], first.train.steps
            steps = min(whole, allowed_steps(rate, self.budget)) if rate else whole
            self.record["models"][key] = {
                "config_hash": config_hash(first),
                "own_steps": whole,
                "steps_per_second": rate and round(rate, 3),
                "options": shortened(first, steps),
                "hardware": found["hardware"],
            }
        write_atomic(self.path, json.dumps(self.record, indent=1).encode() + b"\n", parents=True)

    def training(self) -> list[Job]:
        """Return the jobs of the suite: each config whole, with its steps in it."""
        jobs = []
        for key, configs in self.configs.items():
            cut = self.record["models"][key]["options"]
            jobs += [training_job(_with(config, cut)) for config in configs]
        return jobs

    def collect(self, outcomes: Sequence[Outcome]) -> int:
        """Copy the results of finished runs, with their attachments, into `out`; return how many."""
        count = 0
        for outcome in outcomes:
            source = outcome.job.folder / "result.json"
            if outcome.status or not source.exists():  # a run with eval.protocol=none has no result
                continue
            data, plugin, run = outcome.job.folder.parts[-3:]
            target = self.out / data / plugin / run / "result.json"
            write_atomic(target, source.read_bytes(), parents=True)
            for attachment in read_result(source).attachments.values():
                content = read_attachment(source.parent, attachment)
                if content is not None:
                    write_attachment(target.parent, attachment, content)
            count += 1
        return count


def _by_options(plugin: str, configs: Sequence[RunConfig]) -> dict[str, list[RunConfig]]:
    """Return the configs of a model by the key of their record; those of one key differ in the seed only.

    The first are recorded under the model's name, the others under the name and the hash of their options.
    """
    found: dict[str, list[RunConfig]] = {}
    for config in configs:
        alike = config_hash(config) == config_hash(configs[0])
        found.setdefault(plugin if alike else f"{plugin}-{config_hash(config)}", []).append(config)
    return found


def _is_there(path: Path) -> Callable[[], bool]:
    return path.exists


def _with(config: RunConfig, options: Mapping[str, Any]) -> RunConfig:
    return resolve({**flatten(plain(config)), **options})
