"""Reconstruction error of an autoencoder: distance of held-out examples to their own reconstructions."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from zoo_core.interfaces import EvalContext, FeatureSet, HasEncoder
from zoo_core.machine.leading import together
from zoo_core.results import NotApplicable, Value
from zoo_eval.metrics.frechet import frechet_distance, pair_on_device


def reconstructions(ctx: EvalContext) -> Iterator[Tensor]:
    """Yield decode(encode(x)) of this process's share of the test split, as samples are scored."""
    for rows in ctx.batches(ctx.data.test):
        yield ctx.from_model(ctx.recipe.decode(ctx.recipe.encode(ctx.to_model(rows))))


def of_reconstructions(ctx: EvalContext) -> FeatureSet:
    """Return the features of reconstructions of the test split; each process makes its share."""
    with ctx.inference():
        return ctx.features(reconstructions(ctx), "reconstructed")


def reconstruction(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return `reconstruction FD[extractor]` of the test split; it applies to models with an encoder.

    Both sets are of the same examples, so chance adds nothing: a perfect autoencoder has 0. It bounds a model
    of codes from below: detail that the decoder lacks is missing in its samples too. It is shown and never
    ranked.
    """
    column = ctx.column("reconstruction FD")
    if not isinstance(ctx.recipe, HasEncoder):
        return {column: NotApplicable(reason="the model has no encoder")}
    found = together(of_reconstructions, ctx)
    one, two = pair_on_device(ctx, ctx.test.main, found.main)
    return {column: Value(value=frechet_distance(one, two), n=len(found))}
