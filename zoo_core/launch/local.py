"""Jobs on this machine: one slot a GPU, or several; one a core where there is none."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from zoo_core.errors import UsageError
from zoo_core.launch.jobs import Job
from zoo_core.launch.process import shell_status, start
from zoo_core.machine import threads


def visible_gpus() -> list[str]:
    """Return the GPUs that jobs may use, as CUDA_VISIBLE_DEVICES names them: those before an invalid one."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        found = (name.strip() for name in named.split(","))
        return list(itertools.takewhile(lambda name: name and not name.startswith("-"), found))
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def free_memory(gpu: int) -> tuple[int, int] | None:
    """Return a visible GPU's (free, total) bytes; None where it can't be asked.

    Args:
        gpu: its place among `visible_gpus`.
    """
    import torch

    try:
        return torch.cuda.mem_get_info(gpu)
    except (RuntimeError, AssertionError):  # a torch without CUDA asserts
        return None


SETTLING_S = 60.0
"""Until a job has taken about as much memory as it will; before, its share counts as taken."""


class Local:
    """A pool of processes on this machine, each with its share of the cores unless OMP_NUM_THREADS is set.

    Several jobs may share a GPU. Each is counted with an equal share of the card's memory: another one starts
    on a card that has a share free, beside one for each job that has just begun, or that has no job yet.

    Args:
        slots: jobs at once; None for one a GPU, or one a core.
        resources: must be empty.
    """

    def __init__(self, slots: int | None = None, resources: Mapping[str, str] | None = None) -> None:
        if resources:
            raise UsageError(
                f"the local launcher takes no --resource: {', '.join(resources)}", "expected: --slots N"
            )
        self._gpus = visible_gpus()
        self.slots = slots or len(self._gpus) or threads.cores()
        self._each = math.ceil(self.slots / max(1, len(self._gpus)))
        self._begun: dict[int, list[float]] = {gpu: [] for gpu in range(len(self._gpus))}

    def has_space(self) -> bool:
        """Return whether some card takes another job; always where there is none."""
        return not self._gpus or self._card() is not None

    def _card(self) -> int | None:
        """Return the card for the next job: of those with space, one with the fewest jobs."""
        taking = [gpu for gpu, begun in self._begun.items() if len(begun) < self._each and self._fits(gpu)]
        return min(taking, key=lambda gpu: len(self._begun[gpu]), default=None)

    def _fits(self, gpu: int) -> bool:
        begun = self._begun[gpu]
        memory = free_memory(gpu) if begun else None  # a card without jobs takes one whatever is free
        if memory is None:
            return True
        free, total = memory
        settling = sum(time.monotonic() - since < SETTLING_S for since in begun)
        return free >= (settling + 1) * (total // self._each)

    def start(self, job: Job) -> Process:
        env = {threads.VARIABLE: os.environ.get(threads.VARIABLE) or str(threads.share(self.slots))}
        gpu = self._card()
        if gpu is None:  # the space that there was is taken since: the card with the fewest jobs
            gpu = min(self._begun, key=lambda gpu: len(self._begun[gpu]), default=None)
        if gpu is not None:
            env["CUDA_VISIBLE_DEVICES"] = self._gpus[gpu]
        child = start(job.module, job.words, job.log, env, Path.cwd())
        if gpu is None:
            return Process(child, lambda: None)
        begun, since = self._begun[gpu], time.monotonic()
        begun.append(since)
        return Process(child, lambda: begun.remove(since))

    def close(self) -> None:
        pass


class Process:
    """A job's process; its place is free again once its end was seen."""

    def __init__(self, child: subprocess.Popen[bytes], leave: Callable[[], None]) -> None:
        self._child, self._leave = child, leave
        self._seen = False

    def poll(self) -> int | None:
        code = self._child.poll()
        if code is None:
            return None
        if not self._seen:
            self._seen = True
            self._leave()
        return shell_status(code)

    def stop(self) -> None:
        self._child.terminate()

    def kill(self) -> None:
        self._child.kill()
