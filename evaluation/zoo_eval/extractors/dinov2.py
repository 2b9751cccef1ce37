"""DINOv2 as dgm-eval has it: `eval.extractor=dinov2`, printed `FD[dinov2]`; `eval.protocol=fdd` is FDD.

Stein et al. 2023 (arXiv:2306.04675) and their program (github.com/layer6ai-labs/dgm-eval, models/dinov2.py
and representations.py): the ViT-L/14 of Oquab et al. 2023 without registers; the whole image, not a crop,
brought to 224x224 pixels by Pillow's bicubic filter, which rounds to bytes; mean and standard deviation of
ImageNet; features are the class token after the last normalization, 1,024, not normalized further.

timm has the weights. Its way to bring the 37x37 position embeddings to 16x16 is antialiased; theirs
(github.com/facebookresearch/dinov2, models/vision_transformer.py) is not, and theirs is taken.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo_core.config import EvalConfig
from zoo_eval.extractors.timm_models import TimmModel, weights_of
from zoo_eval.extractors.timm_models import fetch as fetch_timm

MODEL, SIDE = "vit_large_patch14_dinov2.lvd142m", 224
_OFFSET = 0.1  # the authors add it to the new side of the grid, against rounding


def positions(embeddings: Tensor, side: int) -> Tensor:
    """Return position embeddings of another grid as DINOv2's authors do.

    Args:
        embeddings: (1, 1 + m * m, d): that of the class token, then those of the grid in rows.
        side: n, of the new grid.

    Returns:
        (1, 1 + n * n, d).
    """
    token, grid = embeddings[:, :1], embeddings[:, 1:]
    old = math.isqrt(grid.shape[1])
    if old == side:
        return embeddings
    image = grid.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    scale = (side + _OFFSET) / old
    image = nn.functional.interpolate(image.float(), scale_factor=(scale, scale), mode="bicubic")
    return torch.cat((token, image.flatten(2).transpose(1, 2).to(token.dtype)), 1)


class DinoV2(TimmModel):
    """The network as an `interfaces.Extractor`; it gives 1,024 features and no logits.

    Args:
        path: file of its weights, timm's or the authors'.
        device: where it runs.

    Raises:
        UsageError: where the weights are others.
    """

    def __init__(self, path: Path, device: torch.device | str) -> None:
        super().__init__(MODEL, path, device)
        trained = self.net.pos_embed.detach()
        self.net.set_input_size(img_size=(SIDE, SIDE))
        self.net.pos_embed = nn.Parameter(
            positions(trained, SIDE // self.net.patch_embed.patch_size[0]), requires_grad=False
        )
        self.name = "dinov2"
        self.size = (SIDE, SIDE)
        self.resize = f"{self.mode} to {SIDE}x{SIDE}, antialiased, rounded to 8 bits"

    def _resized(self, x: Tensor) -> Tensor:
        """Return images in [0, 1] at the network's size: along rows, then along columns, bytes after each."""
        for size in ((x.shape[2], SIDE), (SIDE, SIDE)):
            x = nn.functional.interpolate(x, size, mode=self.mode, antialias=True, align_corners=False)
            x = (x * 255).round().clamp(0, 255) / 255
        return x


def dinov2(config: EvalConfig, device: torch.device | str) -> DinoV2:
    """Return the network.

    Raises:
        UsageError: for weights that are neither cached nor given.
    """
    return DinoV2(weights_of(MODEL, config, "dinov2"), device)


def fetch() -> Path:
    """Download the weights (1.2 GB) into the Hugging Face cache and return their path.

    Raises:
        MachineError: without a network.
    """
    return fetch_timm(MODEL)
