"""Noise schedules: the forward process x_t = alpha(t) x0 + sigma(t) eps, and its clock in sigma-space.

Samplers know one clock, the noise-to-signal ratio sigma(t) / alpha(t); a schedule translates it into the
time that its network was trained with.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from zoo_core.errors import UsageError


class NoiseSchedule(Protocol):
    """A forward process with Gaussian marginals.

    Attributes:
        levels: the trained ratios sigma / alpha, (T,) float64 ascending; None where time is continuous.
        ratio_min, ratio_max: the least and the greatest trained ratio.
        prior_std: standard deviation of x / alpha at the start, for data of unit variance.
    """

    @property
    def ratio_min(self) -> float: ...

    @property
    def ratio_max(self) -> float: ...

    @property
    def prior_std(self) -> float: ...

    @property
    def levels(self) -> Tensor | None: ...

    def alpha(self, t: Tensor) -> Tensor:
        """Return the signal's coefficient at times t, like t."""
        ...

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise's standard deviation at times t, like t."""
        ...

    def t_of(self, ratio: Tensor) -> Tensor:
        """Return the time, as a network is told it, at which sigma / alpha is `ratio`."""
        ...

    def alpha_of(self, ratio: Tensor) -> Tensor:
        """Return alpha where sigma / alpha is `ratio`."""
        ...


def linear_betas(steps: int, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Return beta_1..beta_T on a line, (T,) float64; the defaults are those of Ho et al. 2020, section 4."""
    return torch.linspace(first, last, steps, dtype=torch.float64)


def cosine_betas(steps: int, offset: float = 0.008, most: float = 0.999) -> Tensor:
    """Return the betas whose alpha_bar_t is cos^2((t / T + s) / (1 + s) pi / 2), (T,) float64.

    Each is at most `most`, or the last would be 1. Nichol and Dhariwal 2021, arXiv:2102.09672, Eq. 17.
    """
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    alpha_bar = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=most)


MOST_NOISE = 1e9
"""Greatest sigma / alpha of a schedule: beyond it float32 keeps nothing of the signal, and soon no number."""


def refuse_no_signal(ratio: float, said: str) -> None:
    """Raise UsageError where a schedule that `said` names ends with more noise than numbers can tell."""
    if not ratio < MOST_NOISE:
        raise UsageError(
            f"{said} leave no signal at all: sigma / alpha ends at {ratio:.3g}",
            f"expected: less than {MOST_NOISE:g}",
            "next: smaller betas; those of a chain in proportion to 1 / T",
        )


class DiscreteVP(nn.Module):
    """The variance-preserving chain of T steps: alpha_bar_t = prod(1 - beta_i), alpha^2 + sigma^2 = 1.

    Time t is 1..T as in the paper, and 0 is the data. A ratio between two levels is given the time of the
    nearer one in log(sigma / alpha): the network never sees a time that it was not trained for.
    Source: Ho et al. 2020, arXiv:2006.11239, Eq. 2 and 4.

    Args:
        betas: (T,) each in (0, 1).

    Raises:
        UsageError: where a beta is outside (0, 1).
    """

    alpha_bar: Tensor
    levels: Tensor
    _log_midpoints: Tensor

    def __init__(self, betas: Tensor) -> None:
        super().__init__()
        if betas.ndim != 1 or len(betas) == 0 or not bool(((betas > 0) & (betas < 1)).all()):
            raise UsageError(f"a schedule of {betas.numel()} betas", "expected: at least 1, each in (0, 1)")
        # float64: 1 - alpha_bar_1 is 1e-4, of which float32 keeps three digits.
        kept = torch.cat((torch.ones(1, dtype=torch.float64), 1 - betas.double())).cumprod(0)
        levels = ((1 - kept) / kept).sqrt()[1:]
        logs = levels.log()
        self.register_buffer("alpha_bar", kept, persistent=False)
        self.register_buffer("levels", levels, persistent=False)
        self.register_buffer("_log_midpoints", (logs[1:] + logs[:-1]) / 2, persistent=False)
        self.steps = len(betas)
        self.ratio_min = float(levels[0])
        self.ratio_max = float(levels[-1])
        refuse_no_signal(self.ratio_max, f"{len(betas)} betas up to {float(betas.max()):g}")
        self.prior_std = math.sqrt(1 + self.ratio_max**2)

    def alpha(self, t: Tensor) -> Tensor:
        """Return sqrt(alpha_bar_t), float64, for integer t in 0..T."""
        return self.alpha_bar[t].sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        """Return sqrt(1 - alpha_bar_t), float64, for integer t in 0..T."""
        return (1 - self.alpha_bar[t]).sqrt()

    def t_of(self, ratio: Tensor) -> Tensor:
        """Return the time in 1..T, int64, whose level is nearest to `ratio` in its logarithm."""
        return torch.bucketize(ratio.to(self.levels).log(), self._log_midpoints) + 1

    def alpha_of(self, ratio: Tensor) -> Tensor:
        """Return 1 / sqrt(1 + ratio^2), at any ratio, like it."""
        return (1 + ratio**2).rsqrt()
