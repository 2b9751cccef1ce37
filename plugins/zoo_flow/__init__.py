"""Flow matching: velocities along straight paths from noise to data."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec, SamplerSpec
from zoo_flow.samplers import FLOW_EULER, FLOW_HEUN

hookimpl = pluggy.HookimplMarker("zoo")

TASKS = ("unconditional", "class", "text")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="flow-matching",
            family="flow",
            target="zoo_flow.matching:FlowMatching",
            config="zoo_flow.matching:FlowMatchingConfig",
            summary="velocity along straight paths between independent noise and data",
            paper="arXiv:2210.02747",
            tasks=TASKS,
        ),
        PluginSpec(
            name="ot-cfm",
            family="flow",
            target="zoo_flow.transport:OTFlowMatching",
            config="zoo_flow.transport:OTFlowMatchingConfig",
            summary="flow matching whose noise and data are paired by optimal transport in each batch",
            paper="arXiv:2302.00482",
            tasks=TASKS,
        ),
        PluginSpec(
            name="rectified-flow",
            family="flow",
            target="zoo_flow.rectified:RectifiedFlow",
            config="zoo_flow.rectified:RectifiedFlowConfig",
            summary="flow matching, then once more on its own pairs of noise and samples: straighter paths",
            paper="arXiv:2209.03003",
            tasks=TASKS,
        ),
        PluginSpec(
            name="consistency",
            family="flow",
            target="zoo_flow.consistency:Consistency",
            config="zoo_flow.consistency:ConsistencyConfig",
            summary="one step from any noise level to data, by easy consistency tuning",
            paper="arXiv:2406.14548",
            tasks=TASKS,
        ),
        PluginSpec(
            name="meanflow",
            family="flow",
            target="zoo_flow.meanflow:MeanFlow",
            config="zoo_flow.meanflow:MeanFlowConfig",
            summary="average velocity between two times, for samples in one step",
            paper="arXiv:2505.13447",
            tasks=TASKS,
        ),
    ]


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return [FLOW_EULER, FLOW_HEUN]
