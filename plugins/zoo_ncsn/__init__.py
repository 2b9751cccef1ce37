"""Score networks on a sequence of noise levels."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="ncsn",
            family="diffusion",
            target="zoo_ncsn.ncsn:NCSN",
            config="zoo_ncsn.ncsn:NCSNConfig",
            summary="score network on a noise schedule, sampled by annealed Langevin dynamics",
            paper="arXiv:1907.05600",
            tasks=("unconditional", "class", "text"),
        )
    ]
