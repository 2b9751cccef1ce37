"""A critic of patches: one score for each place, of the image's patch around it (Isola et al. 2016).

A convolutional critic whose last map is kept evaluates overlapping patches one by one, whatever the image's
size; their side is the receptive field of one score (section 3.2.2 of arXiv:1611.07004).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Config
from zoo_core.errors import UsageError
from zoo_core.types import Cond

Norm = Literal["instance", "batch", "none"]


class TranslationModel(Config):
    """Options that models from image to image share."""

    generator_width: int = Field(32, ge=1)
    """Channels of the U-Net at the resolution of the image, doubled with each layer away from it, at most
    eightfold."""
    critic_width: int = Field(32, ge=1)
    """Channels of a critic after its first layer, doubled with each further layer, at most eightfold."""
    patch_layers: int = Field(1, ge=0)
    """Layers of stride 2 in a critic; the patch of a score has 16x16 pixels with 1, 34x34 with 2, 70x70 with
    3."""
    norm: Norm = "batch"
    """Normalization: over each image, over the batch, or none."""
    init: Literal["torch", "dcgan"] = "dcgan"
    """Initial weights: the defaults of torch, or N(0, 0.02)."""


def normalization(kind: Norm, channels: int) -> nn.Module:
    """Return the normalization of (n, channels, H, W) that translators and their critics share.

    Over the places of each image (Ulyanov et al. 2016, arXiv:1607.08022), which is batch norm of a batch of
    one; over the batch; or none.
    """
    kinds = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}
    return kinds[kind](channels) if kind in kinds else nn.Identity()


class PatchCritic(nn.Module):
    """Images (n, C, H, W) to a map of unbounded scores (n, 1, h, w), never averaged.

    4x4 convolutions: `patch_layers` of stride 2 with `critic_width` channels, doubled at each, then one
    of stride 1, then the scores. With 3 layers a score sees 70x70 pixels: C64-C128-C256-C512 of the paper.
    With none they are 1x1 and a score sees one pixel.

    Args:
        model: options; there is no normalization after the first layer and after the scores.
        channels: of all images that are concatenated.
        size: (H, W), for the check.

    Raises:
        UsageError: where such an image would leave no score.
    """

    def __init__(self, model: TranslationModel, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        width, layers = model.critic_width, model.patch_layers
        kernel, padding = (4, 1) if layers else (1, 0)
        widths = [width * min(2**depth, 8) for depth in range(layers + 1)]
        strides = [2] * layers + [1]
        if not layers:
            widths, strides = [width, 2 * width], [1, 1]
        stack: list[nn.Module] = []
        for place, (wide, stride) in enumerate(zip(widths, strides, strict=True)):
            stack.append(nn.Conv2d(channels, wide, kernel, stride, padding))
            stack += [normalization(model.norm, wide)] if place else []
            stack.append(nn.LeakyReLU(0.2))
            channels = wide
        self.net = nn.Sequential(*stack, nn.Conv2d(channels, 1, kernel, 1, padding))
        smallest = min(size) >> layers
        if layers and smallest < 3:
            raise UsageError(
                f"model.patch_layers={layers} leaves no patch of images of {size[0]}x{size[1]}",
                f"expected: at most {max(0, (min(size) // 3).bit_length() - 1)}",
            )

    def forward(self, x: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the scores of images, concatenated to the condition's image where there is one."""
        shown = x if cond is None or cond.image is None else torch.cat((cond.image, x), 1)
        return self.net(shown)
