"""The newest checkpoint of a run, of whatever its folder holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from zoo_core.config import RunConfig, strict_json
from zoo_core.errors import MachineError
from zoo_core.training import checkpoint


def newest(folder: Path, say: Callable[[str], None]) -> tuple[Path, checkpoint.Checkpoint]:
    """Return the newest intact checkpoint of the run in a folder, with its place.

    Args:
        say: told of damaged ones.

    Raises:
        MachineError: where there is none.
    """
    return checkpoint.latest(folder / "checkpoints", say) or _none(folder)


def owner(config: RunConfig) -> dict[str, str | int]:
    """Return what the checkpoints of a run say of it: see `checkpoint.check_run`.

    Its other options are left out: a later version of a plugin may have more of them.
    """
    return {"plugin": config.plugin, "data": config.data.name, "seed": config.seed}


def places(folder: Path) -> list[Path]:
    """Return the folders of the checkpoints of a run, the newest last; they are not read.

    Raises:
        MachineError: where there is none.
    """
    return checkpoint.listed(folder / "checkpoints") or _none(folder)


def newest_sha256(folder: Path) -> str:
    """Return the SHA-256 of the raw weights of a run's newest checkpoint.

    Raises:
        MachineError: where it is missing or corrupt.
    """
    return checkpoint.verify(places(folder)[-1])[checkpoint.WEIGHTS]


def _none(folder: Path) -> NoReturn:
    state = strict_json.mapping_or_empty(folder / "run.json").get("state")
    if state == "finished":  # resume= would show its result
        raise MachineError(
            f"{folder} is a finished run whose checkpoints are gone",
            f"next: restore {folder / 'checkpoints'}, or zoo run config={folder} run_dir={folder} --rerun",
        )
    raise MachineError(f"{folder} has no checkpoint yet", f"next: zoo run resume={folder}")
