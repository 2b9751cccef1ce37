"""What an autoencoder loses: the distance of held-out examples to their own reconstructions."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from zoo_core.data.loading import quantise
from zoo_core.interfaces import Extractor, HasEncoder
from zoo_core.runs import Run
from zoo_eval.features import Features, extract, in_batches
from zoo_eval.metrics.frechet import frechet_distance


def reconstructions(run: Run) -> Iterator[Tensor]:
    """Yield decode(encode(x)) of this process's share of the test split, as samples are scored."""
    assert isinstance(run.recipe, HasEncoder)
    levels = run.data.info.levels
    for rows in in_batches(run.data.test, run.config.eval.batch_size):
        x = run.recipe.decode(run.recipe.encode(run.harness.data.to_model(rows)))
        yield (x.float() if levels is None else quantise(x, levels)).cpu()


def reconstruction_distance(run: Run, extractor: Extractor, test: Features) -> float | None:
    """Return the Frechet distance of the test split to its reconstructions; None for a model without codes.

    Both sets are of the same examples, so chance adds nothing: a perfect autoencoder has 0. It is the floor
    of a model that draws codes: what the decoder can't draw is missing in its samples too.
    """
    if not isinstance(run.recipe, HasEncoder):
        return None
    with run.harness.quiet(test.protocol.weights):
        found = extract(reconstructions(run), extractor, run.data.info, "reconstructed")
    return frechet_distance(test.values, found.values)
