"""What runs would take: each is tried with a short training that is thrown away, and nothing is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from zoo_core.config import RunConfig
from zoo_core.errors import ZooError
from zoo_core.launch.calibration import measure
from zoo_core.machine import terminal, threads
from zoo_core.machine.device import choose_device
from zoo_core.machine.distributed import launched
from zoo_core.machine.memory import peak_bytes
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import config_hash
from zoo_core.runs import build, load_data
from zoo_core.runs.estimate import Estimate, sampling
from zoo_core.runs.rehearsal import rehearse
from zoo_core.training.failures import TooLargeError

SECONDS = 2.0
"""Training that speed is measured in, and time for samples beside that of the first ones."""


def forecast(config: RunConfig) -> Estimate:
    """Return what a run would take, after a short training in a scratch folder.

    Raises:
        TooLargeError: where training can't fit into the memory that is free.
        ZooError: where the data or the model can't be had.
    """
    samples = None
    with tempfile.TemporaryDirectory() as folder:
        tell = terminal.tell
        made = build(config, load_data(config), Path(folder), manager(), say=tell, warn=tell)
        first = rehearse(made)
        if first is not None:
            samples = sampling(made, first, SECONDS + 2 * first.seconds)
        del made
    rate = measure(config, SECONDS)["steps_per_second"] if first is not None else None
    memory = peak_bytes(choose_device(config.device))
    return Estimate(config.train.steps / rate if rate else None, memory, samples)


def forecasts(configs: Sequence[RunConfig]) -> None:
    """Print an estimate of each run that shows progress, on standard error; of runs alike but for seeds, one.

    Under torchrun nothing is estimated. A run that can't be tried, as its data are not there, gets the reason
    in its place.

    Raises:
        TooLargeError: after all, where one can't fit into memory.
    """
    distinct = {config_hash(one): one for one in configs if one.track.progress}
    if launched().size > 1:
        return
    refused = None
    for config in distinct.values():
        name = f"{config.plugin}: " if len(distinct) > 1 else ""
        try:
            with threads.shared(1):
                terminal.tell(f"{name}{forecast(config).line}")
        except TooLargeError as error:
            refused = error
            if len(distinct) > 1:
                terminal.tell(f"error: {error}")
        except ZooError as error:
            terminal.tell(f"{name}no estimate: {error.what}")
    if refused is not None:
        raise refused
