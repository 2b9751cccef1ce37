"""Commands for finished runs: list, compare and remove them."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import CommandSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            "runs", "zoo_runs.verbs:runs", "List runs: zoo runs plugin=wgan --sort score", group="look"
        ),
        CommandSpec(
            "diff", "zoo_runs.verbs:diff", "Show the options and scores that differ in two runs", group="look"
        ),
        CommandSpec(
            "compare",
            "zoo_runs.verbs:compare",
            "Write a page: scores, curves and samples of runs",
            group="look",
        ),
        CommandSpec("rm", "zoo_runs.verbs:remove", "Remove runs", group="look"),
    ]
