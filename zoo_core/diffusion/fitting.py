"""Noise levels of a sampler fitted to one model: a short search from the sampler's own grid.

A deterministic sampler in few steps errs, and by how much depends on where its levels are. The search bends
and shortens the whole grid first, then moves one level at a time, and keeps what brings the samples nearer to
those of many steps from the same noise.
Searching levels per model is an old idea (Watson et al. 2021, arXiv:2106.03802); the target, the flow's own
end, is that of Tong et al. 2024, "Learning to Discretize Denoising Diffusion ODEs", arXiv:2405.15506.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SHARES = (0.4, 0.2, 0.1)
"""Length of the moves of each round, as shares of the way to the neighboring level, in log sigma."""

POWERS = (0.6, 0.8, 1.0, 1.25, 1.6)
"""Of the relative place in log sigma: below 1, levels are moved to the low end."""
LIFTS = (0.0, 0.25, 0.5)
"""Of the lowest level, as shares of the way to the highest in log sigma."""


@dataclass(frozen=True)
class Fit:
    """Levels that were found.

    Attributes:
        sigmas: (steps + 1,) float64, descending, from that of the grid to 0.
        before, after: root mean square distance to the target, with the grid and with these levels.
    """

    sigmas: Tensor
    before: float
    after: float


def fit_levels(
    draw: Callable[[Tensor], Tensor], sigmas: Tensor, target: Tensor, *, shares: tuple[float, ...] = SHARES
) -> Fit:
    """Return levels with which samples are nearer to a target, or as near as with the given ones.

    The first level stays. The best of len(POWERS) len(LIFTS) bent grids is where the rounds start. Each round
    tries both moves of every other level above 0, and repeats the better one while it helps: about
    2 len(shares) steps draws.

    Args:
        draw: sigmas -> samples, deterministic: always from the same noise.
        sigmas: (steps + 1,) descending to 0, where the search starts.
        target: samples of many steps from that noise, like what `draw` returns.
        shares: of each round.
    """

    def distance(logs: Tensor) -> float:
        drawn = draw(torch.cat((sigmas[:1], logs[1:].exp(), sigmas[-1:])))
        return float((drawn - target).double().square().mean().sqrt())

    logs = sigmas[:-1].double().log()
    before = best = distance(logs)
    for tried in [_bent(logs, power, lift) for power in POWERS for lift in LIFTS if len(logs) > 1]:
        if (found := distance(tried)) < best:
            logs, best = tried, found
    for share in shares:
        for i in range(1, len(logs)):
            for direction in (-1, 1):
                tried, moved = _moved(logs, i, direction, share), False
                while (found := distance(tried)) < best:
                    logs, best, moved = tried, found, True
                    tried = _moved(logs, i, direction, share)
                if moved:
                    break
    return Fit(torch.cat((sigmas[:1].double(), logs[1:].exp(), sigmas[-1:].double())), before, best)


def _bent(logs: Tensor, power: float, lift: float) -> Tensor:
    """Return the levels with their relative place raised to a power, the last one lifted."""
    span = logs[0] - logs[-1]
    return logs[0] - (1 - lift) * span * ((logs[0] - logs) / span) ** power


def _moved(logs: Tensor, i: int, direction: int, share: float) -> Tensor:
    """Return the levels with one moved up or down; the last, which has none below it, by as much as up."""
    up = float(logs[i - 1] - logs[i])
    down = float(logs[i] - logs[i + 1]) if i + 1 < len(logs) else up
    moved = logs.clone()
    moved[i] += share * (up if direction > 0 else -down)
    return moved
