"""Inception Score by torchmetrics, with its checks, seed and interval."""

from __future__ import annotations

import math

from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.interfaces import EvalContext
from zoo_core.results import NotApplicable, Value
from zoo_eval.features import arithmetic_device, check_features
from zoo_eval.metrics.identity import LOCAL, Identity, repeatable
from zoo_eval.statistics.intervals import interval


def divergences(logits: Tensor) -> Tensor:
    """Return KL(p(y|x) || p(y)) of each row in nats, (n,) float64, with p(y) their mean."""
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    # A probability that underflows to zero in every row makes 0 * (log 0 - log 0); e^-700 does not.
    return (p * (log_p - p.mean(0).clamp_min(math.exp(-700)).log())).sum(1)


def inception_score(logits: Tensor, *, splits: int = 10) -> tuple[float, float | None]:
    """Return exp(E KL(p(y|x) || p(y))), averaged over random splits, and its standard deviation over them.

    Salimans et al. 2016, arXiv:1606.03498, section 4, through torchmetrics. From 1 to the number of classes.

    Args:
        logits: (n, K), K at least 2; n at least `splits`.

    Raises:
        UsageError: where the logits are unfit, of one class, or fewer than the splits.
    """
    from torchmetrics.image.inception import InceptionScore

    logits = check_features(logits, "logits", splits)
    if logits.shape[1] < 2:
        raise UsageError("an Inception Score from a classifier of one class", "expected: at least 2 classes")
    # A probability that underflows to zero in every row makes 0 * (log 0 - log 0); e^-700 does not.
    logits = (logits - logits.amax(1, keepdim=True)).clamp_min(-700)
    with repeatable():
        metric = InceptionScore(Identity(logits.shape[1]), splits=splits, **LOCAL)
        metric.update(logits)
        mean, spread = metric.compute()
    return float(mean), None if math.isnan(float(spread)) else float(spread)


# -- as a registered metric


def inception(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the column `IS[extractor]` with its interval, which needs an extractor that is a classifier."""
    logits, column = ctx.generated.logits, ctx.column("IS")
    if logits is None:
        return {column: NotApplicable(reason=f"{ctx.protocol.extractor} is not a classifier")}
    if logits.shape[1] < 2:
        return {column: NotApplicable(reason=f"{ctx.protocol.extractor} has one class")}
    logits = logits.to(arithmetic_device(ctx.device))
    mean, spread = inception_score(logits, splits=ctx.protocol.is_splits)
    note = "" if spread is None else f"standard deviation over splits {spread:.4g}"
    moved = mean * divergences(logits)
    return {column: interval(mean, moved, least=1.0, most=float(logits.shape[1]), note=note)}
