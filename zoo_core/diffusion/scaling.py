"""The scale at which a network sees noisy data."""

from __future__ import annotations

from torch import Tensor, nn

from zoo_core.diffusion.denoiser import Net
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.schedule import NoiseSchedule
from zoo_core.types import Cond


class Scaled(nn.Module):
    """net(x / sqrt(alpha^2 + sigma^2), t): unit variance goes into the network at every level.

    Variance-exploding data have the standard deviation sqrt(1 + sigma^2), from 1 to that of the highest
    level. A small network, trained for a minute, does not learn to divide: it must be fed one size.
    Karras et al. 2022, arXiv:2206.00364, table 1 (c_in), with data of unit variance.

    Args:
        net: called as net(x, t, cond).
        schedule: whose alpha(t) and sigma(t) say how large x is.
    """

    def __init__(self, net: Net, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.net = net
        self.schedule = schedule

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the network's output, like x: x (n, *shape) = alpha x0 + sigma eps, t (n,)."""
        scale = (self.schedule.alpha(t) ** 2 + self.schedule.sigma(t) ** 2).rsqrt()
        return self.net(x * like(scale, x), t, cond)
