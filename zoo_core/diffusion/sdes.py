"""The three linear SDEs of Song et al. 2021 (arXiv:2011.13456) as noise schedules in continuous time.

dx = f(t) x dt + g(t) dw over t in (0, 1], with x_t = alpha(t) x0 + sigma(t) eps. Where a network must know
the level it is told the time t; 0 is never asked for: at 0 the score is not defined, so the least time is
T_MIN, in training and in sampling alike (the paper samples VP from 1e-3 and VE from 1e-5).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from zoo_core.diffusion.schedule import NoiseSchedule, refuse_no_signal
from zoo_core.errors import UsageError

T_MIN = 1e-5
"""The least time that is trained, and for VP and VE followed: Song et al. 2021, appendix C."""


class SDE(NoiseSchedule, Protocol):
    """A noise schedule that is a linear SDE, dx = f(t) x dt + g(t) dw."""

    def f(self, t: Tensor) -> Tensor:
        """Return the drift's coefficient at times t, like t."""
        ...

    def g2(self, t: Tensor) -> Tensor:
        """Return the squared diffusion coefficient at times t, like t."""
        ...


class _Linear:
    """What the three share: their ends, from `alpha` and `sigma`."""

    levels: Tensor | None = None
    t_min: float = T_MIN
    ratio_min: float
    ratio_max: float
    prior_std: float

    def alpha(self, t: Tensor) -> Tensor:
        raise NotImplementedError

    def sigma(self, t: Tensor) -> Tensor:
        raise NotImplementedError

    def _ends(self) -> None:
        t = torch.tensor([self.t_min, 1.0], dtype=torch.float64)
        self.ratio_min, self.ratio_max = (self.sigma(t) / self.alpha(t)).tolist()


class VP(_Linear):
    """Variance preserving: f = -beta / 2, g^2 = beta, the limit of DDPM's chain (Eq. 11 and appendix B).

    Args:
        beta_min, beta_max: beta(0) and beta(1), on a line between.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        if not 0 < beta_min < beta_max:
            raise UsageError(f"beta from {beta_min} to {beta_max}", "expected: 0 < beta_min < beta_max")
        self.beta_min = beta_min
        self.beta_max = beta_max
        self._ends()
        refuse_no_signal(self.ratio_max, f"beta from {beta_min:g} to {beta_max:g}")
        self.prior_std = 1 / float(self.alpha(torch.ones((), dtype=torch.float64)))

    def beta(self, t: Tensor) -> Tensor:
        """Return beta(t), like t."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integral(self, t: Tensor) -> Tensor:
        """Return B(t), the integral of beta from 0 to t, like t."""
        return t * self.beta_min + t**2 * (self.beta_max - self.beta_min) / 2

    def alpha(self, t: Tensor) -> Tensor:
        """Return exp(-B(t) / 2), like t."""
        return torch.exp(-self.integral(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        """Return sqrt(1 - exp(-B(t))), like t."""
        return (-torch.expm1(-self.integral(t))).sqrt()

    def f(self, t: Tensor) -> Tensor:
        """Return the drift's coefficient, like t."""
        return -self.beta(t) / 2

    def g2(self, t: Tensor) -> Tensor:
        """Return the squared diffusion coefficient, like t."""
        return self.beta(t)

    def t_of_integral(self, integral: Tensor) -> Tensor:
        """Return the time at which B is `integral`, like it."""
        slope = self.beta_max - self.beta_min
        return ((self.beta_min**2 + 2 * slope * integral).sqrt() - self.beta_min) / slope

    def t_of(self, ratio: Tensor) -> Tensor:
        """Return the time at which sigma / alpha is `ratio`: B = log(1 + ratio^2)."""
        return self.t_of_integral(torch.log1p(ratio**2))

    def alpha_of(self, ratio: Tensor) -> Tensor:
        """Return 1 / sqrt(1 + ratio^2), like ratio."""
        return (1 + ratio**2).rsqrt()


class SubVP(VP):
    """Sub-variance preserving: the mean of VP and less noise, g^2 = beta (1 - exp(-2 B)) (Eq. 12).

    Its noise starts as t, not as sqrt(t). At T_MIN it is 1e-6, of which float32 keeps one digit beside x: the
    least time that samplers and likelihoods follow is 1e-3, where sigma is 1e-4.
    """

    t_min = 1e-3

    def sigma(self, t: Tensor) -> Tensor:
        """Return 1 - exp(-B(t)), like t."""
        return -torch.expm1(-self.integral(t))

    def g2(self, t: Tensor) -> Tensor:
        """Return the squared diffusion coefficient, like t."""
        return self.beta(t) * -torch.expm1(-2 * self.integral(t))

    def t_of(self, ratio: Tensor) -> Tensor:
        """Return the time at which sigma / alpha = 2 sinh(B / 2) is `ratio`."""
        return self.t_of_integral(2 * torch.asinh(ratio / 2))

    def alpha_of(self, ratio: Tensor) -> Tensor:
        """Return exp(-B / 2) where 2 sinh(B / 2) is `ratio`, like ratio."""
        return torch.exp(-torch.asinh(ratio / 2))


class VE(_Linear):
    """Variance exploding: f = 0, sigma(t) = sigma_min (sigma_max / sigma_min)^t (Eq. 9).

    The paper's appendices have sigma(t) and sqrt(sigma(t)^2 - sigma_min^2) for the standard deviation; here
    it is sigma(t), so that a level is the same number everywhere, and x at the least level is noised data.

    Args:
        sigma_min, sigma_max: the ends.
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0) -> None:
        if not 0 < sigma_min < sigma_max:
            raise UsageError(f"sigma from {sigma_min} to {sigma_max}", "expected: 0 < sigma_min < sigma_max")
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.log_ratio = math.log(sigma_max / sigma_min)
        self._ends()
        self.prior_std = sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1, like t."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Return sigma(t), like t."""
        return self.sigma_min * torch.exp(t * self.log_ratio)

    def f(self, t: Tensor) -> Tensor:
        """Return 0, like t."""
        return torch.zeros_like(t)

    def g2(self, t: Tensor) -> Tensor:
        """Return d sigma^2 / dt = 2 sigma(t)^2 log(sigma_max / sigma_min), like t."""
        return 2 * self.log_ratio * self.sigma(t) ** 2

    def t_of(self, ratio: Tensor) -> Tensor:
        """Return the time at which sigma is `ratio`, like it."""
        return torch.log(ratio / self.sigma_min) / self.log_ratio

    def alpha_of(self, ratio: Tensor) -> Tensor:
        """Return 1, like ratio."""
        return torch.ones_like(ratio)
