"""The adversarial game of 2014: its value, its optimum, its gradients, on discrete distributions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo_core.registry.resolution import resolve
from zoo_core.types import DataInfo
from zoo_gan.gan import GAN, GANConfig
from zoo_gan.losses import MINIMAX, NONSATURATING, cross_entropy, minimax_generator, nonsaturating_generator

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10)


def discrete(seed: int, k: int = 6) -> tuple[Tensor, Tensor]:
    """Return two distributions over k points, float64."""
    rng = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(k, generator=rng, dtype=torch.float64).softmax(0) for _ in range(2))  # type: ignore[return-value]


def counts(p: Tensor, n: int = 200_000) -> Tensor:
    """Return a sample in which each point stands as often as p says, to within one."""
    return torch.repeat_interleave(torch.arange(len(p)), (p * n).round().long())


def kl(p: Tensor, q: Tensor) -> float:
    return float((p * (p / q).log()).sum())


def best_critic(loss: Any, p: Tensor, q: Tensor) -> tuple[Tensor, float]:
    """Minimize the critic's loss over one score a point, through the loss itself; return scores and loss."""
    real, fake = counts(p), counts(q)
    scores = torch.zeros(len(p), dtype=torch.float64, requires_grad=True)
    options: dict[str, Any] = {"tolerance_grad": 1e-12, "tolerance_change": 0.0}
    optimizer = torch.optim.LBFGS([scores], max_iter=500, line_search_fn="strong_wolfe", **options)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(scores[real], scores[fake])
        value.backward()
        return value

    optimizer.step(closure)
    return scores.detach(), float(loss(scores[real], scores[fake]).detach())


def test_the_value_is_minus_log_four_where_nothing_is_known() -> None:
    """D = 1/2 is a score of 0: catches a loss that takes its scores for probabilities."""
    zero = torch.zeros(5)
    assert float(cross_entropy(zero, zero)) == pytest.approx(math.log(4))
    assert float(minimax_generator(zero)) == pytest.approx(-math.log(2))
    assert float(nonsaturating_generator(zero)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("score", [-100.0, -30.0, 30.0, 100.0])
def test_losses_and_gradients_are_finite_at_any_score(score: float) -> None:
    """log(sigmoid(-100)) in float32 is -inf when it is computed in two steps."""
    x = torch.full((4,), score, requires_grad=True)
    critics = cross_entropy(x, -x), cross_entropy(-x, x)
    for value in (*critics, minimax_generator(x), nonsaturating_generator(x)):
        (slope,) = torch.autograd.grad(value, x)
        assert torch.isfinite(value)
        assert torch.isfinite(slope).all()
        assert abs(float(value.detach())) <= 200.1


@pytest.mark.parametrize("score", [-20.0, -5.0, -1.0, 0.0, 1.0, 5.0])
def test_the_two_forms_of_the_generators_gradient(score: float) -> None:
    """By the score l: -sigmoid(l) against -(1 - sigmoid(l)): equal at 0, their ratio e^-l without bound."""
    x = torch.tensor([score], dtype=torch.float64, requires_grad=True)
    (minimax,) = torch.autograd.grad(minimax_generator(x), x)
    (other,) = torch.autograd.grad(nonsaturating_generator(x), x)
    sigmoid = 1 / (1 + math.exp(-score))
    assert float(minimax) == pytest.approx(-sigmoid)
    assert float(other) == pytest.approx(-(1 - sigmoid))
    assert float(other / minimax) == pytest.approx(math.exp(-score))


@pytest.mark.parametrize("seed", range(3))
def test_the_best_critic_is_the_ratio_of_densities(seed: int) -> None:
    """Proposition 1: D* = p / (p + q), found by minimizing our loss; so D* / (1 - D*) = p / q."""
    p, q = discrete(seed)
    scores, _ = best_critic(cross_entropy, p, q)
    torch.testing.assert_close(scores.sigmoid(), p / (p + q), rtol=0, atol=2e-5)
    torch.testing.assert_close(scores.exp(), p / q, rtol=1e-4, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_the_value_there_is_twice_the_jensen_shannon_divergence_less_log_four(seed: int) -> None:
    """Theorem 1, E18: C = -log 4 + 2 JSD, and not the JSD itself; catches a loss halved, or a lost half."""
    p, q = discrete(seed)
    _, loss = best_critic(cross_entropy, p, q)
    middle = (p + q) / 2
    jsd = (kl(p, middle) + kl(q, middle)) / 2
    assert -loss == pytest.approx(-math.log(4) + 2 * jsd, abs=1e-5)


def test_disjoint_supports_reach_the_largest_value() -> None:
    """JSD = log 2 there, so C = 0: the loss of a sure critic goes to 0 from above."""
    sure = torch.full((8,), 60.0)
    assert 0 <= float(cross_entropy(sure, -sure)) < 1e-20


def test_the_option_chooses_the_generators_half() -> None:
    config = resolve(["plugin=gan", "preset=tiny", "model.loss=minimax"])
    assert isinstance(config, GANConfig)
    assert GAN(config, DIGITS).adversarial is MINIMAX
    config = resolve(["plugin=gan", "preset=tiny"])
    assert isinstance(config, GANConfig)
    assert GAN(config, DIGITS).adversarial is NONSATURATING


def test_the_minimax_generator_minimizes_what_the_critic_maximizes() -> None:
    """One function of both (Eq. 1): catches a sign in one half."""
    real, fake = torch.randn(9), torch.randn(9)
    real_term = torch.nn.functional.logsigmoid(real).mean()
    torch.testing.assert_close(-cross_entropy(real, fake), real_term + minimax_generator(fake))
