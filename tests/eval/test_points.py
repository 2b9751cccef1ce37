"""Sliced Wasserstein and maximum mean discrepancy against closed forms and independent implementations."""

from __future__ import annotations

import math

import pytest
import torch

from tests.eval.fakes import context, protocol
from zoo_eval.features import Features
from zoo_eval.metrics.points import (
    bandwidth,
    centered_,
    points,
    sliced_wasserstein,
    squared_mmd,
    transport,
)


def test_transport_on_the_line_agrees_with_an_assignment(rng):
    # catches quantiles paired to their neighbors, and sizes that must divide each other
    from scipy.optimize import linear_sum_assignment

    x, y = torch.randn(6, 1, generator=rng).double(), torch.randn(4, 1, generator=rng).double() * 2 + 1
    big_x, big_y = x.repeat_interleave(2, 0), y.repeat_interleave(3, 0)  # each point in equal pieces
    cost = torch.cdist(big_x, big_y).square()
    rows, columns = linear_sum_assignment(cost.numpy())
    squared, _ = transport(x, y)
    assert float(squared[0]) == pytest.approx(float(cost[rows, columns].mean()), rel=1e-12)


def test_the_potential_is_the_derivative(rng):
    # catches a slope without its 2, and an influence in sorted order instead of the samples'
    x, y = torch.randn(900, 1, generator=rng).double(), torch.randn(700, 1, generator=rng).double() * 1.5 + 1
    _, potential = transport(x, y)
    for k in (3, 250):
        moved = y.clone()
        moved[k] += 1e-3
        slope = (float(transport(x, moved)[0][0]) - float(transport(x, y)[0][0])) * 700 / 1e-3
        near = (y - y[k]).abs().flatten().argsort()[1:3]
        expected = float(((potential[near, 0] - potential[k, 0]) / (y[near, 0] - y[k, 0])).mean())
        assert slope == pytest.approx(expected, rel=0.05, abs=0.05)


def test_a_shift_is_the_mean_of_its_projections(rng):
    # catches directions that are not unit vectors: over all directions of the plane the mean of cos^2 is 1/2
    points = torch.randn(400, 2, generator=rng)
    value, _ = sliced_wasserstein(points, points + torch.tensor([3.0, 4.0]))
    assert value == pytest.approx(5 / math.sqrt(2), rel=1e-6)
    assert sliced_wasserstein(points, points)[0] == pytest.approx(0, abs=1e-9)


def test_two_gaussians_are_as_far_as_their_closed_form(rng):
    # catches W1 for W2: between N(0, 1) and N(0, s^2) it is |s - 1| in every direction
    one, two = torch.randn(2, 20_000, 2, generator=rng).double()
    assert sliced_wasserstein(one, 2 * two)[0] == pytest.approx(1, abs=0.03)


def test_mmd_is_its_definition(rng):
    # catches a diagonal left in, and 2 sigma^2 for sigma
    x, y = torch.randn(2, 12, 2, generator=rng).double()

    def k(a, b):
        return math.exp(-float((a - b).square().sum()) / (2 * 0.7**2))

    n = 12
    within = [
        sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1)) for a in (x, y)
    ]
    across = sum(k(a, b) for a in x for b in y) / n**2
    assert squared_mmd(x, y, 0.7).value == pytest.approx(sum(within) - 2 * across, rel=1e-10)


def test_mmd_of_gaussians_is_the_closed_form(rng):
    # catches a biased estimate: between N(0, I) and N(m, I) in D dimensions the kernel's mean is
    # (h^2 / (h^2 + 2))^(D/2) exp(-|m|^2 / (2 (h^2 + 2)))
    h, shift = 1.0, 1.0
    pairs = torch.randn(20, 2, 500, 2, generator=rng).double()
    pairs[:, 1] += shift
    draws = [squared_mmd(x, y, h).value for x, y in pairs]
    same = h**2 / (h**2 + 2)
    expected = 2 * same * (1 - math.exp(-2 * shift**2 / (2 * (h**2 + 2))))
    spread = torch.tensor(draws).std() / 20**0.5
    assert sum(draws) / 20 == pytest.approx(expected, abs=4.5 * float(spread))


def test_nineteen_of_twenty_intervals_hold_the_mean_of_many_figures(rng):
    # catches an influence of the square taken for one of the root
    real = torch.randn(1000, 2, generator=rng).double()
    cells = {"SW": [], "MMD": []}
    for _ in range(60):
        fake = 1.4 * torch.randn(200, 2, generator=rng).double() + 0.5
        settings = protocol(neighbors_n=200)
        one, two = (Features(x, None, points=x) for x in (real, fake))
        for name, cell in points(context(one, two, settings)).items():
            cells[name].append(cell)
    for name, found in cells.items():
        mean = sum(cell.value for cell in found) / 60
        held = sum(cell.interval.low <= mean <= cell.interval.high for cell in found) / 60
        assert abs(held - 0.95) < 4.5 * (0.95 * 0.05 / 60) ** 0.5, name


@pytest.mark.parametrize(("dim", "scale"), [(2, 1.0), (2, 1.1), (8, 1.0), (8, 1.4)])
def test_intervals_of_mmd_hold_its_mean_where_laws_are_equal_too(rng, dim, scale):
    # catches an interval of the linear term alone, whose width is small where the value is small by chance
    real = torch.randn(150, dim, generator=rng).double()
    width = bandwidth(real)
    draws = (scale * torch.randn(150, dim, generator=rng).double() for _ in range(400))
    cells = [squared_mmd(real, fake, width) for fake in draws]
    mean = sum(cell.value for cell in cells) / 400
    low = sum(mean < cell.interval.low for cell in cells) / 400
    high = sum(mean > cell.interval.high for cell in cells) / 400
    assert abs(1 - low - high - 0.95) < 0.03
    assert max(low, high) < 0.065


def test_the_degenerate_variance_is_that_of_equal_laws(rng):
    # catches means or a diagonal that were left in: x y, centered, has E k^2 = 1 for unit variances
    x = 5 + torch.randn(3000, 1, generator=rng, dtype=torch.float64)
    centered = centered_(x @ x.T)
    assert float(centered.square().sum()) / (3000 * 2999) == pytest.approx(1, abs=0.1)
    assert centered.diagonal().abs().max() == 0
    assert abs(float(centered.sum())) < 1e-3


def test_images_have_neither(rng):
    # catches pixels taken for points
    x = torch.randn(30, 2, generator=rng).double()
    assert points(context(Features(x), Features(x))) == {}
    assert bandwidth(torch.tensor([[0.0], [1.0], [3.0]])) == 2
