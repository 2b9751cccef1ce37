"""Embeddings of conditions: one vector, and a sequence of caption tokens for cross-attention."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.types import Cond, DataInfo

T = TypeVar("T")

MAX_TOKENS = 64
"""Of a caption, beside the null token."""


_kept: dict[tuple[int, int], tuple[Tensor, Any]] | None = None
"""What embeddings made of which tensors; the tensors are held, so that no other one takes their place."""


@contextlib.contextmanager
def kept_conditions() -> Iterator[None]:
    """Within the block, which draws samples, labels and captions are embedded once for all steps.

    It holds where no gradients are recorded and nothing is compiled; weights and conditions must not change.
    """
    global _kept
    before, _kept = _kept, {}
    try:
        yield
    finally:
        _kept = before


def _once(module: nn.Module, given: Tensor, make: Callable[[Tensor], T]) -> T:
    """Return what a module makes of a tensor: within `kept_conditions`, what it made of it before."""
    if _kept is None or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return make(given)
    key = (id(module), id(given))
    if key not in _kept:
        _kept[key] = given, make(given)
    found: T = _kept[key][1]
    return found


class ConditionEmbedding(nn.Module):
    """Labels and captions to (vector, context): added to the time embedding, and tokens for cross-attention.

    The null condition, for guidance, is the label `classes` and a caption of padding only; both have
    learned embeddings. Where neither labels nor captions exist it has no parameters and adds nothing.

    Args:
        classes: number of classes, 0 for no labels.
        vocabulary: number of tokens, padding included, 0 for no captions.
        width: of vector and context.
        layers: of the caption's transformer.
        augment: numbers of the augmentation label, 0 for none; a linear map of it, without a bias, is added
            to the vector (Karras et al. 2022, arXiv:2206.00364, appendix F.2).
    """

    def __init__(self, classes: int, vocabulary: int, width: int, layers: int = 2, augment: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.vocabulary = vocabulary
        self.augment = nn.Linear(augment, width, bias=False) if augment else None
        if classes:
            self.label = nn.Embedding(classes + 1, width)
        if vocabulary:
            self.token = nn.Embedding(vocabulary, width)
            self.position = nn.Parameter(0.02 * torch.randn(MAX_TOKENS + 1, width))
            block = nn.TransformerEncoderLayer(
                width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.encoder = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
            self.norm = nn.LayerNorm(width)

    def forward(self, cond: Cond | None, time: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (vector, context): (n, width) to add to the time, and (n, length, width) or None."""
        vector, context = time, None
        if self.augment is not None and cond is not None and cond.augment is not None:
            vector = vector + self.augment(cond.augment.to(vector.dtype))
        if self.classes:
            vector = vector + self._label(None if cond is None else cond.label, time)
        if self.vocabulary:
            context, pooled = self._caption(None if cond is None else cond.tokens, time)
            vector = vector + pooled
        return vector, context

    def _label(self, label: Tensor | None, time: Tensor) -> Tensor:
        if label is None:
            return self.label(torch.full((time.shape[0],), self.classes, device=time.device))
        return _once(self.label, label, self.label)

    def _caption(self, tokens: Tensor | None, time: Tensor) -> tuple[Tensor, Tensor]:
        if tokens is None:
            none = torch.zeros(time.shape[0], 0, dtype=torch.int64, device=time.device)
            return self._encoded(none)
        return _once(self.encoder, tokens, self._encoded)

    def _encoded(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the caption's encoded tokens, with zeros for padding, and their mean."""
        # A first token of padding stands for the caption as a whole, and alone for no caption.
        tokens = F.pad(tokens[:, :MAX_TOKENS], (1, 0))
        padding = tokens == 0
        padding[:, 0] = False
        h = self.token(tokens) + self.position[: tokens.shape[1]]
        h = self.norm(self.encoder(h, src_key_padding_mask=padding))
        kept = (~padding).to(h)[..., None]
        return h * kept, (h * kept).sum(1) / kept.sum(1)


def condition_embedding(data: DataInfo, width: int, augment: int = 0) -> ConditionEmbedding:
    """Return the embedding of the labels or captions that the data's task conditions a model on.

    Args:
        data: with its task.
        width, augment: as in `ConditionEmbedding`.
    """
    classes = data.classes if data.task == "class" else 0
    vocabulary = data.vocabulary if data.task == "text" else 0
    return ConditionEmbedding(classes, vocabulary, width, augment=augment)


def source_channels(data: DataInfo) -> int:
    """Return the channels of the image that the data's task conditions a model on; 0 where there is none."""
    return data.image_channels if data.task == "paired" else 0


def with_image(x: Tensor, cond: Cond | None, channels: int) -> Tensor:
    """Return x with the source image concatenated to its channels; zeros where there is none."""
    if not channels:
        return x
    image = None if cond is None else cond.image
    if image is None:
        image = x.new_zeros(x.shape[0], channels, *x.shape[2:])
    return torch.cat((x, image.to(x)), dim=1)


class CrossAttention(nn.Module):
    """(n, C, H, W) and (n, length, width) to (n, C, H, W): each pixel attends to the caption's tokens.

    It starts as the identity. Rombach et al. 2022, arXiv:2112.10752, section 3.3.
    """

    def __init__(self, channels: int, width: int, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Linear(width, 2 * channels)
        self.project = nn.Conv2d(channels, channels, 1)
        for parameter in self.project.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        n, c, height, width = x.shape
        q = self.query(self.norm(x)).reshape(n, 1, c, height * width).transpose(-1, -2)
        k, v = self.key_value(context)[:, None].chunk(2, dim=-1)
        seen = context.abs().sum(-1)[:, None, None] > 0  # padding is all zeros
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return x + self.project(h.transpose(-1, -2).reshape(n, c, height, width))
