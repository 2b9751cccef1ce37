"""Score-based models in continuous time: the three SDEs, and EDM's design of them."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")

TASKS = ("unconditional", "class", "text")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="edm",
            family="diffusion",
            target="zoo_sde.edm:EDM",
            config="zoo_sde.edm:EDMConfig",
            summary="preconditioned denoiser on log-normal noise levels, sampled by Heun's method",
            paper="arXiv:2206.00364",
            tasks=TASKS,
        ),
        PluginSpec(
            name="subvp-sde",
            family="diffusion",
            target="zoo_sde.subvp_sde:SubVPSDE",
            config="zoo_sde.subvp_sde:SubVPSDEConfig",
            summary="score model of the sub-variance-preserving SDE",
            paper="arXiv:2011.13456",
            tasks=TASKS,
        ),
        PluginSpec(
            name="ve-sde",
            family="diffusion",
            target="zoo_sde.ve_sde:VESDE",
            config="zoo_sde.ve_sde:VESDEConfig",
            summary="score model of the variance-exploding SDE",
            paper="arXiv:2011.13456",
            tasks=TASKS,
        ),
        PluginSpec(
            name="vp-sde",
            family="diffusion",
            target="zoo_sde.vp_sde:VPSDE",
            config="zoo_sde.vp_sde:VPSDEConfig",
            summary="score model of the variance-preserving SDE, the continuous-time limit of DDPM",
            paper="arXiv:2011.13456",
            tasks=TASKS,
        ),
    ]
