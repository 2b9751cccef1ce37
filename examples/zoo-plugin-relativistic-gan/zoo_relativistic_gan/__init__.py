"""The relativistic average GAN: a critic that compares."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="relativistic-gan",
            family="gan",
            target="zoo_relativistic_gan.model:RelativisticGAN",
            config="zoo_relativistic_gan.model:RelativisticGANConfig",
            summary="GAN whose critic says which of two sides is more real",
            paper="arXiv:1807.00734",
        )
    ]
