"""Autoregressive priors over codes, p(c | t) = prod_k p(c_k | c_<k, t), with a text t before them if any.

The codes of an example stand at M places in reading order, (n, M) int64; a text is (n, length) tokens, 0 for
padding. A class is a text of one token.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import Config
from zoo_core.types import Cond, DataInfo

TEXTS = 128
"""Most texts that a marginal likelihood sums over."""


class PriorConfig(Config):
    """The prior over codes, fitted in the second stage."""

    net: Literal["transformer", "pixelcnn"] = "transformer"
    """Network of the prior: causal transformer, or masked convolutions on the grid of codes."""
    width: int = Field(64, ge=8)
    """Width of the transformer, a multiple of heads; or channels."""
    depth: int = Field(2, ge=1)
    """Number of blocks."""
    heads: int = Field(4, ge=1)
    """transformer: attention heads."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout in the blocks."""
    text_weight: float = Field(0.125, ge=0, lt=1)
    """transformer: weight of the text's tokens in the loss; the codes have the rest (Ramesh et al. 2021,
    section 2.2)."""
    share: float = Field(0.6, gt=0, lt=1)
    """Fraction of the run's steps for the second stage."""


def text_size(data: DataInfo) -> tuple[int, int]:
    """Return (vocabulary, length) of the texts that a run's task gives: captions, classes, or none (0, 0)."""
    if data.task == "text":
        return data.vocabulary, data.caption_length
    return (data.classes + 1, 1) if data.task == "class" else (0, 0)


def text_of(cond: Cond | None, data: DataInfo) -> Tensor | None:
    """Return the texts of conditions, (n, length) int64, or None where the task gives none."""
    if cond is None or data.task not in ("text", "class"):
        return None
    if data.task == "text":
        return cond.tokens
    return None if cond.label is None else cond.label[:, None] + 1


class CausalTransformer(nn.Module):
    """One stream of text and code tokens, each seeing those before it (Ramesh et al. 2021, section 2.2).

    Args:
        config: options.
        codes: K.
        places: M.
        text: (vocabulary, length); (0, 0) without a text.
    """

    def __init__(self, config: PriorConfig, codes: int, places: int, text: tuple[int, int] = (0, 0)) -> None:
        super().__init__()
        width, (vocabulary, length) = config.width, text
        self.places, self.length = places, length
        self.start = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(length + places, width))
        self.code = nn.Embedding(codes, width)
        self.word = nn.Embedding(vocabulary, width) if length else None
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, config.heads, 4 * width, config.dropout, F.gelu, batch_first=True, norm_first=True
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.to_code = nn.Linear(width, codes)
        self.to_word = nn.Linear(width, vocabulary) if length else None
        for embedding in (self.code, self.word):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=0.02)

    def _stream(self, codes: Tensor, text: Tensor | None) -> Tensor:
        """Return the stream's last states, (n, 1 + length + m, width), for m codes; state k tells token k."""
        parts = [self.start.expand(len(codes), -1, -1)]
        if self.word is not None:
            assert text is not None
            parts.append(self.word(text))
        h = torch.cat([*parts, self.code(codes)], 1)
        h = h + self.position[: h.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(h.shape[1], device=h.device, dtype=h.dtype)
        for block in self.blocks:
            h = block(h, src_mask=mask, is_causal=True)
        return self.norm(h)

    def forward(self, codes: Tensor, text: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return logits of every code, (n, M, K), and of every token of the text, (n, length, vocabulary)."""
        h = self._stream(codes[:, :-1], text)
        words = None if self.to_word is None else self.to_word(h[:, : self.length])
        return self.to_code(h[:, self.length :]), words

    def next(self, codes: Tensor, text: Tensor | None = None) -> Tensor:
        """Return the logits of code k, (n, K), given those before it, (n, k)."""
        return self.to_code(self._stream(codes, text)[:, -1])


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees what comes before in reading order; `own` lets it see the place itself."""

    def __init__(self, inner: int, outer: int, kernel: int, *, own: bool) -> None:
        super().__init__(inner, outer, kernel, padding=kernel // 2)
        seen = torch.zeros(kernel * kernel)
        seen[: kernel * kernel // 2 + own] = 1
        self.seen: Tensor
        self.register_buffer("seen", seen.view(kernel, kernel), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * self.seen, self.bias)


class PixelCNN(nn.Module):
    """Masked convolutions over the grid of codes (van den Oord et al. 2016, arXiv:1601.06759, section 3.2).

    Masks leave a blind spot, up and to the right, that a deeper net does not see either. Every layer is
    conditioned on a text by the sum of its tokens' vectors; the text itself is not modeled.

    Args:
        config: options; heads are not used.
        codes: K.
        grid: (h, w).
        text: (vocabulary, length); (0, 0) without a text.
    """

    def __init__(
        self, config: PriorConfig, codes: int, grid: tuple[int, int], text: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__()
        width, (vocabulary, length) = config.width, text
        self.grid = grid
        self.code = nn.Embedding(codes, width)
        self.word = nn.Embedding(vocabulary, width) if length else None
        self.first = MaskedConv2d(width, width, 5, own=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(),
                nn.Conv2d(width, width // 2, 1),
                nn.SiLU(),
                MaskedConv2d(width // 2, width // 2, 3, own=True),
                nn.SiLU(),
                nn.Dropout(config.dropout),
                nn.Conv2d(width // 2, width, 1),
            )
            for _ in range(config.depth)
        )
        self.to_code = nn.Sequential(nn.SiLU(), nn.Conv2d(width, codes, 1))

    def forward(self, codes: Tensor, text: Tensor | None = None) -> tuple[Tensor, None]:
        """Return logits of every code, (n, M, K); the text has none."""
        h = self.first(self.code(codes).transpose(1, 2).unflatten(2, self.grid))
        condition: Tensor | float = 0.0
        if self.word is not None:
            assert text is not None
            condition = (self.word(text) * (text > 0)[..., None]).sum(1)[:, :, None, None]
        for block in self.blocks:
            h = h + block(h + condition)
        return self.to_code(h + condition).flatten(2).transpose(1, 2), None

    def next(self, codes: Tensor, text: Tensor | None = None) -> Tensor:
        """Return the logits of code k, (n, K), given those before it, (n, k)."""
        k = codes.shape[1]
        return self(F.pad(codes, (0, math.prod(self.grid) - k)), text)[0][:, k]


Prior = CausalTransformer | PixelCNN


def build_prior(config: PriorConfig, codes: int, grid: tuple[int, int], text: tuple[int, int]) -> Prior:
    """Return the prior over K codes on a grid (h, w), given texts of (vocabulary, length)."""
    if config.net == "pixelcnn":
        return PixelCNN(config, codes, grid, text)
    return CausalTransformer(config, codes, math.prod(grid), text)


def log_prob(prior: Prior, codes: Tensor, text: Tensor | None = None) -> Tensor:
    """Return log p(codes | text), (n,) float64 nats."""
    logits = prior(codes, text)[0].double()
    return logits.log_softmax(-1).gather(2, codes[..., None]).sum((1, 2))


def pick(logits: Tensor, u: Tensor) -> Tensor:
    """Return draws from categorical distributions by inverting their distribution functions, (...,) int64.

    Args:
        logits: (..., K).
        u: uniform in [0, 1), (...,).
    """
    below = logits.double().softmax(-1).cumsum(-1) <= u.double()[..., None]
    return below[..., :-1].sum(-1)


def draw(prior: Prior, u: Tensor, text: Tensor | None = None) -> Tensor:
    """Return codes drawn place by place, (n, M) int64, from uniforms u (n, M)."""
    codes = torch.empty(len(u), 0, dtype=torch.int64, device=u.device)
    for k in range(u.shape[1]):
        codes = torch.cat((codes, pick(prior.next(codes, text), u[:, k])[:, None]), 1)
    return codes


class TextFrequencies(nn.Module):
    """Frequencies of texts in training, for the marginal likelihood of a conditional model.

    Args:
        length: of a text.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.text: Tensor
        self.share: Tensor
        self.register_buffer("text", torch.zeros(TEXTS, length, dtype=torch.int64))
        self.register_buffer("share", torch.zeros(TEXTS, dtype=torch.float64))

    def fit(self, text: Tensor) -> None:
        """Count (N, length) texts; the rarest beyond TEXTS are left out, and their probability is lost."""
        counted = Counter(map(tuple, text.tolist())).most_common(TEXTS)
        for row, (words, count) in enumerate(counted):
            self.text[row] = torch.tensor(words)
            self.share[row] = count / len(text)

    def kept(self) -> float:
        """Return the fraction of the training examples whose text is among those counted, in [0, 1]."""
        return float(self.share.sum())

    def log_marginal(self, log_given: Callable[[Tensor], Tensor], n: int) -> Tensor:
        """Return log sum_t share(t) p(. | t), (n,) float64 nats, a lower bound where texts were left out.

        Args:
            log_given: texts (n, length), all alike, to log p(. | t), (n,) nats.
        """
        total = torch.full((n,), -torch.inf, dtype=torch.float64, device=self.share.device)
        for words, share in zip(self.text, self.share, strict=True):
            if share > 0:
                total = torch.logaddexp(total, share.log() + log_given(words.expand(n, -1)))
        return total
