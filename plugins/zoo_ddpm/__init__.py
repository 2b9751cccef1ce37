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
            summary="denoising diffusion, trained to predict the noise; works with every sampler",
            paper="arXiv:2006.11239",
            tasks=TASKS,
        ),
        PluginSpec(
            name="iddpm",
            family="diffusion",
            target="zoo_ddpm.iddpm:IDDPM",
            config="zoo_ddpm.iddpm:IDDPMConfig",
            summary="improved DDPM: learned variance of the reverse steps, cosine schedule",
            paper="arXiv:2102.09672",
            tasks=TASKS,
        ),
        PluginSpec(
            name="ldm",
            family="diffusion",
            target="zoo_ddpm.ldm:LDM",
            config="zoo_ddpm.ldm:LDMConfig",
            summary="latent diffusion: DDPM on the codes of any registered autoencoder",
            paper="arXiv:2112.10752",
            tasks=TASKS,
        ),
        PluginSpec(
            name="palette",
            family="diffusion",
            target="zoo_ddpm.palette:Palette",
            config="zoo_ddpm.palette:PaletteConfig",
            summary="image-to-image diffusion: super-resolution, inpainting, colorization",
            paper="arXiv:2111.05826",
            tasks=("paired",),
        ),
        PluginSpec(
            name="vdm",
            family="diffusion",
            target="zoo_ddpm.vdm:VDM",
            config="zoo_ddpm.vdm:VDMConfig",
            summary="variational diffusion: a continuous-time bound and a learned noise schedule",
            paper="arXiv:2107.00630",
            tasks=TASKS,
        ),
        PluginSpec(
            name="cold",
            family="diffusion",
            target="zoo_ddpm.cold:Cold",
            config="zoo_ddpm.cold:ColdConfig",
            summary="cold diffusion: restores images from a blur or large pixels; no noise",
            paper="arXiv:2208.09392",
        ),
    ]
