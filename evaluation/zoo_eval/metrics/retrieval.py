"""Text to image: is a sample nearer to another artist's drawing of its caption than to those of others?

Copying the training image of a caption does not help by itself: the gallery is drawn in another style.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zoo_core.data import emoji
from zoo_core.data.captions import Tokenizer
from zoo_core.data.conditioning import conditions
from zoo_core.errors import MachineError
from zoo_core.interfaces import EvalContext, FeatureSet
from zoo_core.machine.distributed import share, world
from zoo_core.machine.leading import together
from zoo_core.results import NotApplicable, Value
from zoo_core.seeds import generator
from zoo_core.types import Cond
from zoo_eval.statistics.intervals import fraction, interval

GALLERY = 100
"""Captions that each sample is ranked among, its own included; chance is 1 %."""

DRAWS = 4
"""Samples of each held-out caption."""

Columns = dict[str, Value | NotApplicable]


def aligned(values: Tensor) -> Tensor:
    """Return features (n, d) about their mean and of length 1: two artists' styles differ in the mean."""
    centered = values.double() - values.double().mean(0)
    return centered / centered.norm(dim=1, keepdim=True).clamp_min(1e-12)


def ranks(samples: Tensor, gallery: Tensor, own: Tensor) -> Tensor:
    """Return the rank of each sample's own caption among GALLERY, (n,) float64, 1 for the nearest.

    The others are drawn without replacement, the same for an equal number of samples; of captions at an
    equal distance, half count as nearer.

    Args:
        samples: (n, d) features.
        gallery: (m, d) features of one image a caption, m at least GALLERY.
        own: (n,) row of each sample's caption in the gallery.
    """
    similar = aligned(samples) @ aligned(gallery).T
    mine = similar.gather(1, own[:, None])
    order = torch.rand(similar.shape, generator=generator(0, "gallery")).scatter(1, own[:, None], 2.0)
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


def compositions(captions: Sequence[str], known: Sequence[str]) -> list[int]:
    """Return the rows of captions of several words that are new, while each of their words is known.

    Args:
        captions: of the test split: "red apple".
        known: of the training split: "green apple", "red heart".
    """
    words = {word for caption in known for word in caption.split()}
    seen = set(known)
    parts = [caption.split() for caption in captions]
    return [
        row
        for row, own in enumerate(parts)
        if len(own) > 1 and captions[row] not in seen and words.issuperset(own)
    ]


def overlap(caption: str, other: str) -> float:
    """Return Jaccard's index of the words of two captions: 1 for the same words, 0 for none in common."""
    own, theirs = set(caption.split()), set(other.split())
    return len(own & theirs) / len(own | theirs)


def closest(caption: str, known: Sequence[str]) -> int:
    """Return the row of the known caption that shares most of its words, the first of equals (`overlap`)."""
    shared = [overlap(caption, one) for one in known]
    return shared.index(max(shared))


class Drawings(NamedTuple):
    """Images of captions by another artist: their features (m, d), and their captions."""

    values: Tensor
    names: Sequence[str]


def drawings(ctx: EvalContext) -> Drawings | str:
    """Return the other artist's drawings of all captions, or why there are none."""
    other = emoji.OTHER_ARTIST.get(ctx.data.info.name)
    if ctx.data.info.task != "text" or other is None:
        return "needs captions that another artist drew: data=emoji data.task=text"
    name = other

    def compute() -> Drawings | str:
        try:
            drawn = emoji.read(name)
        except MachineError as error:
            return error.what[:400]
        return Drawings(together(of_drawings, ctx, name).values, [row["name"] for row in drawn.rows])

    return ctx.once("drawings", compute)


def of_drawings(ctx: EvalContext, name: str) -> FeatureSet:
    """Return the features of the other artist's drawings; each process passes its share."""

    def images() -> Iterator[Tensor]:
        yield from in_shares(emoji.read(name).images, ctx.config.eval.batch_size)

    return ctx.features(images(), name)


def of_samples(ctx: EvalContext, rows: Tensor) -> FeatureSet:
    """Return the features of new samples of test captions, (n,) rows; each process draws its share."""
    mine = share(len(rows), world())

    def drawn() -> Iterator[Tensor]:
        cond = Cond(tokens=ctx.data.test.tokens[rows[mine.start : mine.stop]]).to(ctx.device)
        for part in ctx.run.draw(len(mine), start=mine.start, cond=cond) if mine else ():
            yield part.rows.cpu()

    return ctx.features(drawn(), "new captions")


# -- as registered metrics


def retrieval(ctx: EvalContext) -> Columns:
    """Return `retrieval[extractor]`, the fraction of samples at rank 1, and `caption rank[extractor]`.

    The notes give the same of the training images of the captions: what a model that copies them would have.
    """
    gallery, column = drawings(ctx), ctx.column("retrieval")
    if isinstance(gallery, str):
        return {column: NotApplicable(reason=gallery)}
    asked = conditions(ctx.data, len(ctx.rows))
    assert asked is not None
    assert asked.tokens is not None
    tokens = (asked.tokens, ctx.data.train.tokens)
    own, train = (rows_of(one, ctx.data.tokenizer, gallery.names) for one in tokens)
    made = ranks(ctx.generated.values[own >= 0], gallery.values, own[own >= 0])
    real = ranks(ctx.train.values[train >= 0], gallery.values, train[train >= 0])
    return {
        column: _noted(fraction(made == 1), f"training images {float((real == 1).double().mean()):.3f}"),
        ctx.column("caption rank"): _noted(mean_rank(made), f"training images {float(real.mean()):.1f}"),
    }


def new_captions(ctx: EvalContext) -> Columns:
    """Return `new caption rank[extractor]`: the mean rank of samples of held-out compositions.

    DRAWS samples of each are drawn. The note gives the rank of the training image whose caption shares most
    words with the new one: what a model that copies would have.
    """
    gallery, column = drawings(ctx), ctx.column("new caption rank")
    if isinstance(gallery, str):
        return {column: NotApplicable(reason=gallery)}
    data = ctx.data
    known, held = (data.tokenizer.decode_all(split.tokens.tolist()) for split in (data.train, data.test))
    place = {name: row for row, name in enumerate(gallery.names)}
    rows = [row for row in compositions(held, known) if held[row] in place]
    if not rows:
        return {column: NotApplicable(reason="no held-out caption is made of training captions' words")}
    own = torch.tensor([place[held[row]] for row in rows])
    values = together(of_samples, ctx, torch.tensor(rows).repeat_interleave(DRAWS)).values
    made = ranks(values, gallery.values, own.repeat_interleave(DRAWS))
    copied = ctx.train.values[[closest(held[row], known) for row in rows]]
    copies = float(ranks(copied, gallery.values, own).mean())
    what = f"{len(rows)} captions, {DRAWS} samples each; training images of the closest captions {copies:.1f}"
    return {column: _noted(mean_rank(made), what)}


def mean_rank(found: Tensor) -> Value:
    """Return the mean of ranks among GALLERY captions, (n,), with its interval."""
    return interval(float(found.mean()), found, least=1.0, most=float(GALLERY))


def _noted(value: Value, what: str) -> Value:
    return value.noted(f"among {GALLERY} captions; {what}")
