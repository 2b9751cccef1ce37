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
        ),
        PluginSpec(
            name="beta-vae",
            family="vae",
            target="zoo_vae.beta_vae:BetaVAE",
            config="zoo_vae.beta_vae:BetaVAEConfig",
            summary="variational autoencoder with a weight on the KL",
        ),
        PluginSpec(
            name="iwae",
            family="vae",
            target="zoo_vae.iwae:IWAE",
            config="zoo_vae.iwae:IWAEConfig",
            summary="autoencoder trained on the importance-weighted bound",
            paper="arXiv:1509.00519",
        ),
        PluginSpec(
            name="hvae",
            family="vae",
            target="zoo_vae.hvae:HVAE",
            config="zoo_vae.hvae:HVAEConfig",
            summary="hierarchical VAE with Gaussian latents, whose top-down path prior and posterior share",
            paper="arXiv:1602.02282",
        ),
        PluginSpec(
            name="gtm",
            family="vae",
            target="zoo_vae.gtm:GTM",
            config="zoo_vae.gtm:GTMConfig",
            summary="mixture of decoded latent points, with an exact likelihood",
            paper="10.1162/089976698300017953",
            tasks=("unconditional", "class"),
        ),
        PluginSpec(
            name="vq-vae",
            family="vae",
            target="zoo_vae.vq_vae:VQVAE",
            config="zoo_vae.vq_vae:VQVAEConfig",
            summary="autoencoder with a learned codebook and an autoregressive prior over its codes",
            paper="arXiv:1711.00937",
            tasks=("unconditional", "class", "text"),
        ),
        PluginSpec(
            name="dvae",
            family="vae",
            target="zoo_vae.dvae:DVAE",
            config="zoo_vae.dvae:DVAEConfig",
            summary="discrete VAE of DALL-E, with a transformer over text and codes",
            paper="arXiv:2102.12092",
            tasks=("text", "unconditional", "class"),
        ),
    ]
