"""Rectified flow: straight paths between noise and data."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="rectified-flow",
            family="flow",
            target="zoo_rectified_flow.model:RectifiedFlow",
            config="zoo_rectified_flow.model:RectifiedFlowConfig",
            summary="Velocity along straight lines from noise to data",
            paper="arXiv:2209.03003",
        )
    ]
