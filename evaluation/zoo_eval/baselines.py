"""The baselines of a dataset, run once under a run's own protocol, to compare its metrics with."""

from __future__ import annotations

from typing import Any

import zoo_core
from zoo_core.config import RunConfig
from zoo_core.errors import Interrupted, ZooError
from zoo_core.machine import terminal
from zoo_core.registry.resolution import plain
from zoo_core.results import Result

BASELINES = ("noise", "histogram", "gaussian", "copycat")


def baseline_config(name: str, config: RunConfig) -> dict[str, Any]:
    """Return the options of a baseline's run under the protocol and on the data of `config`."""
    return {
        "plugin": name,
        "device": config.device,
        "data": plain(config.data),
        "providers": {"data": config.providers.data},
        "eval": {**plain(config.eval), "baselines": False, "ode": "auto"},
        "track": {"wandb": "off", "progress": False, "plots": False},
    }


def baselines(config: RunConfig) -> list[Result]:
    """Return the results of the other baselines on the data of a run; those done before are read.

    A baseline that does not fit, for example for data too large for it, is reported and left out.
    """
    if config.data.name == "python":
        terminal.tell("baselines: n/a: the data come from a Python program and can't be loaded again")
        return []
    found = []
    for name in BASELINES:
        if name == config.plugin:
            continue
        try:
            made = zoo_core.run(baseline_config(name, config))
        except Interrupted:
            raise
        except ZooError as error:
            terminal.tell(f"baseline {name}: n/a: {error.what}")  # its notes are about options of the run
            continue
        found.append(made.scored)
    return found
