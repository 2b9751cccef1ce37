"""Restoration of degraded images with a trained denoiser: operators, methods, and the command `restore`."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import CommandSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            "restore",
            "zoo_restore.verbs:restore",
            "Restore degraded images: zoo restore RUN FOLDER operator=inpaint method=pigdm",
            group="run",
        ),
    ]
