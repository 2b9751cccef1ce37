"""Rectified flow: straight paths between noise and data."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="straight-flow",
            family="flow",
            target="zoo_straight_flow.model:StraightFlow",
            config="zoo_straight_flow.model:StraightFlowConfig",
            summary="Velocity along straight lines from noise to data",
            paper="arXiv:2209.03003",
        )
    ]
