"""Latents of trained models: interpolation between samples, and inversion of images."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import CommandSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            "interpolate",
            "zoo_latents.verbs:interpolate",
            "Interpolate between samples of a run: zoo interpolate RUN",
            group="run",
        ),
        CommandSpec(
            "invert",
            "zoo_latents.verbs:invert",
            "Find the latents of images and report the round-trip error: zoo invert RUN FOLDER",
            group="run",
        ),
    ]
