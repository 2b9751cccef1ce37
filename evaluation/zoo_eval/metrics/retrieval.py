"""Text to image: is a sample nearer to another artist's drawing of its caption than to those of others?

Copying the training image of a caption does not help by itself: the gallery is drawn in another style.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from zoo_core.data import emoji
from zoo_core.data.captions import Tokenizer
from zoo_core.data.conditioning import conditions
from zoo_core.errors import MachineError
from zoo_core.interfaces import EvalContext
from zoo_core.machine.distributed import share, world
from zoo_core.results import NotApplicable, Value
from zoo_core.seeds import generator
from zoo_eval.statistics.intervals import fraction, interval

GALLERY = 100
"""Captions that each sample is ranked among, its own included; chance is 1 %."""


def aligned(values: Tensor) -> Tensor:
    """Return features (n, d) about their mean and of length 1: two artists' styles differ in the mean."""
    centered = values.double() - values.double().mean(0)
    return centered / centered.norm(dim=1, keepdim=True).clamp_min(1e-12)


def ranks(samples: Tensor, gallery: Tensor, own: Tensor, seed: int = 0) -> Tensor:
    """Return the rank of each sample's own caption among GALLERY, (n,) float64, 1 for the nearest.

    The others are drawn without replacement, the same for equal (seed, number of samples); of captions at an
    equal distance, half count as nearer.

    Args:
        samples: (n, d) features.
        gallery: (m, d) features of one image a caption, m at least GALLERY.
        own: (n,) row of each sample's caption in the gallery.
        seed: of the other captions.
    """
    similar = aligned(samples) @ aligned(gallery).T
    mine = similar.gather(1, own[:, None])
    order = torch.rand(similar.shape, generator=generator(seed, "gallery")).scatter(1, own[:, None], 2.0)
    others = similar.gather(1, order.argsort(dim=1)[:, : GALLERY - 1])
    return 1 + (others > mine).double().sum(1) + (others == mine).double().sum(1) / 2


def rows_of(tokens: Tensor, tokenizer: Tokenizer, names: Sequence[str]) -> Tensor:
    """Return the row of each caption, tokens (n, length), among the names of a gallery; -1 for none."""
    known = {name: row for row, name in enumerate(names)}
    return torch.tensor([known.get(tokenizer.decode(caption), -1) for caption in tokens.tolist()])


def in_shares(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield this process's share of images, in order."""
    own = share(len(images), world())
    yield from images[own.start : own.stop].split(batch_size)


# -- as a registered metric


def retrieval(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return `retrieval[extractor]`, the fraction of samples at rank 1, and `caption rank[extractor]`.

    The notes give the same of the training images of the captions: what a model that copies them would have.
    """
    column, mean = ctx.column("retrieval"), ctx.column("caption rank")
    other = emoji.OTHER_ARTIST.get(ctx.data.info.name)
    if ctx.data.info.task != "text" or other is None:
        why = "needs captions that another artist drew: data=emoji data.task=text"
        return {column: NotApplicable(reason=why)}
    try:
        drawn = emoji.read(other)
    except MachineError as error:
        return {column: NotApplicable(reason=error.what[:400])}
    asked, captions = conditions(ctx.data, len(ctx.rows)), ctx.data.train.caption
    assert asked is not None
    assert asked.tokens is not None
    names = [row["name"] for row in drawn.rows]
    own, train = (rows_of(tokens, ctx.data.tokenizer, names) for tokens in (asked.tokens, captions))
    gallery = ctx.features(in_shares(drawn.images, ctx.config.eval.batch_size), other).values
    made = ranks(ctx.generated.values[own >= 0], gallery, own[own >= 0])
    real = ranks(ctx.train.values[train >= 0], gallery, train[train >= 0])
    return {
        column: fraction(made == 1).model_copy(
            update={"note": f"among {GALLERY}; training images {float((real == 1).double().mean()):.3f}"}
        ),
        mean: interval(float(made.mean()), made, least=1.0, most=float(GALLERY)).model_copy(
            update={"note": f"among {GALLERY}; training images {float(real.mean()):.1f}"}
        ),
    }
