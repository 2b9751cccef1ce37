"""The network of a diffusion model, chosen by its options: a U-Net, a transformer, or an MLP for points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field
from torch import nn

from zoo_core.config import Config, later
from zoo_core.errors import UsageError
from zoo_core.nn.dit import DiT
from zoo_core.nn.mlp import MLP
from zoo_core.nn.unet import Resampling, UNet
from zoo_core.types import DataInfo


class Backbone(Config):
    """The network: a U-Net or a transformer for images, a residual MLP for points."""

    net: Literal["auto", "unet", "dit", "mlp"] = "auto"
    """Network; auto is a U-Net for images and an MLP for points."""
    channels: int = Field(32, ge=2, multiple_of=2)
    """U-Net: channels at the highest resolution."""
    mult: tuple[int, ...] = Field((1, 2), min_length=1)
    """U-Net: factors on the channels, one per resolution; each halves the previous resolution."""
    blocks: int = Field(1, ge=1)
    """U-Net: residual blocks per resolution."""
    attention: tuple[int, ...] = ()
    """U-Net: resolutions (side in pixels) with attention; the lowest resolution always has it."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """U-Net: dropout probability in each residual block."""
    time: Literal["sinusoidal", "fourier"] = later("sinusoidal", since="0.1.0")
    """U-Net: time embedding: sinusoidal, or Fourier features with random frequencies."""
    fourier_scale: float = later(16.0, since="0.1.0", gt=0)
    """U-Net: standard deviation of the Fourier frequencies, in periods over the whole range of times."""
    resample: Resampling = later("conv", since="0.1.0")
    """U-Net: resampling by a convolution (conv), or in a residual block by a filter: the mean of four pixels
    (box), or a smoother filter with less aliasing (fir)."""
    skip_scale: float = later(1.0, since="0.1.0", gt=0, le=1)
    """U-Net: factor on the sum of a residual block and its input; 0.7071 keeps the variance."""
    pyramid: bool = later(False, since="0.1.0")
    """U-Net: feed the input, downsampled, to every resolution."""
    attend_up: Literal["each", "last"] = later("each", since="0.1.0")
    """U-Net: on the way up, attention after each block of a resolution, or after the last."""
    width: int = Field(128, ge=2, multiple_of=2)
    """MLP and transformer: width."""
    layers: int = Field(3, ge=1)
    """MLP and transformer: number of blocks."""
    patch: int = Field(2, ge=1)
    """Transformer: patch size in pixels."""
    heads: int = Field(4, ge=1)
    """Transformer: attention heads."""


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
) -> nn.Module:
    """Return the network, called as net(x, t, cond), conditioned on what the data's task says.

    Args:
        model: its options.
        data: whose shape, classes, captions and source images it is for.
        time_range: from the least time to the greatest: Fourier features' `fourier_scale` is of the whole.
        time_scale: factor on t in sinusoids: 1 for steps of a chain, 1000 for times in [0, 1].
        outputs: how many of x's shape it returns, side by side along axis 1.
        augment: numbers of the augmentation label that it is conditioned on, 0 for none; images only.

    Raises:
        UsageError: for a network that can't take such data.
    """
    kind = model.net if model.net != "auto" else "unet" if data.is_image else "mlp"
    if (kind == "mlp") == data.is_image:
        raise UsageError(
            f"model.net={kind} was asked for and an example of {data.name!r} has shape {data.shape}",
            f"expected: {'unet or dit' if data.is_image else 'mlp'}",
            "next: model.net=auto",
        )
    classes = data.classes if data.task == "class" else 0
    vocabulary = data.vocabulary if data.task == "text" else 0
    if kind == "mlp":
        return MLP(data.dims, model.width, model.layers, time_scale, classes, outputs, vocabulary)
    image_channels = data.image_channels if data.task == "paired" else 0
    channels, height, width = data.shape
    if kind == "dit":
        return DiT(
            channels,
            (height, width),
            patch=model.patch,
            width=model.width,
            layers=model.layers,
            heads=model.heads,
            time_scale=time_scale,
            classes=classes,
            vocabulary=vocabulary,
            image_channels=image_channels,
            outputs=outputs,
            augment=augment,
        )
    return UNet(
        channels,
        height,
        channels=model.channels,
        mult=model.mult,
        blocks=model.blocks,
        attention=model.attention,
        dropout=model.dropout,
        time_scale=time_scale,
        classes=classes,
        vocabulary=vocabulary,
        image_channels=image_channels,
        outputs=outputs,
        fourier=model.fourier_scale / time_range if model.time == "fourier" else 0.0,
        resample=model.resample,
        skip_scale=model.skip_scale,
        pyramid=model.pyramid,
        attend_up=model.attend_up,
        augment=augment,
    )
