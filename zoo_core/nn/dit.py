"""The diffusion transformer: patches as tokens, conditions through adaptive layer norms.

Peebles and Xie 2023, "Scalable Diffusion Models with Transformers", arXiv:2212.09748 (the adaLN-Zero block);
attention and feed-forward are timm's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.errors import UsageError
from zoo_core.nn.conditioning import condition_embedding, source_channels, with_image
from zoo_core.nn.embedding import TimeEmbedding
from zoo_core.nn.mlp import MLPConfig
from zoo_core.types import Cond, DataInfo


class DiTConfig(MLPConfig):
    """Options of the transformer; width and layers are the MLP's options too."""

    patch: int = Field(2, ge=1)
    """Transformer: patch size in pixels."""
    heads: int = Field(4, ge=1)
    """Transformer: attention heads."""


def check_heads(width: int, heads: int) -> None:
    """Refuse heads that do not divide a transformer's width.

    Raises:
        UsageError: as said.
    """
    if width % heads:
        raise UsageError(f"{heads} heads do not divide a width of {width}", "expected: a multiple of heads")


class DiTBlock(nn.Module):
    """h + g1 attend(a1 norm(h) + b1), then h + g2 feed(a2 norm(h) + b2); a, b, g are read from the condition.

    The layer that gives them starts at zero, so that a new block is the identity (section 3.2).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        from timm.layers import Mlp
        from timm.models.vision_transformer import Attention

        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attend = Attention(width, num_heads=heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.feed = Mlp(width, 4 * width, act_layer=lambda: nn.GELU(approximate="tanh"))
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, h: Tensor, vector: Tensor, seen: Tensor | None = None) -> Tensor:
        a1, b1, g1, a2, b2, g2 = self.modulation(F.silu(vector))[:, None].chunk(6, dim=-1)
        h = h + g1 * self.attend((1 + a1) * self.norm1(h) + b1, attn_mask=seen)
        return h + g2 * self.feed((1 + a2) * self.norm2(h) + b2)


class DiT(nn.Module):
    """Images and times to images: (n, C, H, W) and (n,) to (n, C, H, W).

    The tokens of a caption precede the patches; the image that the network is conditioned on is
    concatenated to its input.

    Args:
        config: the width is a multiple of heads, and H and W are multiples of the patch.
        data: (C, H, W), and what its task conditions the network on.
        time_scale: factor on t: 1 for steps of a chain, 1000 for times in [0, 1].
        outputs: number of images returned, side by side along axis 1.
        augment: dimensions of the augmentation label that the network is conditioned on; 0 for none.
        times: number of times of an example: with several, t is (n, times).

    Raises:
        UsageError: where patches do not tile the image, or heads do not divide the width.
    """

    def __init__(
        self,
        config: DiTConfig,
        data: DataInfo,
        *,
        time_scale: float = 1.0,
        outputs: int = 1,
        augment: int = 0,
        times: int = 1,
    ) -> None:
        super().__init__()
        channels, *size = data.shape
        patch, width, heads = config.patch, config.width, config.heads
        if size[0] % patch or size[1] % patch:
            raise UsageError(
                f"patches of {patch} do not tile an image of {size[0]}x{size[1]}",
                "expected: a divisor of both",
            )
        check_heads(width, heads)
        self.patch = patch
        self.image_channels = source_channels(data)
        self.time = TimeEmbedding(width, width, time_scale, times=times)
        self.condition = condition_embedding(data, width, augment)
        self.first = nn.Conv2d(channels + self.image_channels, width, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn(size[0] * size[1] // patch**2, width))
        self.blocks = nn.ModuleList(DiTBlock(width, heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 2 * width)
        self.last = nn.Linear(width, patch**2 * outputs * channels)
        for layer in (self.modulation, self.last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        vector, context = self.condition(cond, self.time(t))
        h = self.first(with_image(x, cond, self.image_channels))
        rows, columns = h.shape[-2:]
        h = h.flatten(2).transpose(1, 2) + self.position
        seen = None
        if context is not None:
            words = context.abs().sum(-1) > 0  # padding is all zeros
            seen = torch.cat((words, words.new_ones(h.shape[0], h.shape[1])), dim=1)[:, None, None]
            h = torch.cat((context, h), dim=1)
        for block in self.blocks:
            h = block(h, vector, seen)
        a, b = self.modulation(F.silu(vector))[:, None].chunk(2, dim=-1)
        h = self.last((1 + a) * self.norm(h[:, -rows * columns :]) + b)
        return F.pixel_shuffle(h.transpose(1, 2).reshape(x.shape[0], -1, rows, columns), self.patch)
