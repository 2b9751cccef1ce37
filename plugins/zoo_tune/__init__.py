"""The commands `zoo tune`, a search over the options of a model, and `zoo lengths`, a choice of EMA weights.

Both are scored on held-out training data.
"""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import CommandSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_commands() -> list[CommandSpec]:
    return [
        CommandSpec("tune", "zoo_tune.cli:tune", "Search for good options of a model", group="run"),
        CommandSpec("lengths", "zoo_tune.cli:lengths", "Choose the length of EMA weights", group="run"),
    ]
