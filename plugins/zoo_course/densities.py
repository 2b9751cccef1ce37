"""Densities and sampling: a normal distribution mapped onto a ring, and the density of the result."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import normals
from zoo_course.topic import Exercise, Slip, Topic

RADIUS, WIDTH = 2.0, 0.25
"""Mean and standard deviation of the distance of the ring's points from 0."""


def ring(z: Tensor) -> Tensor:
    """Return g(z), (n, 2): the angle of z is kept, its radius is moved to that of the ring.

    The radius r of a standard normal z has P(r > s) = exp(-s^2 / 2), and R = RADIUS + WIDTH Phi^-1(P(r' < r))
    is N(RADIUS, WIDTH^2).
    """
    r = z.norm(dim=1, keepdim=True)
    quantile = -torch.special.ndtri(torch.exp(-(r**2) / 2))
    return (RADIUS + WIDTH * quantile) * z / r


def ring_log_density(x: Tensor) -> Tensor:
    """Return log p(x), (n,), of x = g(z) with z standard normal: N(|x|; RADIUS, WIDTH^2) / (2 pi |x|)."""
    r = x.norm(dim=1)
    radial = -0.5 * ((r - RADIUS) / WIDTH) ** 2 - math.log(WIDTH * math.sqrt(2 * math.pi))
    return radial - torch.log(2 * math.pi * r)


def log_normal_density(x: float) -> float:
    """Return the density of x = exp(z), z standard normal."""
    return math.exp(-0.5 * math.log(x) ** 2) / (x * math.sqrt(2 * math.pi))


def _figure(out: Folder) -> Sequence[str]:
    z = normals(3000, 2, seed=0)
    x = ring(z)
    hue = torch.atan2(z[:, 1], z[:, 0]) / (2 * math.pi) + 0.5
    figure = make_figure(11.5, 4)
    left, middle, right = figure.subplots(1, 3)
    left.scatter(z[:, 0], z[:, 1], c=hue, cmap="hsv", s=4)
    left.set(title="z ~ N(0, I), colored by angle", aspect="equal", xlim=(-4, 4), ylim=(-4, 4))
    middle.scatter(x[:, 0], x[:, 1], c=hue, cmap="hsv", s=4)
    middle.set(title="x = g(z), same colors", aspect="equal", xlim=(-3.5, 3.5), ylim=(-3.5, 3.5))
    line = torch.linspace(-3.5, 3.5, 280, dtype=torch.float64)
    density = ring_log_density(torch.cartesian_prod(line, line)).exp().reshape(280, 280)
    right.pcolormesh(line, line, density.T, cmap="Oranges", shading="nearest")
    right.set(title="density of x", aspect="equal")
    out.plot(figure, "map")
    out.arrays("map", z=z, x=x)
    mass = float(density.sum()) * float(line[1] - line[0]) ** 2
    return [
        f"mass of the density on the grid: {mass:.4f} (1 expected)",
        f"mean of |x|: {float(x.norm(dim=1).mean()):.3f} ({RADIUS} expected)",
    ]


TOPIC = Topic(
    question="how does a map turn a simple distribution into a complicated one, and what is the "
    "density of the result?",
    look=(
        "Neighbors stay neighbors: the map keeps the angle (color) and only moves the radius.",
        "z near 0 is stretched over the inner edge of the ring, where the density is low.",
        "The density of x is known at every point, because the map is invertible with a known Jacobian.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="z ~ N(0, 1) and x = exp(z). What is the density of x at x = 2?",
            answer=lambda: log_normal_density(2.0),
            tolerance=5e-4,
            hint="p(x) = p(z) |dz / dx| with z = log x.",
            slips=(
                Slip(lambda: 2 * log_normal_density(2.0), "This is p(z). Multiply by |dz / dx| = 1 / x."),
                Slip(
                    lambda: 4 * log_normal_density(2.0),
                    "The Jacobian is that of the inverse map: divide by x.",
                ),
            ),
        ),
    ),
)
