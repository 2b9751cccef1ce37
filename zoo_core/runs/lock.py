"""The lock of a run's folder: one process at a time works in it."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from zoo_core.errors import MachineError
from zoo_core.machine.files import at_once


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder for this process; the lock of a dead process is free.

    Raises:
        MachineError: where another process holds it, or the folder can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w", opener=at_once)  # noqa: SIM115 - held until the run ends
    except OSError as error:
        raise MachineError(
            f"can't make the run's folder {folder}: {error.strerror}", "next: run_dir=..."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise MachineError(
                f"another process is at work in {folder}", "next: wait for it, or choose another run_dir=..."
            ) from None
        yield


def held(folder: Path) -> bool:
    """Return whether a process is at work in a run's folder now."""
    try:
        with open(folder / ".lock", opener=at_once) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
