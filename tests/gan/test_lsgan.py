"""LSGAN: the best critic, the divergence it stands for, and a critic whose output is linear."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.gan.test_gan import best_critic, counts, discrete
from zoo_core.registry.resolution import resolve
from zoo_core.types import DataInfo
from zoo_gan.losses import least_squares
from zoo_gan.lsgan import LSGAN, LSGANConfig

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10)


def chi_squared(p: Tensor, q: Tensor) -> float:
    """Return sum (p - q)^2 / (p + q): Pearson's chi^2(p + q | 2 q) as the paper writes it."""
    return float(((p - q).square() / (p + q)).sum())


def values(a: float, b: float, c: float, seed: int) -> tuple[float, float]:
    """Return (2 C(g), the divergence) at the best critic; C with the term of the real data kept."""
    p, q = discrete(seed)
    game = least_squares(a, b, c)
    scores, _ = best_critic(game.critic, p, q)
    kept = float((scores[counts(p)] - c).square().mean()) / 2
    return 2 * (kept + float(game.generator(scores[counts(q)]))), chi_squared(p, q)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (-1.0, 1.0)])
def test_the_best_critic_is_the_mean_of_its_targets(a: float, b: float, seed: int) -> None:
    """Eq. 5: D* = (b p + a q) / (p + q), found by minimizing our loss; catches targets exchanged."""
    p, q = discrete(seed)
    scores, _ = best_critic(least_squares(a, b).critic, p, q)
    torch.testing.assert_close(scores, (b * p + a * q) / (p + q), rtol=0, atol=2e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("a", "b", "c"), [(-1.0, 1.0, 0.0), (0.0, 2.0, 1.0)])
def test_pearsons_divergence_where_the_targets_are_right(a: float, b: float, c: float, seed: int) -> None:
    """b - c = 1 and b - a = 2; catches a half left out, or the real term."""
    twice, divergence = values(a, b, c, seed)
    assert twice == pytest.approx(divergence, abs=1e-5)


def test_no_divergence_of_pearsons_for_the_usual_targets() -> None:
    """a = 0, b = c = 1 is no such divergence: its correct twin stands above."""
    for seed in range(3):
        twice, divergence = values(0.0, 1.0, 1.0, seed)
        assert abs(twice - divergence) > 0.1


def test_both_halves_have_their_half() -> None:
    """E19: 1/2 in both; it is the learning rate's business, so it is pinned."""
    game = least_squares()
    one, zero = torch.ones(3), torch.zeros(3)
    assert float(game.critic(zero, one)) == 1.0  # 1/2 + 1/2
    assert float(game.generator(zero)) == 0.5
    assert float(game.critic(one, zero)) == float(game.generator(one)) == 0.0


def test_the_critics_output_is_linear() -> None:
    """Its scores double with its last layer's weights: catches a sigmoid before the squares, whose scores
    would stay in (0, 1) and could never reach b = 2."""
    config = resolve(["plugin=lsgan", "preset=tiny"])
    assert isinstance(config, LSGANConfig)
    recipe = LSGAN(config, DIGITS)
    x = torch.randn(16, 1, 8, 8)
    with torch.no_grad():
        before = recipe.critic(x)
        for parameter in recipe.critic.head.parameters():
            parameter.mul_(1000)
        torch.testing.assert_close(recipe.critic(x), 1000 * before, rtol=1e-4, atol=1e-4)
    assert float(before.abs().max()) > 0


def test_the_options_reach_the_game() -> None:
    config = resolve(["plugin=lsgan", "preset=tiny", "model.a=-1", "model.b=3", "model.c=2"])
    assert isinstance(config, LSGANConfig)
    game = LSGAN(config, DIGITS).adversarial
    assert float(game.critic(torch.tensor([3.0]), torch.tensor([-1.0]))) == 0.0
    assert float(game.generator(torch.tensor([2.0]))) == 0.0
    assert game.boundary == 1.0
