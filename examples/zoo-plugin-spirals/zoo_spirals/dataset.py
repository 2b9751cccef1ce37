"""Two arms of a spiral: points along r = a (1/4 + t), t in [0, 1], blurred by a Gaussian.

The density is the integral of N(x; c_j(t), STD^2 I) over both arms, evenly in t, by Gauss-Legendre quadrature
with nodes that lie closer than STD along the arm: exact to rounding. The same mixture gives the score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data.loading import Dataset, Resident
from zoo_core.data.splits import resident
from zoo_core.seeds import generator
from zoo_core.types import DataInfo

STD = 0.04
NODES = 400
TURNS = 1.25
TRAIN, TEST = 8000, 2000


def arm(t: Tensor, which: Tensor) -> Tensor:
    """Return points (n, 2) of arm 0 or 1 at t in [0, 1]."""
    angle = 2 * math.pi * TURNS * t + math.pi * which
    return (0.75 * (0.25 + t))[:, None] * torch.stack((angle.cos(), angle.sin()), 1)


@dataclass(frozen=True)
class Spirals:
    """The density of the points."""

    def _joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nodes (K, 2) and log of weight times N(x; node), (n, K), float64."""
        from numpy.polynomial.legendre import leggauss

        place, weight = (torch.from_numpy(array).to(x.device) for array in leggauss(NODES))
        t = (place + 1) / 2
        nodes = torch.cat([arm(t, torch.full_like(t, which)) for which in (0.0, 1.0)])
        squared = (x.double()[:, None] - nodes).square().sum(2)
        log_weight = (weight / 4).log().repeat(2)  # weights of [-1, 1] add up to 2, and there are two arms
        return nodes, log_weight - squared / (2 * STD**2) - math.log(2 * math.pi * STD**2)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (n,) float64, for x of (n, 2)."""
        return self._joint(x)[1].logsumexp(1)

    def score(self, x: Tensor) -> Tensor:
        """Return the gradient of log p at x, like x."""
        nodes, joint = self._joint(x)
        return ((joint.softmax(1) @ nodes - x.double()) / STD**2).to(x.dtype)


def load(config: DataConfig) -> Dataset:
    """Return 8,000 points to train on and 2,000 to test on, labeled by their arm."""

    def split(name: str, n: int) -> Resident:
        rng = generator(0, "spirals", name)
        label = torch.randint(2, (n,), generator=rng)
        x = arm(torch.rand(n, generator=rng, dtype=torch.float64), label.double())
        x = x + STD * torch.randn(n, 2, generator=rng, dtype=torch.float64)
        return Resident(x.float(), label)

    info = DataInfo("spirals", (2,), levels=None, classes=2)
    return resident(info, split("train", TRAIN), split("test", TEST), density=Spirals())
