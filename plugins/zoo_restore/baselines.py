"""Trivial restorations to compare with: nearest training image and the posterior mean of a Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_baselines.fitted import FittedConfig
from zoo_baselines.gaussian import Gaussian
from zoo_core.runs import Run
from zoo_restore.operator import Operator
from zoo_restore.spectrum import Spectrum

CHUNK = 1024
"""Training images whose measurements are held at a time."""


def nearest_training_image(run: Run, operator: Operator, y: Tensor) -> Tensor:
    """Return for each measurement the training image whose measurement is nearest, (n, *shape)."""
    train, flat = run.data.train, y.flatten(1)
    best = torch.full((len(y),), torch.inf, device=y.device)
    found = y.new_zeros(len(y), *run.data.info.shape)
    for rows in torch.arange(len(train)).split(CHUNK):
        x = run.to_model(train.examples(rows))
        least, place = torch.cdist(flat, operator(x).flatten(1)).min(1)
        closer = least < best
        best = torch.where(closer, least, best)
        found[closer] = x[place[closer]]
    return found


def fitted_gaussian(run: Run) -> tuple[Tensor, Tensor]:
    """Return mean (d,) and Cholesky factor (d, d) of the baseline `gaussian` on a run's training data.

    Raises:
        UsageError: for images with too many values, as the baseline.
    """
    config = FittedConfig(plugin="gaussian", data=run.config.data)
    model = Gaussian(config, run.data.info).to(run.device)
    model.fit(run.harness.data)
    return model.mean, model.scale_tril


def gaussian_posterior_mean(
    mean: Tensor, scale_tril: Tensor, spectrum: Spectrum, y: Tensor, noise: float
) -> Tensor:
    """Return E[x0 | y] for x0 of N(mean, L L^T) and y = A x0 + noise n, (n, *shape) float64.

    Args:
        mean: (d,) float64.
        scale_tril: L, (d, d) float64.
        spectrum: of A.
        y: (n, *measured).
        noise: standard deviation.
    """
    shape = spectrum.to_image(mean[None]).shape[1:]
    center = spectrum.to_coefficients(mean.reshape(1, *shape))
    factor = spectrum.to_coefficients(scale_tril.T.reshape(-1, *shape))  # row k: V^T L e_k
    singular = spectrum.singular.to(mean)
    seen = singular > 0
    part = factor[:, seen] * singular[seen]
    inner = part.T @ part
    inner.diagonal().add_(noise**2)
    residual = (spectrum.measured(y.double()) - center * singular)[:, seen]
    weight = torch.linalg.solve(inner, residual.T).T
    return spectrum.to_image(center + weight @ part.T @ factor)
