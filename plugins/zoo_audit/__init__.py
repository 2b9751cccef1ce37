"""Audited training: the states of a run, kept and hashed, and parts of its training executed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from zoo_core.config import RunConfig
    from zoo_core.results import Reexecution, Result

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_listeners(config: RunConfig) -> Sequence[object]:
    if not config.train.audit:
        return ()
    from zoo_audit.recording import Recorder

    return (Recorder(),)


@hookimpl
def zoo_reexecute(result: Result, folder: Path, spot: int) -> Reexecution | None:
    from zoo_audit.auditing import audited

    return audited(result, folder, spot)
