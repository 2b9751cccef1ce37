"""Export of a trained network as a plain module: its weights, a program of torch.export, ONNX."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import CommandSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            "export",
            "zoo_export.verbs:export",
            "Export a network: its weights, torch.export or ONNX",
            group="share",
        )
    ]
