"""What a decoder's output means: p(x | z) as a true likelihood of the data, value by value.

A network gives `outputs` numbers for each value of an example, as one tensor (n, outputs, *shape); given z
the values are independent. Level k of L is x = 2k / (L - 1) - 1. The Bernoulli, the continuous Bernoulli (by
its mass in a level's bin) and the discretized logistic are probabilities of levels; the Gaussian is a
density.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from zoo_core.config import Config
from zoo_core.data.loading import quantize, to_unit
from zoo_core.errors import UsageError
from zoo_core.nn.bounding import bounded
from zoo_core.nn.logistic import (
    LOCATION_MAX,
    LOG_SCALE_MAX,
    LOG_SCALE_MIN,
    LOGIT_MAX,
    logistic_log_prob,
    parameters_of,
)
from zoo_core.seeds import Seeds
from zoo_core.types import DataInfo

MEAN_MAX = 1e6
"""Greatest distance of a Gaussian's mean from 0: its square in units of the least variance is finite."""


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


def log_sinhc(h: Tensor) -> Tensor:
    """Return log(sinh(h) / h), 0 at 0, elementwise; it and its gradient are finite everywhere."""
    small = h.abs() < 0.3
    far = torch.where(small, torch.ones_like(h), h.abs())
    near = torch.where(small, h, torch.zeros_like(h)) ** 2
    series = near / 6 - near**2 / 180 + near**3 / 2835 - near**4 / 37800 + near**5 / 467775
    return torch.where(small, series, far + torch.log1p(-torch.exp(-2 * far)) - torch.log(2 * far))


def continuous_bernoulli_log_prob(u: Tensor, logits: Tensor) -> Tensor:
    """Return log p(u) = logits u + log C, elementwise nats, of the continuous Bernoulli density on [0, 1].

    Plain cross-entropy on gray levels omits C = logits / (e^logits - 1). Loaiza-Ganem and Cunningham 2019,
    arXiv:1907.06845, Eqs. 6 and 7, in terms of logits.
    """
    return logits * (u - 0.5) - log_sinhc(logits / 2)


def continuous_bernoulli_mean(logits: Tensor) -> Tensor:
    """Return E[u] of the continuous Bernoulli, elementwise: 1/2 + coth(logits / 2) / 2 - 1 / logits."""
    small = logits.abs() < 0.2
    far = torch.where(small, torch.ones_like(logits), logits)
    near = torch.where(small, logits, torch.zeros_like(logits))
    series = near / 12 - near**3 / 720 + near**5 / 30240
    return 0.5 + torch.where(small, series, 0.5 / torch.tanh(far / 2) - 1 / far)


def gaussian_log_prob(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Return log N(x; mean, exp(log_var)) elementwise, in nats."""
    return -0.5 * ((x - mean) ** 2 * torch.exp(-log_var) + log_var + math.log(2 * math.pi))


def logits_of(out: Tensor) -> Tensor:
    """Return the bounded logits, (n, *shape), of an output (n, 1, *shape)."""
    return bounded(parameters_of(out)[:, 0], -LOGIT_MAX, LOGIT_MAX)


class Bernoulli:
    """Binary images: one logit a value."""

    outputs = 1
    discrete = True

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        return bernoulli_log_prob(x, logits_of(out))

    def mean(self, out: Tensor) -> Tensor:
        return 2 * torch.sigmoid(logits_of(out)) - 1

    def sample(self, out: Tensor, noise: Seeds) -> Tensor:
        probability = torch.sigmoid(logits_of(out))
        return torch.where(noise.rand(probability.shape[1:]) < probability, 1.0, -1.0)


class ContinuousBernoulli:
    """Images of L levels: the mass of a continuous Bernoulli in level k's bin [k / L, (k + 1) / L].

    The masses are a truncated geometric distribution, so that nothing is lost to dequantization.

    Args:
        levels: L, at least 2.
    """

    outputs = 1
    discrete = True

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        # Within a bin the density is again a continuous Bernoulli's, with logits / L: their ratio at the
        # bin's center is the mass over the width.
        logits, count = logits_of(out), self.levels
        center = (x * (count - 1) + count) / (2 * count)
        inside = log_sinhc(logits / (2 * count))
        return continuous_bernoulli_log_prob(center, logits) + inside - math.log(count)

    def mean(self, out: Tensor) -> Tensor:
        """Return the mean over the L levels."""
        logits, count = logits_of(out), self.levels
        level = count * continuous_bernoulli_mean(logits) - continuous_bernoulli_mean(logits / count)
        return 2 * level / (count - 1) - 1

    def sample(self, out: Tensor, noise: Seeds) -> Tensor:
        logits, count = logits_of(out), self.levels
        p, size = noise.rand(logits.shape[1:]), logits.abs().clamp_min(1e-4)
        u = 1 + torch.log(p + (1 - p) * torch.exp(-size)) / size  # the inverse of the CDF for logits > 0
        u = torch.where(logits > 0, u, 1 - u).clamp(0, 1)
        return 2 * (u * count).floor().clamp_max(count - 1) / (count - 1) - 1


class Gaussian:
    """Points, or dequantized images.

    Args:
        std: the standard deviation of every value; None where the network gives each value its own.
    """

    discrete = False

    def __init__(self, std: float | None = None) -> None:
        self.outputs = 2 if std is None else 1
        self.std = std

    def log_var(self, out: Tensor) -> Tensor:
        if self.std is not None:
            return torch.full_like(self.mean(out), 2 * math.log(self.std))
        return 2 * bounded(parameters_of(out)[:, 1], LOG_SCALE_MIN, LOG_SCALE_MAX)

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        return gaussian_log_prob(x, self.mean(out), self.log_var(out))

    def mean(self, out: Tensor) -> Tensor:
        return bounded(parameters_of(out)[:, 0], -MEAN_MAX, MEAN_MAX)

    def sample(self, out: Tensor, noise: Seeds) -> Tensor:
        return self.mean(out) + torch.exp(self.log_var(out) / 2) * noise.randn(out.shape[2:])


class DiscretizedLogistic:
    """Images of L levels: a mixture of logistics for each value, with its mass in the level's bin.

    Salimans et al. 2017, arXiv:1701.05517, section 2.1, with one mixture per value: colors of
    a pixel are tied by z alone, not by the paper's section 2.2.

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
        k, out = self.components, parameters_of(out)
        mean = bounded(out[:, :k], -LOCATION_MAX, LOCATION_MAX)
        log_scale = bounded(out[:, k : 2 * k], LOG_SCALE_MIN, LOG_SCALE_MAX)
        logits = bounded(out[:, 2 * k :], -LOGIT_MAX, LOGIT_MAX)
        log_weight = torch.log_softmax(torch.cat((logits, torch.zeros_like(out[:, :1])), 1), 1)
        return log_weight, mean, log_scale

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


class DecoderModel(Config):
    """What a decoder's output means."""

    decoder: Literal["auto", "logistic", "gaussian", "bernoulli", "continuous-bernoulli"] = "auto"
    """Distribution p(x | z): discretized logistic (any number of levels), Gaussian density, Bernoulli (2
    levels), or continuous Bernoulli (its mass in the bin of each level); auto is bernoulli for 2 levels,
    logistic for more, and gaussian for points."""
    components: int = Field(2, ge=1)
    """logistic: number of mixture components for each value."""
    std: float | None = Field(None, gt=0)
    """gaussian: standard deviation of every value; none to predict one for each value."""


def build_output(model: DecoderModel, data: DataInfo) -> OutputDistribution:
    """Return the decoder's distribution.

    Raises:
        UsageError: where it is not a likelihood of such data.
    """
    natural = "gaussian" if data.levels is None else "bernoulli" if data.levels == 2 else "logistic"
    kind = natural if model.decoder == "auto" else model.decoder
    if kind == "gaussian":
        return Gaussian(model.std)
    if data.levels is None or (kind == "bernoulli" and data.levels != 2):
        has = "continuous values" if data.levels is None else f"{data.levels} levels"
        raise UsageError(
            f"model.decoder={kind} is not a likelihood for {data.name!r}, which has {has}",
            "expected: data of 2 levels" if kind == "bernoulli" else "expected: images",
            f"next: model.decoder={natural}",
        )
    if kind == "bernoulli":
        return Bernoulli()
    if kind == "continuous-bernoulli":
        return ContinuousBernoulli(data.levels)
    return DiscretizedLogistic(data.levels, model.components)


def check_levels(x: Tensor, levels: int) -> None:
    """Raise where a probability of levels is asked for values between them.

    Raises:
        UsageError: with the number of values that are not level centers.
    """
    between = int(((x - to_unit(quantize(x, levels), levels)).abs() > 1e-4).sum())
    if between:
        raise UsageError(
            f"{between} of {x.numel()} values lie between the data's {levels} levels",
            f"expected: 2k / {levels - 1} - 1 for k in 0..{levels - 1}; a probability of levels has no other",
        )
