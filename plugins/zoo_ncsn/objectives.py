"""Score matching without a target: implicit and sliced, by derivatives of the score itself.

With data x of density q, integration by parts removes the unknown score from the squared error (Hyvärinen
2005, "Estimation of Non-Normalized Statistical Models by Score Matching", theorem 1):

    E |s(x) - grad log q(x)|^2 / 2 = E[|s(x)|^2 / 2 + div s(x)] + const.

The divergence needs a backward pass for each value of x. Sliced score matching (Song, Garg, Shi and Ermon
2019, arXiv:1905.07088, its variant with reduced variance) estimates it in one, with random signs v:

    div s(x) = E_v[v . grad(v . s(x))].

On noised data x + sigma eps the same expressions have the minimizer of denoising score matching. On data
without noise they have the score of the data, and no minimum where a value is constant: with s = -g x the
loss g^2 x^2 / 2 - g decreases forever at x = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]
"""Noisy data (n, *shape) to the score of their density, likewise; each row at its own level."""


@contextmanager
def differentiable() -> Iterator[bool]:
    """Within the block networks can be differentiated twice; yields whether gradients were enabled before.

    Fused attention has no second derivative.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    onwards = torch.is_grad_enabled()
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        yield onwards


def implicit_score_matching(score: Score, x: Tensor, sigma: Tensor) -> Tensor:
    """Return sigma^2 (|s|^2 / 2 + div s) of each example, (n,), at a backward pass for each value.

    Args:
        score: s.
        x: where the score is asked for, (n, *shape).
        sigma: (n,); the weight is sigma^2.
    """
    with differentiable() as onwards:
        x = x.detach().requires_grad_()
        flat = score(x).flatten(1)
        divergence = torch.zeros_like(flat[:, 0])
        for i in range(flat.shape[1]):
            (row,) = torch.autograd.grad(flat[:, i].sum(), x, retain_graph=True, create_graph=onwards)
            divergence = divergence + row.flatten(1)[:, i]
        return sigma.to(flat).square() * (flat.square().sum(1) / 2 + divergence)


def sliced_score_matching(score: Score, x: Tensor, sigma: Tensor, v: Tensor) -> Tensor:
    """Return sigma^2 (|s|^2 / 2 + v . grad(v . s)) of each example, (n,), with reduced variance.

    The first term is the expectation of (v . s)^2 / 2, for v of mean 0 and covariance I.

    Args:
        score: s.
        x: where the score is asked for, (n, *shape).
        sigma: (n,); the weight is sigma^2.
        v: random signs, like x.
    """
    with differentiable() as onwards:
        x = x.detach().requires_grad_()
        found = score(x)
        (slope,) = torch.autograd.grad((found * v).sum(), x, create_graph=onwards)
        return sigma.to(found).square() * (found.square() / 2 + slope * v).flatten(1).sum(1)
