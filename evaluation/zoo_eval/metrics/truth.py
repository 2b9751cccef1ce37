"""Models and samples against data whose probability is known: the true zero of a likelihood.

Of points the law is a density in closed form; of images, a frozen model with exact probabilities of levels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_core.data.likelihood import bits_per_dim
from zoo_core.interfaces import EvalContext
from zoo_core.results import NotApplicable, Value
from zoo_core.types import Likelihood
from zoo_eval.metrics.likelihood import (
    chosen_rows,
    column_kind,
    diverged,
    mean_and_error,
    measured,
    value_of,
)
from zoo_eval.statistics.intervals import fraction

RARE = 0.05
"""Part of the data's own examples that counts as implausible: the least likely."""


def true_log_prob(ctx: EvalContext) -> Tensor:
    """Return log p of the test examples under the known density, (n,) nats, computed once."""

    def compute() -> Tensor:
        x = ctx.data.test.examples(chosen_rows(ctx.data, ctx.protocol.likelihood_n))
        log_prob: Tensor = ctx.data.density.log_prob(x.double())
        return log_prob.double()

    return ctx.once("true log-probability", compute)


def divergence(true: Tensor, model: Tensor, *, bound: bool, dims: int) -> Value:
    """Return KL(truth || model) in nats, the mean of log p - log q over examples of the truth.

    Both are of the same examples, so what is common to them cancels in the standard error.

    Args:
        true, model: (n,) log p and log q, nats.
        bound: whether log q is a lower bound, which makes the divergence an upper one.
        dims: values of an example, for the note.
    """
    nats, error = mean_and_error(true - model)
    bits = float(bits_per_dim(torch.tensor(-nats), dims))
    return Value(
        value=nats,
        standard_error=error,
        n=len(true),
        bound="upper" if bound else "exact",
        note=f"{bits:.4g} bits/dim",
    )


def divergences(ctx: EvalContext, found: Likelihood) -> dict[str, Value]:
    """Return the columns of one kind of likelihood: KL of images, the absolute difference of points."""
    true, model, info = true_log_prob(ctx), found.log_prob.double(), ctx.data.info
    kind = column_kind(found)
    if info.is_image:
        value = divergence(true, model, bound=found.is_bound, dims=info.dims)
        return {f"KL from truth[{kind}]": value}
    difference = abs(float(true.mean()) - float(model.mean()))
    return {f"log-likelihood error[{kind}]": Value(value=difference, n=len(model))}


def plausibility(sampled: Tensor, true: Tensor, dims: int) -> dict[str, Value]:
    """Return how likely samples are under the truth, beside its own examples.

    Samples of the truth have its entropy in `sample bits`, and `RARE` of them are implausible. Neither says
    that samples cover the data: a model that leaves classes out can have both.

    Args:
        sampled: (m,) log p of samples, nats.
        true: (n,) log p of examples of the truth, nats.
        dims: values of an example.
    """
    bits, error = mean_and_error(bits_per_dim(sampled, dims))
    entropy, own = mean_and_error(bits_per_dim(true, dims))
    rare = fraction((sampled < true.quantile(RARE)).double())
    about = f"under the true law; its own examples have {entropy:.4g}"
    return {
        "sample bits": Value(
            value=bits,
            standard_error=error,
            n=len(sampled),
            note=about if own is None else f"{about} (standard error {own:.2g})",
        ),
        "implausible": rare.noted(f"less likely than all but {RARE:.0%} of the data; expected: {RARE:g}"),
    }


# -- as registered metrics


def truth(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the test examples' value under their own law, the best there is: `true density[bits_per_dim]`.

    Of images also `sample bits` and `implausible`: the samples under the same law.
    """
    info, true = ctx.data.info, true_log_prob(ctx)
    base, value = value_of(true, info)
    columns: dict[str, Value | NotApplicable] = {f"true density[{base}]": value}
    if info.is_image:
        rows = ctx.rows[: ctx.protocol.likelihood_n]
        columns |= plausibility(ctx.data.density.log_prob(rows.double()).double(), true, info.dims)
    return columns


def log_likelihood_error(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return how far each kind of the model's likelihood is from the truth.

    Of points, `log-likelihood error[kind]`, the absolute difference of the means over the same test examples,
    in nats; a lower bound's includes the gap of the bound. Of images, `KL from truth[kind]` with its paired
    standard error.
    """
    found = [one for one in measured(ctx) if not diverged(one)]
    return {name: value for one in found for name, value in divergences(ctx, one).items()}
