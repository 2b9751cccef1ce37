"""Linear autoencoders of five coordinates: their p(x) and their bounds are known, and the best ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from zoo_core.types import DataInfo
from zoo_vae.autoencoder import GaussianAutoencoder

POINTS = DataInfo("points", (5,), None)
STD = 0.4


def marginal(model: GaussianAutoencoder) -> MultivariateNormal:
    """Return p(x) of the linear model: N(b, W W^T + STD^2 I) (Tipping and Bishop 1999, Eq. 5)."""
    linear = next(m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear))
    covariance = linear.weight @ linear.weight.T + STD**2 * torch.eye(5, dtype=torch.float64)
    return MultivariateNormal(linear.bias, covariance)


def exact_objective(model: GaussianAutoencoder, x: Tensor, beta: float = 1.0) -> Tensor:
    """Return E[log p(x | z)] - beta KL, (n,): 2 d sigma points are exact for a quadratic log p(x | z)."""
    mean, log_var = model.posterior(x)
    std, d = torch.exp(log_var / 2), mean.shape[1]
    points = math.sqrt(d) * torch.cat((torch.eye(d), -torch.eye(d))).double()
    expected = torch.stack([model.log_prob(x, mean + std * e) for e in points]).mean(0)
    return expected - beta * kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(1)


def maximize(model: GaussianAutoencoder, objective: Callable[[], Tensor]) -> float:
    """Train a model until the mean of its objective, (n,), is at its maximum, and return that."""
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=2000,
        tolerance_grad=1e-12,
        tolerance_change=1e-16,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -objective().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return objective().mean().item()
