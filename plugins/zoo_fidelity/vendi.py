"""Vendi score: the effective number of different samples (Friedman and Dieng 2023, arXiv:2210.02410)."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_core.interfaces import EvalContext
from zoo_core.results import NotApplicable, Value
from zoo_eval.features import check_features
from zoo_eval.statistics.intervals import interval


def unit_rows(values: Tensor) -> Tensor | None:
    """Return rows of length 1, (n, d) float64; None where a row is 0 and has no direction."""
    length = values.norm(dim=1, keepdim=True)
    return None if bool((length == 0).any()) else values / length


def spectrum(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues of the kernel matrix x x^T / n, and squared coordinates of rows on their axes.

    Eigenvalues that are 0 for want of dimensions or rows are left out: the smaller of the kernel matrix and
    the second moments x^T x / n, which has the same ones, is decomposed.

    Args:
        x: (n, d), rows of length 1.

    Returns:
        (r,) and (n, r), r = min(n, d); the coordinates of a row add up to 1.
    """
    n, d = x.shape
    if d <= n:
        values, axes = torch.linalg.eigh(x.T @ x / n)
        return values.clamp_min(0), (x @ axes).square()
    values, vectors = torch.linalg.eigh(x @ x.T / n)
    values = values.clamp_min(0)
    return values, n * values * vectors.square()


def vendi(x: Tensor) -> Value:
    """Return exp(-sum l log l) over the eigenvalues l of the kernel matrix over n, with its interval.

    1 for equal rows, n for orthogonal ones. The kernel is the cosine. The influence of a sample on the
    entropy is -x^T log(C) x, C the second moments: the derivative of -tr C log C.

    Args:
        x: (n, d), rows of length 1.
    """
    values, coordinates = spectrum(x)
    logs = torch.where(values > 0, values, 1.0).log()
    value = float((-values * logs).sum().exp())
    return interval(value, -value * (coordinates @ logs), least=1.0, most=float(min(x.shape)))


def vendi_column(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the column `vendi[extractor]` of all samples; the note has that of the test split."""
    column = ctx.column("vendi")
    if not ctx.data.info.is_image:
        return {column: NotApplicable(reason="a cosine of points depends on where the origin lies")}
    samples, test = (
        unit_rows(check_features(side.values, what))
        for side, what in ((ctx.generated, "generated features"), (ctx.test, "test features"))
    )
    if samples is None or test is None:
        return {column: NotApplicable(reason="the features of an image are all 0, and have no cosine")}
    note = f"cosine kernel, {len(samples):,} samples; test split of {len(test):,}: {vendi(test).value:.4g}"
    return {column: vendi(samples).noted(note)}
