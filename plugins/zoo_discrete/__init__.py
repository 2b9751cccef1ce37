"""Discrete diffusion: images, points and captions as levels, noised by a Markov chain over them."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="d3pm",
            family="discrete-diffusion",
            target="zoo_discrete.d3pm:D3PM",
            config="zoo_discrete.d3pm:D3PMConfig",
            summary="diffusion of levels by uniform, absorbing or discretized Gaussian transitions",
            paper="arXiv:2107.03006",
        ),
        PluginSpec(
            name="mdlm",
            family="discrete-diffusion",
            target="zoo_discrete.mdlm:MDLM",
            config="zoo_discrete.mdlm:MDLMConfig",
            summary="masked diffusion in continuous time, with a network that does not depend on the time",
            paper="arXiv:2406.07524",
            tasks=("unconditional", "caption"),
        ),
    ]
