"""Markov chains over the levels of a value: transition matrices, and their products.

Austin, Johnson, Ho, Tarlow and van den Berg 2021, "Structured Denoising Diffusion Models in Discrete
State-Spaces", arXiv:2107.03006, appendix A.2. Row i of Q_t is q(x_t | x_{t-1} = i), and row i of
Q_1 Q_2 ... Q_t is q(x_t | x_0 = i). All matrices are float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Transition = Literal["uniform", "absorbing", "gaussian"]
MIXED = 0.01
"""Greatest relative difference from 1 / K of a Gaussian chain's law at T, where T steps can reach it."""
BETA_RATIO = 200.0
"""Last beta of a Gaussian chain as a multiple of the first (1e-4 to 0.02 in the paper)."""


@dataclass(frozen=True)
class Chain:
    """A Markov chain of T steps over S states.

    Attributes:
        single: Q_1, ..., Q_T, (T, S, S).
        cumulative: I, Q_1, Q_1 Q_2, ..., (T + 1, S, S).
        prior: law of x_T that sampling starts from, (S,).
        survival: a_t, (T + 1,), where Q_1 ... Q_t = a_t I + (1 - a_t) 1 prior^T; None for other chains.
    """

    single: Tensor
    cumulative: Tensor
    prior: Tensor
    survival: Tensor | None = None

    @property
    def steps(self) -> int:
        """T."""
        return len(self.single)

    @property
    def states(self) -> int:
        """S."""
        return len(self.prior)


def between(single: Tensor, s: int, t: int) -> Tensor:
    """Return q(x_t | x_s), (S, S): the product of Q_{s+1}, ..., Q_t.

    Args:
        single: (T, S, S).
        s, t: 0 <= s < t <= T.
    """
    product = single[s]
    for step in single[s + 1 : t]:
        product = product @ step
    return product


def cosine_survival(steps: int) -> Tensor:
    """Return the probability that a value is not resampled up to step t, (T + 1,): 1 at 0, and 0 at T.

    The cosine schedule (Hoogeboom et al. 2021, arXiv:2102.05379), for the uniform chain.
    """
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    angle = ((t + 0.008) / 1.008 * math.pi / 2).cos().square()
    survival = angle / angle[0]
    survival[-1] = 0
    return survival


def linear_survival(steps: int) -> Tensor:
    """Return 1 - t / T, (T + 1,): step t absorbs a value that is left with probability 1 / (T - t + 1)."""
    return 1 - torch.arange(steps + 1, dtype=torch.float64) / steps


def _replacing(survival: Tensor, prior: Tensor) -> Chain:
    """Return the chain that replaces a value by a draw of `prior`, in closed form.

    Args:
        survival: probability of no replacement up to step t, (T + 1,).
        prior: (S,).
    """
    identity = torch.eye(len(prior), dtype=torch.float64)
    keep = survival[1:] / survival[:-1]
    mixed = [a[:, None, None] * identity + (1 - a)[:, None, None] * prior for a in (keep, survival)]
    return Chain(mixed[0], mixed[1], prior, survival)


def uniform_chain(levels: int, steps: int) -> Chain:
    """Return the chain that replaces a value by a uniform draw, with a cosine schedule."""
    return _replacing(cosine_survival(steps), torch.full((levels,), 1 / levels, dtype=torch.float64))


def absorbing_chain(levels: int, steps: int) -> Chain:
    """Return the chain that replaces a value by a mask, state K, which it never leaves; all is mask at T."""
    prior = torch.zeros(levels + 1, dtype=torch.float64)
    prior[levels] = 1
    return _replacing(linear_survival(steps), prior)


def gaussian_step(levels: int, beta: float) -> Tensor:
    """Return a step to near levels, (K, K): symmetric, so that the uniform law is stationary.

    Q_ij = exp(-4 (i - j)^2 / ((K - 1)^2 beta)) / sum_n exp(-4 n^2 / ((K - 1)^2 beta)) for i != j, with n from
    -(K - 1) to K - 1, and Q_ii is what is left of 1.
    """
    n = torch.arange(-(levels - 1), levels, dtype=torch.float64)
    weight = torch.softmax(-4 * n.square() / ((levels - 1) ** 2 * beta), 0)
    i = torch.arange(levels)
    step = weight[i[:, None] - i + levels - 1]
    step.fill_diagonal_(0)
    return step + torch.diag(1 - step.sum(1))


def gaussian_betas(levels: int, steps: int) -> Tensor:
    """Return the betas of a Gaussian chain, (T,): they grow linearly, and the data are forgotten at T.

    The factor on all of them is the least, to one percent, at which the law of x_T given an outermost level
    differs from uniform by `MIXED`: with the paper's, for 256 levels, a few levels would not mix. Where T
    steps can't mix so well it is the greatest that is tried.
    """
    ramp = torch.linspace(1, BETA_RATIO, steps, dtype=torch.float64) / BETA_RATIO
    low, high = -4.0, 4.0  # log10 of the last beta
    while high - low > 0.004:
        middle = (low + high) / 2
        law = torch.eye(levels, dtype=torch.float64)[0]
        for beta in (10**middle * ramp).tolist():
            law = law @ gaussian_step(levels, beta)
        if float((levels * law - 1).abs().max()) < MIXED:
            high = middle
        else:
            low = middle
    return 10**high * ramp


def gaussian_chain(levels: int, steps: int) -> Chain:
    """Return the chain of steps to near levels, whose products are computed one by one."""
    single = torch.stack([gaussian_step(levels, beta) for beta in gaussian_betas(levels, steps).tolist()])
    products = [torch.eye(levels, dtype=torch.float64)]
    for step in single:
        products.append(products[-1] @ step)
    prior = torch.full((levels,), 1 / levels, dtype=torch.float64)
    return Chain(single, torch.stack(products), prior)


CHAINS: Mapping[Transition, Callable[[int, int], Chain]] = {
    "uniform": uniform_chain,
    "absorbing": absorbing_chain,
    "gaussian": gaussian_chain,
}
"""Kind of transition -> function of (levels K, steps T)."""


def categorical(weight: Tensor, u: Tensor) -> Tensor:
    """Return states drawn with probabilities in proportion to their weights, (...,) int64.

    A state of weight 0 is never drawn.

    Args:
        weight: (..., S), at least one of them positive.
        u: (...,) uniform in [0, 1).
    """
    mass = weight.double().cumsum(-1)
    passed = mass <= u.double()[..., None] * mass[..., -1:]
    return passed.sum(-1).clamp_max(weight.shape[-1] - 1)
