"""What auditing a training costs: segments with and without a kept state, interleaved in one process.

    python ci/bench/audit.py [--rounds 6] [plugin=ddpm] [data=digits] [train.audit=250]

Two equal runs train in turn, one segment a round. At the end of its segment one of them writes a checkpoint,
links it and hashes it, as a run with train.audit=STEPS does; the other does not. Printed: the time that
keeping took over that of the segment (every write is counted, though an ordinary run writes some of them
too), the ratio of the two segments' times, and the bytes of a state.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from zoo_audit.recording import Recorder
from zoo_audit.trace import kept_state
from zoo_core.config import RunConfig
from zoo_core.data import identity
from zoo_core.events import Events
from zoo_core.machine.terminal import untold
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import config_hash, parse_words, resolve
from zoo_core.runs import build, load_data
from zoo_core.runs.view import view_of
from zoo_core.training import checkpoint
from zoo_core.training.checkpoint import Checkpoint
from zoo_core.training.harness import Listener

DEFAULTS = {"plugin": "ddpm", "data": "digits", "train.audit": "250", "device": "cpu"}


Times = tuple[float, float]


def now() -> Times:
    """Return seconds of the wall clock and of this process on the CPU: other programs move the first one."""
    return time.perf_counter(), time.process_time()


def since(start: Times) -> Times:
    wall, cpu = now()
    return wall - start[0], cpu - start[1]


class Timed:
    """A run that trains one segment at a call.

    Attributes:
        keeping: (seconds, CPU seconds) that each state took to be written, linked and hashed.
    """

    def __init__(self, config: RunConfig, folder: Path, kept: bool) -> None:
        data = load_data(config)
        folder.mkdir(parents=True)
        identity.write(folder, data)
        self.made = build(config, data, folder, manager(), say=untold, warn=untold)
        self.every, self._goal = config.train.audit, 0
        self.keeping: list[Times] = []
        recorder, view = Recorder(), view_of(self.made, Events(manager(), untold))
        metadata = {"plugin": config.plugin, "data": config.data.name, "config": config_hash(config)}
        if kept:
            recorder.zoo_run_started(view)

        def save(step: int, state: Checkpoint) -> None:
            if not kept:
                return
            start = now()
            path = checkpoint.save(folder / "checkpoints", step, state, metadata)
            recorder.zoo_checkpoint(view, step, str(path))
            self.keeping.append(since(start))

        self.made.harness.listener = Listener(save=save, stop=lambda: self.made.step >= self._goal)

    def segment(self) -> Times:
        """Train one segment and return its seconds, all included."""
        self._goal = self.made.step + self.every
        start = now()
        self.made.harness.run()
        return since(start)


def measured(config: RunConfig, rounds: int, folder: Path) -> dict[str, float]:
    """Return the medians over rounds; the first round warms up."""
    plain, audited = (Timed(config, folder / name, kept) for name, kept in (("plain", False), ("kept", True)))
    pairs = []
    for k in range(rounds + 1):
        order: list[Callable[[], Times]] = [plain.segment, audited.segment]
        times = [run() for run in (order if k % 2 else reversed(order))]
        pairs.append(times if k % 2 else times[::-1])
    found: dict[str, float] = {"every": config.train.audit}
    for place, clock in enumerate(("", "cpu_")):
        without = statistics.median(a[place] for a, _ in pairs[1:])
        keeping = statistics.median(one[place] for one in audited.keeping[1:])
        found |= {
            f"{clock}seconds_per_step": without / config.train.audit,
            f"{clock}seconds_of_keeping": keeping,
            f"{clock}keeping_of_training": keeping / without,
            f"{clock}ratio": statistics.median(b[place] / a[place] for a, b in pairs[1:]),
        }
    state = kept_state(audited.made.dir, audited.every)
    return found | {"bytes_of_a_state": sum(file.stat().st_size for file in state.iterdir())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=6)
    asked = parser.parse_args()
    config = resolve({**DEFAULTS, **parse_words(asked.words)})
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
        print(json.dumps(measured(config, asked.rounds, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
