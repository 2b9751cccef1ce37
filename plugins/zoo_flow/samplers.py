"""Deterministic samplers on levels that are even in the time of straight paths, as specs."""

from __future__ import annotations

from zoo_core.registry.spec import SamplerSpec

FLOW_EULER = SamplerSpec(
    name="flow-euler",
    target="zoo_core.diffusion.samplers:euler",
    grid="zoo_flow.path:even_in_t",
    steps=50,
    summary="probability flow by Euler's method, evenly in t = sigma / (1 + sigma)",
    paper="arXiv:2209.03003",
)

FLOW_HEUN = SamplerSpec(
    name="flow-heun",
    target="zoo_flow.path:heun_in_t",
    grid="zoo_flow.path:even_in_t",
    steps=25,
    summary="probability flow by Heun's method, evenly in t = sigma / (1 + sigma), 2 steps - 1 NFE",
    paper="arXiv:2210.02747",
)
