"""The runs of a matrix in this process, one after another; one that fails does not stop the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from zoo_core.config import RunConfig
from zoo_core.errors import Interrupted, ZooError
from zoo_core.machine.distributed import launched
from zoo_core.results import RunResult
from zoo_core.runs.job import run


def run_matrix(configs: Sequence[RunConfig], told: Callable[[RunResult], None] = lambda result: None) -> int:
    """Do every run in turn and return the first status that is not 0; what is done already is only told.

    Args:
        configs: from `resolve_matrix`.
        told: called with each result.

    Raises:
        Interrupted: at once; the same command continues the matrix.
    """
    status = 0
    for place, config in enumerate(configs, 1):
        if launched().first:
            print(
                f"[{place}/{len(configs)}] {config.plugin} on {config.data.name}, seed {config.seed}",
                file=sys.stderr,
            )
        try:
            told(run(config))
        except Interrupted:
            raise
        except ZooError as error:
            print(f"error: {error}", file=sys.stderr)
            status = status or error.status
    return status
