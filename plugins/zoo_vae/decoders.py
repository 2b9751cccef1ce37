"""What a decoder's output means: p(x | z) as a true likelihood of the data, value by value.

A network gives `outputs` numbers for each value of an example, as one tensor (n, outputs, *shape); given z
the values are independent. Level k of L is x = 2k / (L - 1) - 1. The Bernoulli and the discretised logistic
are probabilities of levels; the Gaussian is a density.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_core.data.loading import quantise, to_unit
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds

LOG_SCALE_MIN = -7.0
"""A logistic's scale and a Gaussian's standard deviation are at least e^-7: a density has no upper bound."""


class OutputDistribution(Protocol):
    """p(x | z) of every value of an example, from a network's output (n, outputs, *shape).

    Attributes:
        outputs: numbers that the network gives for each value.
        discrete: whether log_prob is a probability of levels; a density otherwise.
    """

    outputs: int
    discrete: bool

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        """Return log p(x | z) elementwise, (n, *shape) nats."""
        ...

    def mean(self, out: Tensor) -> Tensor:
        """Return E[x | z], (n, *shape)."""
        ...

    def sample(self, out: Tensor, noise: Seeds) -> Tensor:
        """Return one draw of p(x | z) an example, (n, *shape)."""
        ...


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Return log Bernoulli elementwise, in nats, for x in {-1, 1} and the logits of P(x = 1)."""
    return F.logsigmoid(x * logits)


def gaussian_log_prob(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Return log N(x; mean, exp(log_var)) elementwise, in nats."""
    return -0.5 * ((x - mean) ** 2 * torch.exp(-log_var) + log_var + math.log(2 * math.pi))


def logistic_log_prob(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Return the log-mass of a logistic distribution in the bin of each level, elementwise, in nats.

    The bin of x is [x - h, x + h] with h = 1 / (L - 1); the outer two take the tails, so the L masses add
    up to 1. Salimans et al. 2017, arXiv:1701.05517, Eq. 2.

    Args:
        x: level centres.
        mean, log_scale: of the logistic, in the units of x.
        levels: L, at least 2.
    """
    half = 1 / (levels - 1)
    rate = torch.exp(-log_scale)
    upper, lower = (x + half - mean) * rate, (x - half - mean) * rate
    first, last = x < half - 1, x > 1 - half
    # s(b) - s(a) = s(b) s(-a) (1 - e^(a - b)) for the sigmoid s: no difference of two close numbers.
    below_upper = F.logsigmoid(upper).masked_fill(last, 0)
    above_lower = F.logsigmoid(-lower).masked_fill(first, 0)
    both = torch.log(-torch.expm1(-2 * half * rate))
    return below_upper + above_lower + torch.where(first | last, torch.zeros_like(both), both)


class Bernoulli:
    """Binary pictures: one logit a value."""

    outputs = 1
    discrete = True

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        return bernoulli_log_prob(x, out[:, 0])

    def mean(self, out: Tensor) -> Tensor:
        return 2 * torch.sigmoid(out[:, 0]) - 1

    def sample(self, out: Tensor, noise: Seeds) -> Tensor:
        probability = torch.sigmoid(out[:, 0])
        return torch.where(noise.rand(probability.shape[1:]) < probability, 1.0, -1.0)


class Gaussian:
    """Points, or dequantised pictures.

    Args:
        std: the standard deviation of every value; None where the network gives each value its own.
    """

    discrete = False

    def __init__(self, std: float | None = None) -> None:
        self.outputs = 2 if std is None else 1
        self.std = std

    def log_var(self, out: Tensor) -> Tensor:
        if self.std is not None:
            return torch.full_like(out[:, 0], 2 * math.log(self.std))
        return 2 * out[:, 1].clamp_min(LOG_SCALE_MIN)

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        return gaussian_log_prob(x, out[:, 0], self.log_var(out))

    def mean(self, out: Tensor) -> Tensor:
        return out[:, 0]

    def sample(self, out: Tensor, noise: Seeds) -> Tensor:
        return out[:, 0] + torch.exp(self.log_var(out) / 2) * noise.randn(out.shape[2:])


class DiscretisedLogistic:
    """Pictures of L levels: a mixture of logistics for each value, with its mass in the level's bin.

    Args:
        levels: L, at least 2.
        components: K of the mixture; 1 is a single logistic.
    """

    discrete = True

    def __init__(self, levels: int, components: int = 1) -> None:
        self.levels = levels
        self.components = components
        self.outputs = 3 * components - 1

    def split(self, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (log_weight, mean, log_scale), each (n, K, *shape); K - 1 logits suffice for K weights."""
        k = self.components
        mean, log_scale, logits = out[:, :k], out[:, k : 2 * k], out[:, 2 * k :]
        log_weight = torch.log_softmax(torch.cat((logits, torch.zeros_like(out[:, :1])), 1), 1)
        return log_weight, mean, log_scale.clamp_min(LOG_SCALE_MIN)

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        log_weight, mean, log_scale = self.split(out)
        return torch.logsumexp(log_weight + logistic_log_prob(x[:, None], mean, log_scale, self.levels), 1)

    def mean(self, out: Tensor) -> Tensor:
        """Return the mean over the L levels: -1 + 2 / (L - 1) times the sum over edges of P(x > edge)."""
        log_weight, mean, log_scale = self.split(out)
        weight, rate = log_weight.exp(), torch.exp(-log_scale)
        above = torch.zeros_like(mean[:, 0])
        for edge in range(1, self.levels):
            above += (weight * torch.sigmoid((mean - ((2 * edge - 1) / (self.levels - 1) - 1)) * rate)).sum(1)
        return above * (2 / (self.levels - 1)) - 1

    def sample(self, out: Tensor, noise: Seeds) -> Tensor:
        """Return a draw of the mixture: clamped and rounded to a level, it is a draw of the masses."""
        log_weight, mean, log_scale = self.split(out)
        shape = mean.shape[2:]
        passed = noise.rand(shape)[:, None] >= log_weight.exp().cumsum(1)[:, :-1]
        chosen = passed.sum(1, keepdim=True)
        u = noise.rand(shape)[:, None].clamp_min(2**-25)
        return (mean.gather(1, chosen) + torch.exp(log_scale.gather(1, chosen)) * torch.logit(u)).squeeze(1)


def check_levels(x: Tensor, levels: int) -> None:
    """Raise where a probability of levels is asked for values between them.

    Raises:
        UsageError: with how many values are no level centre.
    """
    between = int(((x - to_unit(quantise(x, levels), levels)).abs() > 1e-4).sum())
    if between:
        raise UsageError(
            f"{between} of {x.numel()} values lie between the data's {levels} levels",
            f"expected: 2k / {levels - 1} - 1 for k in 0..{levels - 1}; a probability of levels has no other",
        )
