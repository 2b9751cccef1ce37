"""Jobs on this machine: one slot a GPU, or one a core where there is none."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Mapping
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


class Local:
    """A pool of processes on this machine, each with its share of the cores unless OMP_NUM_THREADS is set.

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
        self._free = list(range(self.slots))

    def start(self, job: Job) -> Process:
        slot = self._free.pop(0)
        env = {threads.VARIABLE: os.environ.get(threads.VARIABLE) or str(threads.share(self.slots))}
        if self._gpus:
            env["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        try:
            child = start(job.module, job.words, job.log, env, Path.cwd())
        except BaseException:
            self._free.append(slot)
            raise
        return Process(child, self._free, slot)

    def close(self) -> None:
        pass


class Process:
    """A job's process, whose slot is free again once its end was seen."""

    def __init__(self, child: subprocess.Popen[bytes], free: list[int], slot: int) -> None:
        self._child, self._free, self._slot = child, free, slot
        self._seen = False

    def poll(self) -> int | None:
        code = self._child.poll()
        if code is None:
            return None
        if not self._seen:
            self._seen = True
            self._free.append(self._slot)
        return shell_status(code)

    def stop(self) -> None:
        self._child.terminate()

    def kill(self) -> None:
        self._child.kill()
