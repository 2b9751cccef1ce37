"""The network of a diffusion model, chosen by its options: a U-Net, a transformer, or an MLP for points."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from zoo_core.config import Config
from zoo_core.errors import UsageError
from zoo_core.nn.dit import DiT
from zoo_core.nn.mlp import MLP
from zoo_core.nn.unet import UNet
from zoo_core.types import DataInfo


class Backbone(Config):
    """The network: a U-Net or a transformer for pictures, a residual MLP for points."""

    net: Literal["auto", "unet", "dit", "mlp"] = "auto"
    """auto takes a U-Net for pictures and an MLP for points."""
    channels: int = Field(32, ge=2, multiple_of=2)
    """U-Net: channels of the first level."""
    mult: tuple[int, ...] = Field((1, 2), min_length=1)
    """U-Net: factor on channels, one a level; each level halves the side."""
    blocks: int = Field(1, ge=1)
    """U-Net: residual blocks a level."""
    attention: tuple[int, ...] = ()
    """U-Net: sides at which there is attention; the bottom always has it."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """U-Net: dropout in each residual block."""
    width: int = Field(128, ge=2, multiple_of=2)
    """MLP and transformer: width."""
    layers: int = Field(3, ge=1)
    """MLP and transformer: blocks."""
    patch: int = Field(2, ge=1)
    """Transformer: side of a patch, in pixels."""
    heads: int = Field(4, ge=1)
    """Transformer: heads of attention."""


def build_backbone(
    model: Backbone,
    data: DataInfo,
    *,
    time_scale: float = 1.0,
    image_channels: int = 0,
    outputs: int = 1,
) -> nn.Module:
    """Return the network, called as net(x, t, cond), conditioned on what the data's task says.

    Args:
        model: its options.
        data: whose shape, classes and captions it is for.
        time_scale: factor on t: 1 for steps of a chain, 1000 for times in [0, 1].
        image_channels: of a picture it is conditioned on.
        outputs: how many of x's shape it returns, side by side along axis 1.

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
    if kind == "mlp":
        return MLP(data.dims, model.width, model.layers, time_scale, classes, outputs)
    vocabulary = data.vocabulary if data.task == "text" else 0
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
    )
