"""WGAN's game: its sign, its clip, its count of updates; never the value of a trained critic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import nn

from tests.making import batch
from zoo_core.config import TrainConfig
from zoo_core.data.loading import Resident, TrainData
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import generator
from zoo_core.training.harness import Harness
from zoo_core.types import Batch, Context, DataInfo, Loss
from zoo_gan.losses import wasserstein_critic as critic_loss
from zoo_gan.losses import wasserstein_generator as generator_loss
from zoo_gan.wgan import WGAN, WGANConfig

POINTS = DataInfo("points", (2,), None)
DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10)


def quantiles(pieces: list[tuple[float, float, float]], n: int = 8000) -> torch.Tensor:
    """Return n equally likely points of a mixture of uniforms (weight, low, high), in float64."""
    parts = [low + (high - low) * (np.arange(int(n * w)) + 0.5) / int(n * w) for w, low, high in pieces]
    return torch.from_numpy(np.concatenate(parts))


MU = quantiles([(0.25, 1, 2), (0.25, 3, 4), (0.5, 9, 10)])
NU = quantiles([(1.0, 5, 7)])


def test_the_loss_at_the_known_potential_is_minus_the_distance() -> None:
    """Fleuret's example (s55): W = 4/4 + 2/4 + 3/2 = 3, and f*(x) = |x - 6| attains it."""
    assert wasserstein_distance(MU, NU) == pytest.approx(3.0, abs=1e-9)
    assert float(critic_loss((MU - 6).abs(), (NU - 6).abs())) == pytest.approx(-3.0, abs=1e-9)


def test_no_lipschitz_function_does_better() -> None:
    """Duality (E21): the supremum is over f without absolute values, and f + c changes nothing."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        knots = np.sort(rng.uniform(0, 11, 12))
        heights = np.cumsum(rng.uniform(-1, 1, 12) * np.diff(knots, prepend=0.0))
        f = [torch.from_numpy(np.interp(x, knots, heights)) for x in (MU, NU)]
        assert float(critic_loss(*f)) >= -3.0 - 1e-9
        shifted = critic_loss(f[0] + 7, f[1] + 7)
        assert float(shifted) == pytest.approx(float(critic_loss(*f)), abs=1e-9)


def context(step: int = 0) -> Context:
    return Context(step, 0.0, 0, generator(step, "test"))


def diracs(sign: float) -> tuple[float, float]:
    """Train on data at (1, 0.5) and return the generator's mean distance from it before and after."""
    torch.manual_seed(0)
    config = resolve(
        [
            "plugin=wgan",
            "data=moons",
            "model.generator_width=32",
            "optim.generator.lr=1e-3",
            "optim.critic.lr=1e-3",
        ]
    )
    assert isinstance(config, WGANConfig)
    recipe = WGAN(config, POINTS)
    if sign < 0:
        right = recipe.generator_phase
        recipe.generator_phase = lambda b, c: Loss(-right(b, c).loss)  # type: ignore[method-assign]
    target = torch.tensor([1.0, 0.5])
    data = TrainData(Resident(target.expand(64, 2).clone()), POINTS, 0)
    z = torch.randn(256, config.model.latent_dim, generator=generator(0, "z"))

    def distance() -> float:
        with torch.no_grad():
            return float((recipe.generator(z) - target).norm(dim=1).mean())

    before = distance()
    Harness(recipe, TrainConfig(steps=150, batch_size=64), data).run()
    return before, distance()


@pytest.mark.slow(depends=("zoo_core/nn", "zoo_core/training", "plugins/zoo_gan"))
def test_the_generator_moves_towards_the_data() -> None:
    """Catches a reversed sign, which trained generators backwards for years (users' reports)."""
    before, after = diracs(+1)
    assert after < 0.3 * before
    before, after = diracs(-1)
    assert after > before


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_every_weight_is_clipped_after_every_critic_step(norm: str) -> None:
    """Checked inside the loop: catches a clip before the step, once an iteration, or of matrices only."""
    config = resolve(["plugin=wgan", "preset=tiny", f"model.critic_norm={norm}"])
    assert isinstance(config, WGANConfig)
    recipe = WGAN(config, DIGITS)
    bounds: list[float] = []

    def largest() -> float:
        return max(float(p.detach().abs().max()) for p in recipe.critic.parameters())

    right = recipe.critic_phase

    def watched(b: Batch, c: Context) -> Loss:
        bounds.append(largest())
        return right(b, c)

    recipe.critic_phase = watched  # type: ignore[method-assign]
    levels = torch.randint(0, 17, (64, 1, 8, 8), dtype=torch.uint8)
    harness = Harness(recipe, config.train, TrainData(Resident(levels), DIGITS, 0))
    harness.run()
    assert bounds[0] > config.model.clip  # the initial weights are not
    assert max(bounds[1:]) <= config.model.clip
    assert largest() <= config.model.clip
    updates = harness.counts.updates
    assert updates["adversarial/critic"] == 5 * updates["adversarial/generator"] == 100


def test_each_critic_update_has_a_fresh_batch() -> None:
    """Algorithm 1 draws one in each of its n_critic iterations: catches one batch used five times."""
    config = resolve(["plugin=wgan", "preset=tiny", "train.steps=4"])
    assert isinstance(config, WGANConfig)
    recipe = WGAN(config, DIGITS)
    seen: list[torch.Tensor] = []
    right = recipe.critic_phase

    def watched(b: Batch, c: Context) -> Loss:
        seen.append(b.index.clone())
        return right(b, c)

    recipe.critic_phase = watched  # type: ignore[method-assign]
    levels = torch.randint(0, 17, (400, 1, 8, 8), dtype=torch.uint8)
    Harness(recipe, config.train, TrainData(Resident(levels), DIGITS, 0)).run()
    assert len(seen) == 20
    for step in range(4):  # 5 batches of 16 out of 400, without one example twice but where an epoch ends
        assert len(torch.unique(torch.cat(seen[5 * step : 5 * step + 5]))) >= 5 * 16 - 16


def test_the_optimizers_are_those_of_algorithm_1() -> None:
    config = resolve(["plugin=wgan"])
    assert isinstance(config, WGANConfig)
    for optimizer in (config.optim.critic, config.optim.generator):
        assert (optimizer.kind, optimizer.lr, optimizer.momentum) == ("rmsprop", 5e-5, 0.0)
    assert (config.model.n_critic, config.model.clip, config.train.batch_size) == (5, 0.01, 64)


def test_the_critics_loss_leaves_the_generator_alone_and_the_other_way_round() -> None:
    config = resolve(["plugin=wgan", "preset=tiny"])
    assert isinstance(config, WGANConfig)
    recipe = WGAN(config, DIGITS)
    recipe.critic_phase(batch(torch.zeros(8, 1, 8, 8)), context()).loss.backward()
    assert all(p.grad is None for p in recipe.generator.parameters())
    assert all(p.grad is not None for p in recipe.critic.parameters())
    recipe.zero_grad(set_to_none=True)
    recipe.generator_phase(batch(torch.zeros(8, 1, 8, 8)), context()).loss.backward()
    assert all(p.grad is not None for p in recipe.generator.parameters())


def test_the_clipped_critics_value_is_never_called_a_distance() -> None:
    """E22: clipping makes it K-Lipschitz with an unknown K, so what is logged is a gap between scores."""
    config = resolve(["plugin=wgan", "preset=tiny"])
    assert isinstance(config, WGANConfig)
    logged = WGAN(config, DIGITS).critic_phase(batch(torch.zeros(8, 1, 8, 8)), context()).log
    assert list(logged) == ["score_gap"]


def test_the_generators_loss_is_its_half_of_the_critics() -> None:
    real, fake = torch.randn(9), torch.randn(9)
    torch.testing.assert_close(critic_loss(real, fake), -(real.mean() + generator_loss(fake)))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 12, 20)])
def test_the_nets_fit_any_even_image(shape: tuple[int, ...]) -> None:
    config: Any = resolve(["plugin=wgan", "preset=tiny"])
    recipe = WGAN(config, DataInfo("any", shape, 256))
    x = recipe.generator(torch.randn(4, config.model.latent_dim))
    assert tuple(x.shape) == (4, *shape)
    assert float(x.detach().abs().max()) <= 1
    assert tuple(recipe.critic(x).shape) == (4,)


def test_dcgans_table_at_64_pixels() -> None:
    """Radford et al. 2015, figure 1: 1024 x 4 x 4, then 512, 256, 128 channels, then 3 x 64 x 64."""
    from zoo_core.nn.dcgan import DCGANCritic, DCGANGenerator, init_weights

    made = DCGANGenerator(100, (3, 64, 64), width=128).apply(init_weights)
    assert made._bottom == (1024, 4, 4)
    channels = [m.in_channels for m in made.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert channels == [1024, 512, 256, 128]
    critic = [
        m.out_channels for m in DCGANCritic((3, 64, 64), width=64).modules() if isinstance(m, nn.Conv2d)
    ]
    assert critic == [64, 128, 256, 512]
    weights = torch.cat([m.weight.flatten() for m in made.modules() if isinstance(m, nn.ConvTranspose2d)])
    assert float(weights.detach().std()) == pytest.approx(0.02, rel=0.02)
