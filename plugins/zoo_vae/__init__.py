"""Variational autoencoders: a likelihood given latents, and an encoder that makes it trainable."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="vae",
            family="vae",
            target="zoo_vae.vae:VAE",
            config="zoo_vae.vae:VAEConfig",
            summary="variational autoencoder with a Gaussian encoder",
            paper="arXiv:1312.6114",
        )
    ]
