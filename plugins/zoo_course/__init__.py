"""The course: topics of the lecture, each with a figure made by one command and exercises that are checked.

`zoo course` lists the topics; their pages are in docs/course. Figures use closed forms and distributions
whose density is known, so that almost nothing is trained.
"""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import CommandSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            "course",
            "zoo_course.cli:course",
            "Make the figures of the course, check its exercises",
            group="look",
        )
    ]
