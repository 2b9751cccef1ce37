"""Noise schedules that are learned: gamma(u) = -log SNR(u), a rising function of the time u in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo_core.errors import UsageError


class LogSNR(nn.Module):
    """A variance-preserving schedule with SNR = alpha^2 / sigma^2 = exp(-gamma).

    gamma rises from its lower to its upper end in straight pieces, the steps of a softmax. Piecewise means
    that the slope is exact and positive for any parameters. The time that a network is told is gamma itself,
    so it does not depend on the schedule. Source: Kingma et al. 2021, arXiv:2107.00630, section 3.2,
    where a network with positive weights takes the place of the pieces.

    Args:
        low, high: gamma at u = 0 and u = 1.
        learn_ends: whether the ends are parameters.
        pieces: number of straight pieces, which are parameters if there are two or more.

    Raises:
        UsageError: where the ends do not rise.
    """

    low: Tensor
    log_span: Tensor
    pieces: Tensor
    levels: Tensor | None = None

    def __init__(self, low: float, high: float, *, learn_ends: bool = True, pieces: int = 1) -> None:
        super().__init__()
        if not low < high:
            raise UsageError(f"gamma from {low:g} to {high:g}", "expected: gamma_min < gamma_max")
        ends = {"low": torch.tensor(low), "log_span": torch.tensor(high - low).log()}
        for name, value in ends.items():
            if learn_ends:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        if pieces > 1:
            self.pieces = nn.Parameter(torch.zeros(pieces))
        else:
            self.register_buffer("pieces", torch.zeros(1))

    # -- gamma of time

    def shape(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rise from 0 to 1 at times u in [0, 1], and its slope, each like u."""
        heights = self.pieces.to(u).softmax(0)
        knots = torch.cat((heights.new_zeros(1), heights.cumsum(0)))
        place = u * len(heights)
        piece = place.detach().long().clamp(max=len(heights) - 1)
        return knots[piece] + heights[piece] * (place - piece), heights[piece] * len(heights)

    def scaled(self, rise: Tensor) -> Tensor:
        """Return gamma where the rise from 0 to 1 is `rise`, like it."""
        return self.low.to(rise) + self.span(rise) * rise

    def span(self, values: Tensor) -> Tensor:
        """Return gamma(1) - gamma(0), a scalar in the type of `values`."""
        return self.log_span.to(values).exp()

    def gamma(self, u: Tensor) -> Tensor:
        """Return gamma at times u in [0, 1], like u."""
        return self.scaled(self.shape(u)[0])

    # -- the core's schedule, whose clock is gamma

    @property
    def ratio_min(self) -> float:
        """The least sigma / alpha."""
        return float((self.low.detach() / 2).exp())

    @property
    def ratio_max(self) -> float:
        """The greatest sigma / alpha."""
        return float((self.scaled(torch.ones_like(self.low)).detach() / 2).exp())

    @property
    def prior_std(self) -> float:
        """Standard deviation of x / alpha at the start: 1 / alpha(1)."""
        return float((1 + self.ratio_max**2) ** 0.5)

    def alpha(self, t: Tensor) -> Tensor:
        """Return sqrt(sigmoid(-gamma)) at t = gamma, like t."""
        return torch.sigmoid(-t).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        """Return sqrt(sigmoid(gamma)) at t = gamma, like t."""
        return torch.sigmoid(t).sqrt()

    def t_of(self, ratio: Tensor) -> Tensor:
        """Return gamma = 2 log(ratio), like ratio."""
        return 2 * ratio.log()

    def alpha_of(self, ratio: Tensor) -> Tensor:
        """Return 1 / sqrt(1 + ratio^2), like ratio."""
        return (1 + ratio**2).rsqrt()
