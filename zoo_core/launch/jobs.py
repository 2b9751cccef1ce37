"""A job: one `zoo run config=FILE` in a process and a folder of its own; and what has become of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from zoo_core.config import RunConfig
from zoo_core.runs import folder_of
from zoo_core.runs.folder import finished, write_config

LOG = "job.log"
"""In a job's folder: all that its attempts printed."""


@dataclass(frozen=True)
class Job:
    """One command that can be called again: it continues what is there.

    Attributes:
        name: for the table: "wgan on digits, seed 0".
        module: run as `python -m module words...`.
        words: its arguments.
        folder: absolute; holds the log and whatever the job makes.
        done: whether nothing is left to do; may raise a ZooError where the folder belongs to another job.
        steps: how many it will do, where it records them in metrics.jsonl.
    """

    name: str
    module: str
    words: tuple[str, ...]
    folder: Path
    done: Callable[[], bool]
    steps: int = 0

    @property
    def log(self) -> Path:
        return self.folder / LOG

    def step(self) -> int:
        """Return the last step that the job has recorded; 0 where there is none."""
        try:
            with open(self.folder / "metrics.jsonl", "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                lines = file.read().splitlines()
            return int(json.loads(lines[-1])["step"])
        except (OSError, ValueError, LookupError, TypeError):
            return 0

    def last_error(self) -> str:
        """Return the first line of the last error in the log, or the log's last line."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
        except OSError:
            return ""
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        spoken = [line for line in lines if line.strip()]
        return errors[-1] if errors else (spoken[-1] if spoken else "")


def training_job(config: RunConfig) -> Job:
    """Return the job of one run; its config.yaml is written into the run's folder before it starts."""
    folder = folder_of(config).absolute()

    def done() -> bool:
        if finished(folder, config) is not None:
            return True
        write_config(config, folder)
        return False

    return Job(
        name=f"{config.plugin} on {config.data.name}, seed {config.seed}",
        module="zoo_core.cli",
        words=("run", f"config={folder / 'config.yaml'}", f"run_dir={folder}", f"device={config.device}"),
        folder=folder,
        done=done,
        steps=config.train.steps,
    )


@dataclass(frozen=True)
class Outcome:
    """What has become of a job.

    Attributes:
        state: "done", "done before", "mistake", "diverged", "plugin failed", "machine", "failed",
            "killed", "interrupted", "not started".
        status: of its last attempt, as a shell gives it: 128 + signal where one killed it.
        attempts: how often it was started.
        seconds: from its first start to its end.
        note: why, in one line; "" where all is well.
    """

    job: Job
    state: str
    status: int = 0
    attempts: int = 0
    seconds: float = 0.0
    note: str = ""


_STATES = {0: "done", 2: "mistake", 3: "diverged", 4: "plugin failed", 5: "machine", 130: "interrupted"}


def state_of(status: int) -> str:
    """Return what an exit status means, as the command line's table has it."""
    return _STATES.get(status) or ("killed" if status > 128 else "failed")


def by_signal(status: int) -> bool:
    """Return whether a job with this status was ended from outside and is worth another attempt."""
    return status > 128


def signal_name(status: int) -> str:
    """Return the name of the signal in a status over 128."""
    try:
        return signal.Signals(status - 128).name
    except ValueError:
        return f"signal {status - 128}"


class Handle(Protocol):
    """A job at work."""

    def poll(self) -> int | None:
        """Return its exit status, as a shell gives it, or None while it is at work."""
        ...

    def stop(self) -> None:
        """Ask it to save and end."""
        ...

    def kill(self) -> None:
        """End it now."""
        ...


class Launcher(Protocol):
    """A place where jobs run; `slots` is how many may be under way at once."""

    slots: int

    def has_space(self) -> bool:
        """Return whether another job can start now, where a slot is free."""
        ...

    def start(self, job: Job) -> Handle: ...

    def close(self) -> None: ...
