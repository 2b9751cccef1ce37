"""Adversarial models: two networks in alternation."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="wgan",
            family="gan",
            target="zoo_gan.wgan:WGAN",
            config="zoo_gan.wgan:WGANConfig",
            summary="Wasserstein GAN with weight clipping",
            paper="arXiv:1701.07875",
        )
    ]
