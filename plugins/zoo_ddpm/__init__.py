"""Denoising diffusion on a discrete chain."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="ddpm",
            family="diffusion",
            target="zoo_ddpm.ddpm:DDPM",
            config="zoo_ddpm.ddpm:DDPMConfig",
            summary="Denoising diffusion, trained to predict the noise; drives every sampler",
            paper="arXiv:2006.11239",
        )
    ]
