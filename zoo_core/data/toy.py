"""Toy densities of the plane whose truth is known: draws, exact log-density, exact score.

Each is a mixture of curves, every one traced evenly in its parameter t in [0, 1] and blurred by one
isotropic Gaussian; a mixture of Gaussians is the case of curves that stand still:

    p(x) = sum_j w_j integral_0^1 N(x; c_j(t), std^2 I) dt

The integrand is an entire function of t, so Gauss-Legendre quadrature converges exponentially once its
nodes lie closer than std along the curve; with the nodes below it is exact to rounding. A quadrature is a
finite mixture of Gaussians, so one formula serves all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.splits import resident
from zoo_core.data.table import Resident
from zoo_core.seeds import generator
from zoo_core.types import DataInfo

TRAIN, TEST = 10_000, 2_000

Curve = Callable[[Tensor], Tensor]
"""t (n,) in [0, 1] to points (n, 2)."""


@dataclass(frozen=True)
class Mixture:
    """The density sum_k weights_k N(x; means_k, std^2 I).

    Attributes:
        means: (K, D) float64.
        weights: (K,) float64, positive, adding up to 1.
        std: of every component.
    """

    means: Tensor
    weights: Tensor
    std: float

    def _log_joint(self, x: Tensor) -> Tensor:
        """Return log w_k N(x; means_k), (n, K)."""
        means, weights = self.means.to(x.device), self.weights.to(x.device)
        distance = torch.cdist(x, means, compute_mode="donot_use_mm_for_euclid_dist")
        norm = x.shape[1] * math.log(self.std * math.sqrt(2 * math.pi))
        return weights.log() - norm - distance.square() / (2 * self.std**2)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (n,) float64, for x of (n, D)."""
        return self._log_joint(x.double()).logsumexp(1)

    def score(self, x: Tensor) -> Tensor:
        """Return the gradient of log p at x, sum_k p(k | x) (means_k - x) / std^2, like x."""
        posterior = self._log_joint(x.double()).softmax(1)
        return ((posterior @ self.means.to(x.device) - x) / self.std**2).to(x.dtype)

    def smoothed(self, sigma: float) -> Mixture:
        """Return the density of x + sigma eps: its components are as many, and wider."""
        return replace(self, std=math.hypot(self.std, sigma))


@dataclass(frozen=True)
class Toy:
    """A mixture of blurred curves.

    Attributes:
        curves: c_j.
        weights: w_j, adding up to 1.
        std: of the blur.
        nodes: of the quadrature on each curve; 1 where a curve stands still.
    """

    curves: tuple[Curve, ...]
    weights: tuple[float, ...]
    std: float
    nodes: int = 1

    def density(self) -> Mixture:
        """Return the exact density."""
        from numpy.polynomial.legendre import leggauss

        node, mass = (torch.from_numpy(a) for a in leggauss(self.nodes))
        t = (node + 1) / 2
        means = torch.cat([curve(t) for curve in self.curves])
        weights = torch.cat([w * mass / 2 for w in self.weights])
        return Mixture(means, weights, self.std)

    def draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return n points (n, 2) float32 and the curve of each, (n,) int64."""
        # Drawn in float64 and rounded once, so that the points are the same on every processor.
        j = torch.multinomial(
            torch.tensor(self.weights, dtype=torch.float64), n, replacement=True, generator=rng
        )
        t = torch.rand(n, dtype=torch.float64, generator=rng)
        eps = torch.randn(n, 2, dtype=torch.float64, generator=rng)
        on_curve = torch.stack([curve(t) for curve in self.curves])[j, torch.arange(n)]
        return (on_curve + self.std * eps).float(), j


def _still(x: float, y: float) -> Curve:
    return lambda t: torch.tensor([x, y], dtype=t.dtype).expand(len(t), 2)


def _upper_moon(t: Tensor) -> Tensor:
    return torch.stack((torch.cos(math.pi * t) - 0.5, torch.sin(math.pi * t) - 0.25), 1) / 1.7


def _swiss_roll(t: Tensor) -> Tensor:
    turn = 1.5 * math.pi * (1 + 2 * t)
    return turn[:, None] * torch.stack((turn.cos(), turn.sin()), 1) / 15


TOYS = {
    "moons": Toy((_upper_moon, lambda t: -_upper_moon(t)), (0.5, 0.5), std=0.05, nodes=256),
    "ring": Toy(
        tuple(_still(0.8 * math.cos(k * math.pi / 4), 0.8 * math.sin(k * math.pi / 4)) for k in range(8)),
        (0.125,) * 8,
        std=0.05,
    ),
    # Song and Ermon 2019 (arXiv:1907.05600), section 3.2.2: 1/5 N((-5, -5), I) + 4/5 N((5, 5), I), over 8.
    "two-gaussians": Toy((_still(-0.625, -0.625), _still(0.625, 0.625)), (0.2, 0.8), std=0.125),
    "swiss-roll": Toy((_swiss_roll,), (1.0,), std=0.03, nodes=1024),
}


def load(config: DataConfig) -> Dataset:
    """Return a toy by its name: 10,000 points to train on, 2,000 to test on, labeled by their curve."""
    toy = TOYS[config.name]
    classes = len(toy.curves) if len(toy.curves) > 1 else 0

    def split(name: str, n: int) -> Resident:
        x, curve = toy.draw(n, generator(0, config.name, name))
        return Resident(x, curve if classes else None)

    info = DataInfo(config.name, (2,), levels=None, classes=classes)
    return resident(info, split("train", TRAIN), split("test", TEST), density=toy.density())
