"""Toy densities: what is drawn is what the density says, by independent routes to both."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data.toy import TOYS, Mixture, load

GAUSSIANS = ("ring", "two-gaussians")
CURVES = ("moons", "swiss-roll")


def _grid(n: int, half: float) -> tuple[Tensor, float]:
    axis = (torch.arange(n, dtype=torch.float64) + 0.5) * (2 * half / n) - half
    return torch.cartesian_prod(axis, axis), (2 * half / n) ** 2


@pytest.mark.parametrize("name", TOYS)
def test_density_integrates_to_one(name: str) -> None:
    """Catches weights that do not add up, and a wrong normalizing constant."""
    grid, area = _grid(160, 1.4)
    total = torch.cat([TOYS[name].density().log_prob(part).exp() for part in grid.split(8192)]).sum() * area
    assert total.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", TOYS)
def test_score_is_the_gradient_of_the_log_density(name: str) -> None:
    """Catches a score with the wrong sign or scale."""
    density = TOYS[name].density()
    x = (
        torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 - 1.5
    ).requires_grad_()
    (gradient,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    assert torch.allclose(density.score(x.detach()), gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", GAUSSIANS)
def test_mixtures_agree_with_torch(name: str) -> None:
    """Catches a mixture that differs from torch's own, an independent implementation."""
    from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

    density = TOYS[name].density()
    reference = MixtureSameFamily(
        Categorical(density.weights),
        Independent(Normal(density.means, torch.tensor(density.std, dtype=torch.float64)), 1),
    )
    x = load(DataConfig(name=name)).test.examples(torch.arange(500)).double()
    assert torch.allclose(density.log_prob(x), reference.log_prob(x), atol=1e-10)


@pytest.mark.parametrize("name", CURVES)
def test_quadrature_is_exact(name: str) -> None:
    """Catches too few nodes, by adaptive integration of the definition at points near and far."""
    from scipy.integrate import quad

    toy, density = TOYS[name], TOYS[name].density()
    x = torch.tensor(
        [[0.0, 0.0], [0.5, 0.1], [-0.55, 0.4], [0.9, -0.3], [1.4, 1.4], [-1.5, 0.2]], dtype=torch.float64
    )
    for point, log_prob in zip(x, density.log_prob(x).tolist(), strict=True):

        def integrand(t: float, point: Tensor = point, shift: float = log_prob) -> float:
            at = torch.tensor([t], dtype=torch.float64)
            square = torch.stack([(curve(at)[0] - point).square().sum() for curve in toy.curves])
            exponent = -square / (2 * toy.std**2) - math.log(2 * math.pi * toy.std**2) - shift
            return (torch.tensor(toy.weights) * exponent.exp()).sum().item()

        cuts = torch.linspace(0, 1, 41).tolist()
        parts = [quad(integrand, a, b, epsabs=1e-11, epsrel=1e-9)[0] for a, b in pairwise(cuts)]
        assert math.log(sum(parts)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("name", TOYS)
def test_draws_follow_the_density(name: str) -> None:
    """Catches draws from another distribution: counts in boxes against the density's mass in them."""
    data = load(DataConfig(name=name))
    x = data.train.examples(torch.arange(len(data.train))).double()
    cells = 6
    fine, area = _grid(20 * cells, 1.2)
    mass = torch.cat([TOYS[name].density().log_prob(part).exp() for part in fine.split(8192)]) * area
    expected = torch.zeros(cells * cells, dtype=torch.float64)
    expected.index_add_(0, _cell(fine, cells), mass)
    observed = _cell(x, cells).bincount(minlength=cells * cells) / len(x)
    error = (expected * (1 - expected) / len(x)).sqrt() + 1e-4
    assert ((observed - expected).abs() / error).max() < 4.5


def _cell(x: Tensor, cells: int) -> Tensor:
    k = ((x + 1.2) / 2.4 * cells).long().clamp(0, cells - 1)
    return k[:, 0] * cells + k[:, 1]


@pytest.mark.parametrize("name", TOYS)
def test_splits_are_fixed_separate_and_in_range(name: str) -> None:
    """Catches a test split that repeats the training split, and data out of the range models expect."""
    one, two = load(DataConfig(name=name)), load(DataConfig(name=name))
    assert one.sha256 == two.sha256
    train, test = (split.examples(torch.arange(len(split))) for split in (one.train, one.test))
    assert (len(train), len(test)) == (10_000, 2_000)
    assert train.dtype == torch.float32
    assert not torch.equal(train[:2000], test)
    assert (train.abs() <= 1).all(1).float().mean() > 0.99
    assert one.info.levels is None
    assert one.info.classes == (0 if one.train.label is None else int(one.train.label.max()) + 1)


def test_labels_are_the_nearest_gaussian() -> None:
    """Catches labels that went with other points: the ring's components are 12 standard deviations apart."""
    data = load(DataConfig(name="ring"))
    x = data.train.examples(torch.arange(len(data.train))).double()
    nearest = torch.cdist(x, TOYS["ring"].density().means).argmin(1)
    assert data.train.label is not None
    assert torch.equal(nearest, data.train.label)


def test_far_points_have_finite_logs() -> None:
    """Catches log(0): a model's stray sample must not make the mean infinite."""
    density = Mixture(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, dtype=torch.float64), 0.05)
    x = torch.tensor([[50.0, 0.0]])
    assert density.log_prob(x).item() == pytest.approx(
        -(50**2) / 2 / 0.05**2 - math.log(2 * math.pi * 0.05**2)
    )
    assert density.score(x)[0, 0].item() == pytest.approx(-50 / 0.05**2)
