"""How far a model is from a known density: errors of its score and of its log-likelihood.

A distribution may be drawn well by a score that is wrong where no sample goes; where the truth is known, the
score itself can be held to it. All of it is asked of capabilities: a denoiser, a likelihood, a density that
can be smoothed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.loading import Dataset
from zoo_core.interfaces import Denoiser, Density, HasDenoiser, Smoothable
from zoo_core.seeds import Seeds, derive
from zoo_eval.intervals import interval
from zoo_eval.likelihood import chosen_rows

SIGMAS = (0.05, 0.2, 1.0)
"""Levels the score is held to the truth at: the finest structure, a mode's surroundings, the whole."""

Score = Callable[[Tensor, Tensor], Tensor]
"""Points (n, D) and a level, a scalar tensor, to the score of the smoothed density there, (n, D)."""


def level_of(denoise: Denoiser, sigma: float) -> float | None:
    """Return sigma, or the nearest trained level in its logarithm; None where it was not trained for.

    A ladder's own levels are half a rung beyond sigma at most: at its ends it is asked for no more.
    """
    if not denoise.sigma_min <= sigma <= denoise.sigma_max:
        return None
    if denoise.levels is None:
        return sigma
    levels = denoise.levels.double().cpu()
    return float(levels[(levels / sigma).log().abs().argmin()])


def score_error(score: Score, truth: Density, x: Tensor, level: float) -> dict[str, Any]:
    """Return the cell of E |s(x) - s*(x)|^2 / E |s*(x)|^2: 0 for the truth, 1 for a score of zero.

    The expectation is over noisy data, where denoising score matching has its loss (Song and Ermon 2019,
    arXiv:1907.05600, Eq. 2). The interval is that of other noisy data.

    Args:
        score: of the model.
        truth: the density of data at that level.
        x: draws of it, (n, D).
        level: sigma.
    """
    right = truth.score(x.double())
    found = score(x, torch.tensor(level, dtype=torch.float64, device=x.device)).double().to(right.device)
    wrong, size = (found - right).square().sum(1).cpu(), right.square().sum(1).cpu()
    value = float(wrong.sum() / size.sum())
    influence = (wrong - value * size) / size.mean()
    return interval(value, influence, least=0.0) | {"better": "lower", "sigma": level}


def score_errors(
    denoise: Denoiser, dataset: Dataset, n: int, device: torch.device | str
) -> dict[str, dict[str, Any]]:
    """Return a column "score error[sigma]" for each of `SIGMAS` that the model was trained for.

    There is none where the data's smoothed density is not known, where a condition is modelled, or where the
    denoiser is not of the data themselves.

    Args:
        denoise: of the data.
        dataset: whose test split is noised, the same for every model.
        n: test examples.
        device: of the denoiser.
    """
    info, density = dataset.info, dataset.density
    if not isinstance(density, Smoothable) or info.task != "unconditional" or denoise.space != "data":
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


def log_likelihood_errors(
    found: Sequence[Mapping[str, Any]], truth: Mapping[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """Return a column "log-likelihood error[kind]" for each likelihood: its distance to the truth's, in nats.

    Both are means over the same test examples, so that the difference estimates KL(truth || model); a lower
    bound's has the bound's own gap in it.

    Args:
        found: records of `likelihoods`.
        truth: of the true density; None where it is unknown.
    """
    if truth is None:
        return {}
    return {
        f"log-likelihood error[{one['name']}]": {
            "value": abs(truth["nats"] - one["nats"]),
            "better": "lower",
        }
        for one in found
    }


@torch.no_grad()
def density_errors(
    recipe: Any,
    dataset: Dataset,
    *,
    n: int,
    device: torch.device | str,
    likelihood: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any] | None,
) -> dict[str, dict[str, Any]]:
    """Return all columns of this module that a recipe can have on a dataset.

    Args:
        recipe: in evaluation mode, on `device`.
        dataset: none of whose columns there are where its density is unknown.
        n: test examples.
        device: of the recipe.
        likelihood: the recipe's records, as `likelihoods` returns them.
        best: the true density's.
    """
    denoise = recipe.denoiser() if isinstance(recipe, HasDenoiser) else None
    columns = {} if denoise is None else score_errors(denoise, dataset, n, device)
    return columns | log_likelihood_errors(likelihood, best)
