"""Error of a model's score against a known density.

A score that is wrong where no sample goes may still give good samples; where the true density is known, the
score itself is compared with its gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zoo_core.data.loading import Dataset
from zoo_core.interfaces import Denoiser, Density, EvalContext, HasDenoiser, Smoothable, coupling_of
from zoo_core.results import NotApplicable, Value
from zoo_core.seeds import Seeds, derive
from zoo_eval.metrics.likelihood import chosen_rows
from zoo_eval.statistics.intervals import interval

SIGMAS = (0.05, 0.2, 1.0)
"""Noise levels at which scores are compared: of the finest structure, of one mode, of the whole distribution.
"""

Score = Callable[[Tensor, Tensor], Tensor]
"""Points (n, D) and a noise level, a scalar tensor, to the score of the smoothed density, (n, D)."""


def level_of(denoise: Denoiser, sigma: float) -> float | None:
    """Return sigma, or the nearest trained level in its logarithm; None where it was not trained for.

    Outside the trained range there is none.
    """
    if not denoise.sigma_min <= sigma <= denoise.sigma_max:
        return None
    if denoise.levels is None:
        return sigma
    levels = denoise.levels.double().cpu()
    return float(levels[(levels / sigma).log().abs().argmin()])


def score_error(score: Score, truth: Density, x: Tensor, level: float) -> Value:
    """Return E |s(x) - s*(x)|^2 / E |s*(x)|^2: 0 for the truth, 1 for a score of zero.

    The expectation is over noisy data, where denoising score matching has its loss (Song and Ermon 2019,
    arXiv:1907.05600, Eq. 2). The interval is that of other noisy data.

    Args:
        score: of the model.
        truth: the density of data at that level.
        x: samples of it, (n, D).
        level: noise level sigma.
    """
    right = truth.score(x.double())
    found = score(x, torch.tensor(level, dtype=torch.float64, device=x.device)).double().to(right.device)
    wrong, size = (found - right).square().sum(1).cpu(), right.square().sum(1).cpu()
    value = float(wrong.sum() / size.sum())
    influence = (wrong - value * size) / size.mean()
    return interval(value, influence, least=0.0, note=f"sigma {level:.6g}")


def score_errors(denoise: Denoiser, dataset: Dataset, n: int, device: torch.device | str) -> dict[str, Value]:
    """Return a column "score error[sigma]" for each of `SIGMAS` that the model was trained for.

    There is none where the data's smoothed density is not known, where a condition is modeled, where the
    denoiser is not of the data themselves, or where its noise depends on the data: then (D(x) - x) / sigma^2
    is not the score of the smoothed density.

    Args:
        denoise: of the data.
        dataset: whose test split is noised, the same for every model.
        n: test examples.
        device: of the denoiser.
    """
    info, density = dataset.info, dataset.density
    if not isinstance(density, Smoothable) or info.task != "unconditional" or denoise.space != "data":
        return {}
    if coupling_of(denoise) == "dependent":
        return {}

    def score(x: Tensor, sigma: Tensor) -> Tensor:
        return (denoise(x, sigma).double() - x) / sigma**2  # Tweedie's formula

    clean = dataset.test.examples(chosen_rows(dataset, n)).to(device)
    columns = {}
    for sigma in SIGMAS:
        level = level_of(denoise, sigma)
        if level is None:
            continue
        noise = Seeds(derive(0, "score error"), range(len(clean)), device)
        x = clean + level * noise.randn(info.shape)
        columns[f"score error[{sigma:g}]"] = score_error(score, density.smoothed(level), x, level)
    return columns


# -- as a registered metric


def score_error_columns(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return `score error[sigma]` of a model with a denoiser of data whose smoothed density is known."""
    if not isinstance(ctx.recipe, HasDenoiser):
        return {"score error": NotApplicable(reason="the model has no denoiser")}
    with ctx.inference(), torch.no_grad():
        found = score_errors(ctx.recipe.denoiser(), ctx.data, ctx.protocol.likelihood_n, ctx.device)
    why = (
        "needs an unconditional denoiser of data whose smoothed density is known, trained with noise that is "
        "independent of them"
    )
    return {**found} if found else {"score error": NotApplicable(reason=why)}
