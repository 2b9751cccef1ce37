"""The command `zoo report`: a comparison of scored runs as a paragraph and a table for a paper."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import CommandSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_commands() -> list[CommandSpec]:
    return [
        CommandSpec("report", "zoo_report.cli:report", "Write a comparison of runs for a paper", group="look")
    ]
