"""Penalties of a critic's slope: closed forms of linear and quadratic critics, points drawn for each pair."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.making import batch
from zoo_core.config import TrainConfig
from zoo_core.data.loading import Resident, TrainData
from zoo_core.errors import UsageError
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import generator
from zoo_core.training.harness import Harness
from zoo_core.types import Context, DataInfo
from zoo_gan import penalties
from zoo_gan.penalties import between, gradient_penalty, r1, refuse_batch_norm
from zoo_gan.sngan import SNGAN
from zoo_gan.wgan_gp import WGANGP

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10)


def rng() -> torch.Generator:
    return generator(0, "test")


@pytest.mark.parametrize("length", [0.3, 1.0, 2.5])
def test_a_linear_critic_pays_the_square_of_its_excess(length: float) -> None:
    """f = w.x: (|w| - 1)^2 whatever the points; catches a norm over the batch, or of its square."""
    w = torch.randn(3, 4, 4, dtype=torch.float64)
    w = length * w / w.norm()
    real, fake = torch.randn(2, 7, 3, 4, 4, dtype=torch.float64)

    def critic(x: Tensor) -> Tensor:
        return (w * x).sum((1, 2, 3))

    assert float(gradient_penalty(critic, real, fake, rng())) == pytest.approx((length - 1) ** 2, abs=1e-12)
    free = gradient_penalty(critic, real, fake, rng(), one_sided=True)
    assert float(free) == pytest.approx(max(0.0, length - 1) ** 2, abs=1e-12)


def spread_of_places(between_: Any) -> float:
    """Return the spread over the batch of where on its line each point lies."""
    real, fake = torch.ones(4096, 2, 3), torch.zeros(4096, 2, 3)
    return float(between_(real, fake, rng()).mean((1, 2)).std())


def test_each_pair_has_a_point_of_its_own() -> None:
    """Uniform on the line, the same for all pixels of a pair; the twin, one draw a batch, is seen to fail."""
    real, fake = torch.ones(4096, 2, 3), torch.zeros(4096, 2, 3)
    points = between(real, fake, rng())
    assert torch.equal(points.amin((1, 2)), points.amax((1, 2)))  # no draw a pixel
    assert float(points.mean()) == pytest.approx(0.5, abs=4.5 * (1 / 12 / 4096) ** 0.5)
    assert spread_of_places(between) == pytest.approx((1 / 12) ** 0.5, rel=0.05)

    def one_draw(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
        return torch.lerp(fake, real, torch.rand(1, generator=rng))

    assert spread_of_places(one_draw) == 0


def test_the_penalty_is_taken_at_those_points() -> None:
    """f = |x|^2 / 2 has slope |x|: with real = (1, 0) and fake = 0 it is E[(u - 1)^2] = 1/3; at the real
    examples it would be 0, at the generated ones 1, half-way 1/4."""
    n = 200_000
    real, fake = torch.zeros(n, 2), torch.zeros(n, 2)
    real[:, 0] = 1
    value = gradient_penalty(lambda x: x.square().sum(1) / 2, real, fake, rng()).detach()
    error = (4 / 45 / n) ** 0.5  # of (u - 1)^2, whose variance is 1/5 - 1/9
    assert float(value) == pytest.approx(1 / 3, abs=4.5 * error)


def test_penalties_have_gradients_of_the_critic_and_none_of_the_examples() -> None:
    """Through the gradient of a gradient: with |w| = 3 the slope of (|w| - 1)^2 is 2 (|w| - 1) w / |w|."""
    w = torch.tensor([3.0, 0.0], requires_grad=True)
    real, fake = torch.randn(5, 2, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    gradient_penalty(lambda x: x @ w, real, fake, rng()).backward()
    torch.testing.assert_close(w.grad, torch.tensor([4.0, 0.0]))
    assert real.grad is None
    assert fake.grad is None


def test_r1_is_the_mean_squared_slope_at_real_examples() -> None:
    """f = x.A x / 2: E|A x|^2; no square root, no 1; scores of a map are added up."""
    a = torch.randn(4, 4, dtype=torch.float64)
    a = a + a.T
    x = torch.randn(9, 4, dtype=torch.float64)
    expected = (x @ a).square().sum(1).mean()
    torch.testing.assert_close(r1(lambda x: ((x @ a) * x).sum(1) / 2, x), expected)
    torch.testing.assert_close(r1(lambda x: (x @ a) * x / 2, x), expected)


def test_lazy_r1_weighs_as_much_as_the_full_rate() -> None:
    """Every 4 steps with 4 times the weight; on the critic's own optimizer, and no more often than that."""
    weights: dict[int, float] = {}
    for every in (1, 4):
        config: Any = resolve(
            ["plugin=sngan", "preset=tiny", "model.r1=0.5", f"model.r1_every={every}", "train.steps=8"]
        )
        torch.manual_seed(0)
        recipe = SNGAN(config, DIGITS)
        lazy = next(phase for phase in recipe.phases() if phase.name == "r1")
        assert (lazy.optimizer, lazy.every) == ("critic", every)
        recipe.eval()  # no power iteration between the two
        x = torch.randn(16, 1, 8, 8, generator=rng())
        loss = recipe.r1_phase(batch(x), Context(0, 0.0, 0, rng()))
        assert float(loss.loss.detach()) == pytest.approx(
            0.25 * every * float(loss.log["squared_slope"]), rel=1e-5
        )
        weights[every] = float(loss.loss.detach()) / every
        levels = torch.randint(0, 17, (64, 1, 8, 8), dtype=torch.uint8)
        harness = Harness(recipe, TrainConfig(steps=8, batch_size=16), TrainData(Resident(levels), DIGITS, 0))
        harness.run()
        assert harness.counts.updates["adversarial/r1"] == 8 // every
        assert set(recipe.stages()[0].optimizers) == {"critic", "generator"}
    assert weights[1] == pytest.approx(weights[4], rel=1e-5)


@pytest.mark.parametrize("words", [["plugin=wgan-gp"], ["plugin=sngan", "model.r1=1"]])
def test_batch_norm_in_the_critic_is_refused_by_name(words: list[str]) -> None:
    config: Any = resolve([*words, "preset=tiny", "model.critic_norm=batch"])
    recipe = WGANGP if config.plugin == "wgan-gp" else SNGAN
    with pytest.raises(UsageError, match="batch norm") as caught:
        recipe(config, DIGITS)
    assert "model.critic_norm=none" in str(caught.value)
    config = resolve([*words, "preset=tiny", "model.critic_norm=layer"])
    recipe(config, DIGITS)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.SyncBatchNorm(3)])
def test_any_kind_of_batch_norm_is_seen(norm: nn.Module) -> None:
    with pytest.raises(UsageError):
        refuse_batch_norm(nn.Sequential(nn.Linear(2, 3), nn.Sequential(norm)), "it")
    refuse_batch_norm(nn.Sequential(nn.GroupNorm(1, 3), nn.InstanceNorm2d(3)), "it")


@pytest.mark.parametrize("net", ["dcgan", "resnet", "perceptron"])
def test_wgan_gp_adds_its_penalty_to_the_critics_loss_alone(net: str, monkeypatch: Any) -> None:
    """Its weight is lambda; it is logged; the double backward goes through each kind of network."""
    config: Any = resolve(["plugin=wgan-gp", "preset=tiny", f"model.net={net}", "model.penalty=7"])
    recipe = WGANGP(config, DIGITS)
    x = torch.randn(8, 1, 8, 8, generator=rng())

    def losses() -> tuple[float, float]:
        context = [Context(0, 0.0, 0, rng()) for _ in range(2)]
        critic = recipe.critic_phase(batch(x), context[0])
        critic.loss.backward()
        made = recipe.generator_phase(batch(x), context[1])
        return float(critic.loss.detach()), float(made.loss.detach())

    critic, made = losses()
    assert all(p.grad is not None for p in recipe.critic.parameters() if p.ndim > 1)
    monkeypatch.setattr("zoo_gan.wgan_gp.gradient_penalty", lambda *a, **k: torch.tensor(1.0))
    pinned, same = losses()
    monkeypatch.undo()
    slope = penalties.gradient_penalty
    monkeypatch.setattr("zoo_gan.wgan_gp.gradient_penalty", lambda *a, **k: 0 * slope(*a, **k))
    free, _ = losses()
    assert pinned == pytest.approx(free + 7.0, abs=1e-4)
    assert made == same
    assert critic != pytest.approx(free)
