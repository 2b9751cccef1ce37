"""How many steps a second a model trains on this machine, and a config cut down to what a budget allows.

python -m zoo_core.launch.calibration CONFIG SECONDS FILE    trains for about SECONDS, writes FILE only
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo_core.config import Config, EmaConfig, OptimizerConfig, RunConfig, strict_json
from zoo_core.errors import ZooError

PROBE_STEPS = 8
ATTEMPTS = 3
"""Trainings after the first, each as long as the last one's speed says, until one takes long enough."""
MARGIN = 0.9
"""Of the budget that steps are planned for: a busy machine trains more slowly than it was measured."""


def sections(config: Config, prefix: str = "") -> Iterator[tuple[str, Config]]:
    """Yield (dotted name, section) of every section of a config, inner ones too."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Config):
            yield f"{prefix}{name}", value
            yield from sections(value, f"{prefix}{name}.")


def shortened(config: RunConfig, steps: int) -> dict[str, Any]:
    """Return the dotted options that make of a config the same run in fewer steps.

    What is counted in steps keeps its fraction of the run: an optimizer's warm-up, the memory of EMA weights
    (decay d over N steps becomes d^(N/n) over n), their half-life in images. {} where the run is not
    longer than `steps`.
    """
    whole = config.train.steps
    if steps >= whole:
        return {}
    share = steps / whole
    found: dict[str, Any] = {"train.steps": steps}
    for name, section in sections(config):
        if isinstance(section, OptimizerConfig) and section.warmup:
            found[f"{name}.warmup"] = round(section.warmup * share)
        if isinstance(section, EmaConfig) and section.decay:
            found[f"{name}.decay"] = float(f"{section.decay ** (1 / share):.6g}")
        if isinstance(section, EmaConfig) and section.half_life:
            found[f"{name}.half_life"] = float(f"{section.half_life * share:.6g}")
    return found


def allowed_steps(rate: float, budget: float) -> int:
    """Return the steps that a budget of seconds allows at a rate: two digits, rounded down, at least 1."""
    steps = max(1, int(rate * budget * MARGIN))
    unit = 10 ** max(0, len(str(steps)) - 2)
    return steps // unit * unit


def measure(config: RunConfig, seconds: float) -> dict[str, Any]:
    """Train for about `seconds` in a scratch folder and return what was seen.

    The steps are few but go through all stages of training in their proportions. A first training is not
    counted: on a GPU it loads the kernels, which can take longer than all steps that are measured.

    Returns:
        steps_per_second (None for a model without training), steps, seconds, hardware.
    """
    from zoo_core.results.provenance import hardware
    from zoo_core.runs import choose_device

    facts: dict[str, Any] = {"hardware": hardware(str(choose_device(config.device)))}
    if config.train.steps == 0:
        return {"steps_per_second": None, "steps": 0, "seconds": 0.0, **facts}
    done, took = _train(config, min(PROBE_STEPS, config.train.steps), seconds)
    for _ in range(ATTEMPTS):
        if done == config.train.steps:
            break
        wanted = max(PROBE_STEPS, math.ceil(seconds * done / took)) if took else PROBE_STEPS
        done, took = _train(config, min(wanted, config.train.steps), 4 * seconds)
        if took >= seconds / 2:
            break
    rate = done / took if took else None
    return {"steps_per_second": rate, "steps": done, "seconds": round(took, 3), **facts}


def _train(config: RunConfig, steps: int, most: float) -> tuple[int, float]:
    """Return (steps done, seconds they took) of a run cut to `steps`, ended after `most` seconds."""
    from zoo_core.machine import terminal
    from zoo_core.registry.manager import manager
    from zoo_core.registry.resolution import plain, resolve
    from zoo_core.runs import build, load_data
    from zoo_core.training.harness import Listener

    short = resolve({**plain(config), **shortened(config, steps)})
    with tempfile.TemporaryDirectory() as folder:
        made = build(short, load_data(short), Path(folder), manager(), say=terminal.tell, warn=terminal.tell)
        deadline = time.monotonic() + most
        made.harness.listener = Listener(stop=lambda: time.monotonic() > deadline)
        made.harness.run()
    return made.harness.counts.total, made.harness.counts.seconds


def read_rate(path: Path) -> Mapping[str, Any] | None:
    """Return what `measure` wrote into a file, or None where there is none, or none that is whole."""
    found = strict_json.mapping_or_empty(path)
    return found if "steps_per_second" in found else None


def main(words: list[str]) -> int:
    """Measure the run of a saved config and write what was seen; the status is the command line's."""
    from zoo_core.machine.files import write_atomic
    from zoo_core.registry.resolution import resolve

    config, seconds, out = words
    try:
        found = measure(resolve({"config": config}), float(seconds))
        write_atomic(Path(out), json.dumps(found, indent=1).encode())
    except ZooError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
