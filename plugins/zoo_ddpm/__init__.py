"""Denoising diffusion on a discrete chain."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")

TASKS = ("unconditional", "class", "text")


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
            tasks=TASKS,
        ),
        PluginSpec(
            name="iddpm",
            family="diffusion",
            target="zoo_ddpm.iddpm:IDDPM",
            config="zoo_ddpm.iddpm:IDDPMConfig",
            summary="Improved DDPM: learned variance of the reverse steps, cosine schedule",
            paper="arXiv:2102.09672",
            tasks=TASKS,
        ),
    ]
