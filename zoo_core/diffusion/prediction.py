"""What a network may be trained to predict, and the one table that turns each kind into x0.

With x = alpha x0 + sigma eps: eps = -sigma * score, and v = alpha eps - sigma x0 (Salimans and Ho 2022,
arXiv:2202.00512, appendix D). The velocity of a straight path is eps - x0 (Lipman et al. 2023,
arXiv:2210.02747, Eq. 23). Coefficients broadcast against x.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from zoo_core.errors import not_found

Prediction = Literal["eps", "x0", "v", "score", "velocity"]

_TO_X0 = {
    "x0": lambda out, x, alpha, sigma: out,
    "eps": lambda out, x, alpha, sigma: (x - sigma * out) / alpha,
    "v": lambda out, x, alpha, sigma: (alpha * x - sigma * out) / (alpha**2 + sigma**2),
    "score": lambda out, x, alpha, sigma: (x + sigma**2 * out) / alpha,  # Tweedie
    "velocity": lambda out, x, alpha, sigma: (x - sigma * out) / (alpha + sigma),
}

_TARGET = {
    "x0": lambda x0, eps, alpha, sigma: x0,
    "eps": lambda x0, eps, alpha, sigma: eps,
    "v": lambda x0, eps, alpha, sigma: alpha * eps - sigma * x0,
    "score": lambda x0, eps, alpha, sigma: -eps / sigma,
    "velocity": lambda x0, eps, alpha, sigma: eps - x0,
}


def to_x0(out: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, kind: Prediction) -> Tensor:
    """Return E[x0 | x] from a network's output.

    Args:
        out: the output, like x.
        x: alpha x0 + sigma eps, (n, *shape).
        alpha, sigma: coefficients that broadcast against x.
        kind: what the network predicts.

    Raises:
        NotFoundError: for an unknown kind.
    """
    if kind not in _TO_X0:
        raise not_found("prediction", kind, _TO_X0, say="model.prediction={}")
    return _TO_X0[kind](out, x, alpha, sigma)


def target(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor, kind: Prediction) -> Tensor:
    """Return what a network of this kind should say at alpha x0 + sigma eps; the inverse of `to_x0`.

    Raises:
        NotFoundError: for an unknown kind.
    """
    if kind not in _TARGET:
        raise not_found("prediction", kind, _TARGET, say="model.prediction={}")
    return _TARGET[kind](x0, eps, alpha, sigma)


def like(values: Tensor, x: Tensor) -> Tensor:
    """Return a scalar or one value an example, (n,), in the type of x and shaped to broadcast against it."""
    return values.to(x).reshape(-1, *(1,) * (x.ndim - 1))
