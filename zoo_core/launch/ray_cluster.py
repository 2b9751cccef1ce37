"""Jobs as ray tasks: on the cluster that RAY_ADDRESS names, else on one that starts and ends with us."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_core.errors import MachineError, UsageError
from zoo_core.launch.jobs import Job
from zoo_core.launch.process import STOP, run_to_end, zoo_environment

KNOWN = ("num_cpus", "num_gpus", "memory")


class Ray:
    """Jobs as ray tasks; the folders of runs must be on a disk that all nodes see.

    Args:
        slots: jobs at once; None for what the cluster's resources allow.
        resources: of a job: num_cpus (1), num_gpus (1 where the cluster has GPUs), memory in bytes.

    Raises:
        MachineError: where ray is not installed, or the cluster does not answer.
        UsageError: for a resource that is unknown or no number.
    """

    def __init__(self, slots: int | None = None, resources: Mapping[str, str] | None = None) -> None:
        asked = _numbers(resources or {})
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise MachineError(
                "the ray launcher needs ray, which is not installed", "next: pip install 'genzoo[ray]'"
            ) from error
        self._ray = ray
        here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": slots, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True, **here)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise MachineError(f"ray can't be started: {str(error).partition(chr(10))[0]}") from error
        has = ray.cluster_resources()
        needs = {"num_cpus": 1.0, "num_gpus": 1.0 if has.get("GPU") else 0.0} | asked
        names = {"num_cpus": "CPU", "num_gpus": "GPU"}
        fits = [has.get(name, 0) / needs[key] for key, name in names.items() if needs[key]]
        self.slots = slots or max(1, int(min(fits, default=1)))
        self._task = ray.remote(max_retries=0, **needs)(run_to_end)

    def has_space(self) -> bool:
        return True  # the cluster keeps the account

    def start(self, job: Job) -> Task:
        job.folder.mkdir(parents=True, exist_ok=True)
        stop = job.log.parent / STOP
        stop.unlink(missing_ok=True)
        ref = self._task.remote(job.module, job.words, str(job.log), zoo_environment(), str(Path.cwd()))
        return Task(self._ray, ref, stop)

    def close(self) -> None:
        self._ray.shutdown()


def _numbers(resources: Mapping[str, str]) -> dict[str, float]:
    numbers = {}
    for key, text in resources.items():
        if key not in KNOWN:
            raise UsageError(f"unknown resource {key!r} of ray", f"expected: one of {', '.join(KNOWN)}")
        try:
            numbers[key] = float(text)
        except ValueError:
            raise UsageError(f"bad value for --resource {key}: {text!r}", "expected: a number") from None
    return numbers


class Task:
    """A job as a ray task; a worker that dies counts as killed."""

    def __init__(self, ray: Any, ref: Any, stop: Path) -> None:
        self._ray, self._ref, self._stop = ray, ref, stop

    def poll(self) -> int | None:
        if not self._ray.wait([self._ref], timeout=0)[0]:
            return None
        try:
            return int(self._ray.get(self._ref))
        except self._ray.exceptions.TaskCanceledError:
            return 143
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError:  # its worker or node is gone
            return 137

    def stop(self) -> None:
        self._stop.touch()  # ray's own interrupt of a task that runs is lost at times

    def kill(self) -> None:
        with contextlib.suppress(ValueError, self._ray.exceptions.RayError):
            self._ray.cancel(self._ref, force=True)
