"""The four baselines of a dataset, run once under the run's own protocol: a figure means nothing alone."""

from __future__ import annotations

from typing import Any

import zoo_core
from zoo_core.config import RunConfig
from zoo_core.errors import Interrupted, ZooError
from zoo_core.resolution import plain
from zoo_eval.scoring import Scorable

BASELINES = ("noise", "histogram", "gaussian", "copycat")
SHOWN = ("plugin", "protocol", "metrics", "likelihood", "memorisation")
"""What of a baseline's result is kept beside another's."""


def baseline_config(name: str, config: RunConfig) -> dict[str, Any]:
    """Return the options of a baseline's run beside a run with `config`."""
    return {
        "plugin": name,
        "device": config.device,
        "data": plain(config.data),
        "eval": {**plain(config.eval), "baselines": False, "weights": "ema", "ode": "auto"},
        "track": {"wandb": "off", "progress": False, "pictures": False},
    }


def baselines(run: Scorable) -> list[dict[str, Any]]:
    """Return the results of the other baselines on the run's data; those done before are read.

    A baseline that can't be had, for data too large for it, is told and left out.
    """
    found = []
    for name in BASELINES:
        if name == run.config.plugin:
            continue
        try:
            result = zoo_core.run(baseline_config(name, run.config))
        except Interrupted:
            raise
        except ZooError as error:
            run.say(f"baseline {name}: n/a: {error.what}")
            continue
        found.append({key: result[key] for key in SHOWN})
    return found
