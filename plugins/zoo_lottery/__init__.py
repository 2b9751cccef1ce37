"""The command `zoo lottery`: how much of a score is due to its seeds."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import CommandSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            "lottery", "zoo_lottery.cli:lottery", "Measure how much of a score is due to seeds", group="look"
        )
    ]
