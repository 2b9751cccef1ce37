"""Adversarial models: two networks in alternation."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="gan",
            family="gan",
            target="zoo_gan.gan:GAN",
            config="zoo_gan.gan:GANConfig",
            summary="original GAN, with the non-saturating or the minimax loss",
            paper="arXiv:1406.2661",
        ),
        PluginSpec(
            name="dcgan",
            family="gan",
            target="zoo_gan.dcgan:DCGAN",
            config="zoo_gan.dcgan:DCGANConfig",
            summary="GAN with strided convolutions and batch normalization",
            paper="arXiv:1511.06434",
        ),
        PluginSpec(
            name="lsgan",
            family="gan",
            target="zoo_gan.lsgan:LSGAN",
            config="zoo_gan.lsgan:LSGANConfig",
            summary="least-squares GAN",
            paper="arXiv:1611.04076",
        ),
        PluginSpec(
            name="wgan",
            family="gan",
            target="zoo_gan.wgan:WGAN",
            config="zoo_gan.wgan:WGANConfig",
            summary="Wasserstein GAN with weight clipping",
            paper="arXiv:1701.07875",
        ),
        PluginSpec(
            name="wgan-gp",
            family="gan",
            target="zoo_gan.wgan_gp:WGANGP",
            config="zoo_gan.wgan_gp:WGANGPConfig",
            summary="Wasserstein GAN with a gradient penalty",
            paper="arXiv:1704.00028",
        ),
        PluginSpec(
            name="sngan",
            family="gan",
            target="zoo_gan.sngan:SNGAN",
            config="zoo_gan.sngan:SNGANConfig",
            summary="GAN with spectral normalization of the critic and hinge losses",
            paper="arXiv:1802.05957",
        ),
        PluginSpec(
            name="r3gan",
            family="gan",
            target="zoo_gan.r3gan:R3GAN",
            config="zoo_gan.r3gan:R3GANConfig",
            summary="relativistic GAN with penalties at real and generated examples",
            paper="arXiv:2501.05441",
        ),
        PluginSpec(
            name="stylegan",
            family="gan",
            target="zoo_gan.stylegan:StyleGAN",
            config="zoo_gan.stylegan:StyleGANConfig",
            summary="StyleGAN and StyleGAN2, with adaptive augmentation",
            paper="arXiv:1912.04958",
        ),
        PluginSpec(
            name="style-transfer",
            family="gan",
            target="zoo_gan.style_transfer:StyleTransfer",
            config="zoo_gan.style_transfer:StyleTransferConfig",
            summary="style transfer by AdaIN between a frozen encoder and a decoder",
            paper="arXiv:1703.06868",
            tasks=("unpaired",),
        ),
        PluginSpec(
            name="pix2pix",
            family="gan",
            target="zoo_gan.pix2pix:Pix2Pix",
            config="zoo_gan.pix2pix:Pix2PixConfig",
            summary="paired image translation with a U-Net and a patch critic",
            paper="arXiv:1611.07004",
            tasks=("paired",),
        ),
        PluginSpec(
            name="cyclegan",
            family="gan",
            target="zoo_gan.cyclegan:CycleGAN",
            config="zoo_gan.cyclegan:CycleGANConfig",
            summary="unpaired image translation with two translators and cycle consistency",
            paper="arXiv:1703.10593",
            tasks=("unpaired",),
        ),
        PluginSpec(
            name="cgan",
            family="gan",
            target="zoo_gan.cgan:CGAN",
            config="zoo_gan.cgan:CGANConfig",
            summary="class-conditional GAN, by a joint layer or a projection",
            paper="arXiv:1411.1784",
            tasks=("class",),
        ),
        PluginSpec(
            name="text-gan",
            family="gan",
            target="zoo_gan.text_gan:TextGAN",
            config="zoo_gan.text_gan:TextGANConfig",
            summary="text-conditional GAN with a matching-aware critic",
            paper="arXiv:1605.05396",
            tasks=("text",),
        ),
        PluginSpec(
            name="multiview-gan",
            family="gan",
            target="zoo_gan.multiview_gan:MultiView",
            config="zoo_gan.multiview_gan:MultiViewConfig",
            summary="GAN with separate latents for content and view; the critic scores pairs of views",
            paper="arXiv:1711.00305",
            tasks=("views",),
        ),
    ]
