"""Jobs through Slurm, by submitit: the queue is the cluster's own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_core.errors import MachineError, UsageError
from zoo_core.launch.jobs import Job
from zoo_core.launch.process import run_to_end, zoo_environment

SUBMITTED = 200
"""Jobs in Slurm's queue at once where no number is asked for."""


class Slurm:
    """Jobs as Slurm jobs; the folders of runs must be on a disk that all nodes see.

    Args:
        slots: jobs in Slurm's queue at once; None for 200.
        resources: submitit's parameters, e.g. slurm_partition, timeout_min (a day), gpus_per_node,
            cpus_per_task (1), mem_gb.
        cluster: submitit's name of the executor: "slurm", or "local" for its stand-in on this machine.

    Raises:
        MachineError: where submitit or Slurm is not installed.
        UsageError: for a parameter that submitit does not know.
    """

    def __init__(
        self, slots: int | None = None, resources: Mapping[str, str] | None = None, cluster: str = "slurm"
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise MachineError(
                "the slurm launcher needs submitit, which is not installed",
                "next: pip install 'genzoo[slurm]'",
            ) from error
        if cluster == "slurm" and shutil.which("srun") is None:
            raise MachineError("there is no Slurm here: srun is not found", "next: --launcher local, or ray")
        self.slots = slots or SUBMITTED
        parameters: dict[str, Any] = {"name": "zoo", "timeout_min": 24 * 60, "cpus_per_task": 1}
        asked = (resources or {}).items()
        parameters |= {key: int(text) if text.isdecimal() else text for key, text in asked}
        self._make = lambda folder: submitit.AutoExecutor(folder=folder, cluster=cluster)
        self._parameters = parameters
        self._lost = (submitit.core.utils.UncompletedJobError,)

    def has_space(self) -> bool:
        return True  # the cluster keeps the account

    def start(self, job: Job) -> Submitted:
        executor = self._make(job.folder / "submitit")
        try:
            executor.update_parameters(**self._parameters)
        except (NameError, TypeError, ValueError) as error:
            raise UsageError(f"bad --resource for slurm: {error}") from error
        arguments = (job.module, job.words, str(job.log), zoo_environment(), str(Path.cwd()))
        return Submitted(executor.submit(run_to_end, *arguments), self._lost)

    def close(self) -> None:
        pass


class Submitted:
    """A submitted Slurm job; a job that was preempted or exceeded its time or memory counts as killed."""

    def __init__(self, job: Any, lost: tuple[type[Exception], ...]) -> None:
        self._job, self._lost = job, lost

    def poll(self) -> int | None:
        if not self._job.done():
            return None
        try:
            return int(self._job.result())
        except self._lost:
            return 137

    def stop(self) -> None:
        self._job.cancel()

    def kill(self) -> None:
        self._job.cancel()
