"""The data of a run, read and hashed again before its result is handed in or believed."""

from __future__ import annotations

from pathlib import Path

from zoo_core.errors import UsageError
from zoo_core.results import Result


def check_data(result: Result, folder: Path) -> None:
    """Hash the content of a run's data again and compare it with the run's record and its result.

    Args:
        result: of the run.
        folder: of the run.

    Raises:
        UsageError: where the data are others than those of the run, of the result, or of the cache.
        ZooError: where the data can't be read.
    """
    from zoo_core.data.identity import check_again
    from zoo_core.runs import load_data, saved_config

    sha256 = check_again(folder, load_data(saved_config(folder)))
    if sha256 != result.data.sha256:
        raise UsageError(
            f"the result is of other data than those of {folder}",
            f"data.sha256: {result.data.sha256[:12]}... in the result, {sha256[:12]}... in the data",
            "next: restore the data, or score the run again with: zoo eval RUN",
        )
