"""How many CPU threads a run takes, so that runs side by side don't fight over the cores.

OMP_NUM_THREADS decides where it is set. Otherwise the cores that this process may use are divided by the
processes that share them: those of one `torchrun` on this machine, or the runs at work here when this one
starts. The number is fixed for the whole run, because sums of floats depend on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "OMP_NUM_THREADS"
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Return how many cores this process may use: by its affinity, and by its container's quota."""
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS
    with contextlib.suppress(OSError, ValueError):
        quota, period = _QUOTA.read_text().split()
        if quota != "max":
            known = min(known, max(1, math.ceil(int(quota) / int(period))))
    return known


def share(processes: int) -> int:
    """Return the threads of each of several processes that compute on this machine at once: at least 1."""
    return max(1, cores() // max(1, processes))


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"zoo-runs-{getpass.getuser()}"


def _others(folder: Path, own: Path | None) -> int:
    """Return how many other processes hold a file of the folder; files that nobody holds are removed."""
    found = 0
    for path in folder.iterdir():
        if path == own:
            continue
        with contextlib.suppress(FileNotFoundError), open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                found += 1
            else:
                path.unlink(missing_ok=True)
    return found


@contextlib.contextmanager
def _registered() -> Iterator[int]:
    """Count this process among the runs at work; yield how many others there are.

    Where the folder can't be written, no other run is known.
    """
    with contextlib.ExitStack() as held:
        others = 0
        with contextlib.suppress(OSError, KeyError):  # KeyError: a user without a name
            folder = _folder()
            folder.mkdir(mode=0o700, exist_ok=True)
            own = folder / f"{os.getpid()}"
            file = held.enter_context(open(own, "w"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.callback(own.unlink, missing_ok=True)
            others = _others(folder, own)
        yield others


@contextlib.contextmanager
def shared(local_processes: int) -> Iterator[str]:
    """Limit torch to this process's share of the cores, and give back what it had before at the end.

    Args:
        local_processes: of this run on this machine; torchrun's LOCAL_WORLD_SIZE.

    Yields:
        a line on what was decided and why; "" where the process has all cores, or OMP_NUM_THREADS decides.
    """
    import torch

    with _registered() as others:
        named = os.environ.get(VARIABLE)
        if named and not (
            local_processes > 1 and named == "1"
        ):  # torchrun itself sets 1 where it was not set
            yield ""
            return
        parts = local_processes if local_processes > 1 else 1 + others
        if parts == 1:
            yield ""
            return
        before, taken = torch.get_num_threads(), share(parts)
        torch.set_num_threads(taken)
        try:
            beside = "processes of this run" if local_processes > 1 else "runs at work on this machine"
            yield f"threads: {taken} ({cores()} cores, {parts} {beside}; {VARIABLE}=N decides otherwise)"
        finally:
            torch.set_num_threads(before)
