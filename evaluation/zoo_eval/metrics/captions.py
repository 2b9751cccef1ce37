"""Captions as data: samples that copy, and whether a model finds an image's own caption among others.

Captions are held out by composition: every word of a test caption is known from training, and where captions
are names no combination is. An image's caption is found by

    log p(caption given image) - log p(caption)

and not by the first term alone. The captions to choose from are equally likely, so the best choice is by
p(image given caption), which is proportional to p(caption given image) / p(caption): without the division
short and common captions win whatever the image shows. Bounds stand for both, at the same masks.

Beside it stands a nearest-neighbor captioner: the caption of the training image that is nearest in the data's
feature network, compared with the captions to choose from by the words that they share.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zoo_core.data.loading import to_unit
from zoo_core.interfaces import EvalContext, HasConditionalLikelihood
from zoo_core.machine.distributed import share, world
from zoo_core.machine.leading import rows_to_first, together
from zoo_core.results import NotApplicable, Value
from zoo_core.seeds import Seeds, derive, generator
from zoo_core.types import Cond, Likelihood
from zoo_eval.metrics.likelihood import chosen_rows, columns_of, words_of
from zoo_eval.metrics.retrieval import GALLERY, Columns, aligned, compositions, mean_rank, overlap
from zoo_eval.statistics.intervals import fraction

FEWEST, QUERIES = 10, 100
"""Fewest and most images whose caption is looked for."""
SHOWN = 20
"""Samples that are attached."""
ALONE = "the model has no likelihood given an image"
LONG = 3
"""Words from which on a copied caption counts as memorized: shorter ones coincide by chance."""


def copies(samples: Sequence[str], known: Sequence[str]) -> list[bool]:
    """Return whether each caption is one of the known captions."""
    every = set(known)
    return [caption in every for caption in samples]


def excess(samples: Sequence[str], held: Sequence[str], known: Sequence[str]) -> float | None:
    """Return how much more often long samples copy a known caption than long held-out captions do.

    Returns:
        The difference of two fractions; None where either has no caption of LONG words.
    """
    fractions = []
    for captions in (samples, held):
        found = copies([one for one in captions if len(one.split()) >= LONG], known)
        if not found:
            return None
        fractions.append(sum(found) / len(found))
    return fractions[0] - fractions[1]


def own_ranks(scores: Tensor, own: Tensor) -> Tensor:
    """Return the rank of each query's own caption, (q,) float64, 1 for the highest score.

    Half of the captions of an equal score count as higher.

    Args:
        scores: (q, m) of captions to choose from.
        own: (q,) column of the own caption.
    """
    mine = scores.gather(1, own[:, None])
    ties = (scores == mine).double().sum(1) - 1
    return 1 + (scores > mine).double().sum(1) + ties / 2


def chosen(test: Sequence[str], train: Sequence[str]) -> tuple[list[int], list[int]] | str:
    """Return (rows that are looked for, rows to choose from) of test captions, or why there are none.

    Looked for are new compositions; they are among those to choose from, which are different captions.
    """
    first = {caption: row for row, caption in reversed(list(enumerate(test)))}
    gallery = sorted(first.values())
    order = torch.randperm(len(gallery), generator=generator(0, "captions")).tolist()
    queries = [row for row in compositions(test, train) if first[test[row]] == row][:QUERIES]
    if len(queries) < FEWEST:
        return (
            f"needs {FEWEST} held-out captions that are new combinations of known words; has {len(queries)}"
        )
    others = [gallery[k] for k in order if gallery[k] not in set(queries)]
    kept = sorted({*queries, *others[: max(0, GALLERY - len(queries))]})
    return queries, kept


def given_images(ctx: EvalContext, captions: Tensor, images: Tensor, noise: Seeds) -> Likelihood | None:
    """Return the likelihood of test captions given test images, both rows (n,); None for a model without.

    Args:
        noise: of each.
    """
    recipe, data = ctx.recipe, ctx.data
    if not isinstance(recipe, HasConditionalLikelihood):
        return None
    x = ctx.to_model(data.test.examples(captions))
    shown = to_unit(data.described.test.examples(images), data.info.image_levels).to(ctx.device)
    with ctx.inference():
        found = recipe.likelihoods_given(x, Cond(image=shown), noise=noise, k=1)
    return found[0] if found else None


def gains(ctx: EvalContext, queries: Sequence[int], gallery: Sequence[int]) -> tuple[Tensor, str] | None:
    """Return log p(caption given image) - log p(caption) of images and captions, and the likelihood's name.

    Args:
        queries: test rows of the images.
        gallery: test rows of the captions.

    Returns:
        ((q, m) float64 nats, name); None for a model that reads no image.
    """
    captions = torch.tensor(gallery)
    x = ctx.to_model(ctx.data.test.examples(captions))
    noise = _noise(ctx, len(x))
    if given_images(ctx, captions[:1], torch.tensor(queries[:1]), noise[:1]) is None:
        return None
    with ctx.inference():
        alone = ctx.recipe.likelihoods(x, noise=noise, k=1)[0]
    given = together(of_every_image, ctx, queries, gallery)
    assert given is not None
    return (given - alone.log_prob.cpu()).double(), alone.name


def _noise(ctx: EvalContext, n: int) -> Seeds:
    """Return the noise of n captions to choose from, the same for each image."""
    return Seeds(derive(0, "captions"), range(n), ctx.device)


def of_every_image(ctx: EvalContext, queries: Sequence[int], gallery: Sequence[int]) -> Tensor | None:
    """Return log p(caption given image), (q, m) nats; each process takes its share of the images."""
    captions = torch.tensor(gallery)

    def own() -> list[Tensor | None]:
        parts = []
        for row in share(len(queries), world()):
            images = torch.full_like(captions, queries[row])
            given = given_images(ctx, captions, images, _noise(ctx, len(captions)))
            assert given is not None
            parts.append(given.log_prob.detach().cpu())
        return [torch.stack(parts) if parts else None]

    (found,) = rows_to_first(own)
    return found


def neighbors(ctx: EvalContext, queries: Sequence[int]) -> Tensor:
    """Return the training row of the nearest image of each test row, (q,) int64: by cosine about the mean."""
    similar = aligned(ctx.test.values)[list(queries)] @ aligned(ctx.train.values).T
    return similar.argmax(1)


# -- as registered metrics


def drawn(ctx: EvalContext) -> Columns:
    """Return `copied captions`, the fraction of samples that are training captions, and `memorization`.

    The first samples are attached as texts.
    """
    data = ctx.data
    known, held, samples = (
        data.tokenizer.decode_all(tokens.tolist())
        for tokens in (data.train.tokens, data.test.tokens, ctx.rows)
    )
    copied = torch.tensor(copies(samples, known))
    ctx.attach("samples", json.dumps(samples[:SHOWN], ensure_ascii=False).encode(), "json")
    ctx.say(f"captions drawn: {'; '.join(samples[:5])}")
    more = excess(samples, held, known)
    column = "memorization[captions]"
    what = f"copies among captions of {LONG} words or more, less than the fraction of held-out ones"
    reason = f"no captions of {LONG} words or more"
    return {
        "copied captions": fraction(copied),
        column: NotApplicable(reason=reason)
        if more is None
        else Value(value=more, n=len(samples), note=what),
    }


def given_image(ctx: EvalContext) -> Columns:
    """Return `bits_per_token[kind, given image]`; a bound has the masks that it has of captions alone."""
    rows = chosen_rows(ctx.data, ctx.protocol.likelihood_n)
    probe = given_images(ctx, rows[:1], rows[:1], Seeds(derive(0, "likelihood"), range(1), ctx.device))
    if probe is None:
        return {"bits_per_token[given image]": NotApplicable(reason=ALONE)}
    log_prob = together(of_own_images, ctx, rows)
    assert log_prob is not None
    whole = replace(probe, log_prob=log_prob, variant="given image")
    return dict(columns_of(whole, ctx.data.info, words_of(ctx)))


def of_own_images(ctx: EvalContext, rows: Tensor) -> Tensor | None:
    """Return log p(caption given its image) of test rows, (n,) nats; each process takes its share."""
    seed, size = derive(0, "likelihood"), ctx.config.eval.batch_size

    def own() -> list[Tensor | None]:
        mine, parts = share(len(rows), world()), []
        for first in range(mine.start, mine.stop, size):
            index = rows[first : min(first + size, mine.stop)]
            noise = Seeds(seed, range(first, first + len(index)), ctx.device)
            found = given_images(ctx, index, index, noise)
            assert found is not None
            parts.append(found.log_prob.double().cpu())
        return [torch.cat(parts) if parts else None]

    (found,) = rows_to_first(own)
    return found


def captioning(ctx: EvalContext) -> Columns:
    """Return `captioning`, the fraction of held-out images whose caption ranks first, and `captioning rank`.

    `neighbor captioning` and `neighbor captioning rank` are those of the nearest-neighbor captioner.
    """
    data = ctx.data
    train, test = (data.tokenizer.decode_all(split.tokens.tolist()) for split in (data.train, data.test))
    found = chosen(test, train)
    if isinstance(found, str):
        return {"captioning": NotApplicable(reason=found)}
    queries, gallery = found
    own = torch.tensor([gallery.index(row) for row in queries])
    told = [train[row] for row in neighbors(ctx, queries).tolist()]
    shared = torch.tensor([[overlap(one, test[row]) for row in gallery] for one in told], dtype=torch.float64)
    note = f"{len(queries)} held-out images among {len(gallery)} captions"
    columns = _columns(own_ranks(shared, own), ctx.column("neighbor captioning"), note)
    scored = gains(ctx, queries, gallery)
    if scored is None:
        return {"captioning": NotApplicable(reason=ALONE), **columns}
    values, name = scored
    ranks = own_ranks(values, own)
    best = values.argmax(1).tolist()
    table = [
        {"caption": test[row], "chosen": test[gallery[k]], "neighbor": near, "rank": rank}
        for row, k, near, rank in zip(queries, best, told, ranks.tolist(), strict=True)
    ]
    ctx.attach("captioning", json.dumps(table, ensure_ascii=False).encode(), "json")
    return {**_columns(ranks, f"captioning[{name}]", note), **columns}


def _columns(ranks: Tensor, column: str, note: str) -> Columns:
    base, bracket, rest = column.partition("[")
    values = {column: fraction(ranks == 1), f"{base} rank{bracket}{rest}": mean_rank(ranks)}
    return {name: value.noted(note) for name, value in values.items()}
