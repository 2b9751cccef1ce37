"""Removal of runs: only folders of runs, none that a process uses, and nothing that zoo did not write."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from zoo_core.config import privacy
from zoo_core.errors import MachineError, NotFoundError, UsageError
from zoo_core.runs.lock import held, locked

WRITTEN = re.compile(
    r"config\.yaml|data\.json|metrics\.jsonl|(reported|run|provenance|origin)\.json"
    r"|result(-[0-9a-f]{12}){0,2}\.json|(best|lengths|selection|audit)\.json|best|snapshots|grids|audit"
    r"|wandb\.json|\.lock|checkpoints|plots|wandb|tensorboard|[\w.-]+\.(png|svg|html)|(samples|curves)-[0-9a-f]{12}\.\w+"
)
"""Names in the folder of a run that zoo or a plot wrote."""


def check_removable(folder: Path) -> None:
    """Refuse a folder that is not only a run, or that a process uses.

    Raises:
        NotFoundError: where the folder holds no run.
        UsageError: where the folder is a link or holds other files.
        MachineError: where a process is at work in it.
    """
    if not (folder / "config.yaml").is_file():
        raise NotFoundError(
            f"no run in {str(folder)!r}", "expected: a folder with config.yaml; see: zoo runs"
        )
    if folder.is_symlink():
        raise UsageError(f"{folder} is a link", f"next: zoo rm {folder.resolve()}")
    others = sorted(path.name for path in folder.iterdir() if not WRITTEN.fullmatch(path.name))
    if others:
        raise UsageError(
            f"{folder} holds files that are not of the run: {', '.join(others[:6])}",
            "nothing was removed; next: move them elsewhere",
        )
    if held(folder):
        raise MachineError(f"a process is at work in {folder}", "next: wait for it, or stop it first")


def size(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def remove(folder: Path) -> None:
    """Remove the folder of a run and the secrets that are stored for it, while holding its lock.

    Raises:
        MachineError: where a process holds it, or a file can't be removed.
        NotFoundError, UsageError: as `check_removable`.
    """
    check_removable(folder)
    with locked(folder):
        try:
            privacy.keep(folder, {})
            shutil.rmtree(folder)
        except OSError as error:
            raise MachineError(
                f"can't remove {folder}: {error.strerror}", f"left: {error.filename}"
            ) from error
