"""The network of a diffusion model, chosen by its options: a U-Net, a transformer, or an MLP for points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from zoo_core.config import Config
from zoo_core.config.own import OwnName
from zoo_core.errors import UsageError
from zoo_core.nn.dit import DiT, DiTConfig
from zoo_core.nn.mlp import MLP
from zoo_core.nn.own import own_network
from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.types import DataInfo


class NetworkConfig(Config):
    """Choice of the network."""

    net: Literal["auto", "unet", "dit", "mlp"] | OwnName = "auto"
    """Network; auto is a U-Net for images and an MLP for points. MODULE:NAME is a network of your own."""


class Backbone(DiTConfig, UNetConfig, NetworkConfig):
    """The network: a U-Net or a transformer for images, a residual MLP for points."""


DDPM_PP: Mapping[str, Any] = {
    "model.channels": 128,
    "model.mult": (1, 2, 2, 2),
    "model.blocks": 4,
    "model.attention": (16,),
    "model.dropout": 0.1,
    "model.resample": "box",
    "model.skip_scale": 0.5**0.5,
    "model.attend_up": "last",
}
"""DDPM++ for CIFAR-10, 61.8 M parameters: Song et al. 2021, arXiv:2011.13456, appendix H, and their configs;
106.6 M with 8 blocks (deep)."""
NCSN_PP: Mapping[str, Any] = {
    **DDPM_PP,
    "model.resample": "fir",
    "model.pyramid": True,
    "model.time": "fourier",
}
"""NCSN++ for CIFAR-10: the same with a smoother filter, a pyramid and Fourier features of the time."""


def build_backbone(
    model: Backbone,
    data: DataInfo,
    *,
    time_range: float = 1000.0,
    time_scale: float = 1.0,
    outputs: int = 1,
    augment: int = 0,
    times: int = 1,
) -> nn.Module:
    """Return the network, called as net(x, t, cond), conditioned as the data's task says.

    Args:
        model: options of the networks.
        data: its shape, classes, captions and source images.
        time_range: greatest time minus the least: `fourier_scale` is periods over the whole of it.
        time_scale: factor on t in sinusoids: 1 for steps of a chain, 1000 for times in [0, 1].
        outputs: number of outputs of x's shape, side by side along axis 1.
        augment: dimensions of the augmentation label that it is conditioned on, 0 for none; images only.
        times: number of times of an example: with several, t is (n, times).

    Raises:
        UsageError: for a network that can't take such data.
    """
    if ":" in model.net:
        return own_network(
            model.net, data, time_scale=time_scale, outputs=outputs, augment=augment, times=times
        )
    kind = model.net if model.net != "auto" else "unet" if data.is_image else "mlp"
    if (kind == "mlp") == data.is_image:
        raise UsageError(
            f"model.net={kind} was asked for and an example of {data.name!r} has shape {data.shape}",
            f"expected: {'unet or dit' if data.is_image else 'mlp'}",
            "next: model.net=auto",
        )
    if kind == "mlp":
        return MLP(model, data, time_scale=time_scale, outputs=outputs, times=times)
    if kind == "dit":
        return DiT(model, data, time_scale=time_scale, outputs=outputs, augment=augment, times=times)
    return UNet(
        model,
        data,
        time_range=time_range,
        time_scale=time_scale,
        outputs=outputs,
        augment=augment,
        times=times,
    )
