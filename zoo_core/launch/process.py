"""One job's process: its log, its threads, and an end that comes when its parent's does."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo_core.errors import MachineError

_PR_SET_PDEATHSIG = 1
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
POLL_S = 0.1


def _end_with_parent() -> None:
    # A launcher that is killed leaves nobody behind who holds the run's folder; its jobs save, then end.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def start(
    module: str, words: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path
) -> subprocess.Popen[bytes]:
    """Start `python -m module words...` in a session of its own; what it prints is added to its log.

    The job has its own session: Ctrl-C in a terminal reaches all processes of a session, so the job would
    receive it twice, and the second one ends it unsaved.

    Args:
        env: added to this process's environment.

    Raises:
        MachineError: where the log can't be written.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in _TORCHRUN}
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = open(log, "ab")  # noqa: SIM115 - closed below; the child keeps its own
    except OSError as error:
        raise MachineError(f"can't write {log}: {error.strerror}", "next: run_dir=...") from error
    with file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**inherited, **env},
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )


def shell_status(returncode: int) -> int:
    """Return a process's return code as a shell gives it: 128 + signal where one killed it."""
    return 128 - returncode if returncode < 0 else returncode


STOP = ".stop"
"""In a job's folder: a file by which a launcher on another node asks the job to save and end."""


def run_to_end(module: str, words: Sequence[str], log: str, env: Mapping[str, str], cwd: str) -> int:
    """Start a job's process and return its status as a shell gives it; what ray and submitit call elsewhere.

    A file `STOP` beside the log is handed on as SIGTERM, once, so that the job saves before it ends. So is an
    interrupt, and an exit, which then goes on: by one, submitit puts a preempted job back into its queue.
    """
    stop = Path(log).parent / STOP
    child = start(module, words, Path(log), env, Path(cwd))
    try:
        while child.poll() is None:  # a blocking wait would not see the stop file
            time.sleep(POLL_S)
            if stop.exists():
                child.terminate()
                break
    except BaseException as error:
        child.terminate()
        child.wait()
        if isinstance(error, SystemExit):
            raise
    return shell_status(child.wait())


def zoo_environment() -> dict[str, str]:
    """Return what a job on another machine must know of this environment; no secret is among it."""
    also = ("WANDB_MODE", "OMP_NUM_THREADS")
    return {k: v for k, v in os.environ.items() if k.startswith("ZOO_") or k in also}
