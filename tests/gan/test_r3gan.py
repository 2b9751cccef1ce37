"""R3GAN: the best critic of the relativistic game, its two penalties, and networks that start shallow."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.gan.test_gan import counts, discrete
from tests.making import batch, context
from zoo_core.registry.resolution import resolve
from zoo_core.types import DataInfo
from zoo_gan.losses import relativistic
from zoo_gan.r3gan import R3GAN, R3GANConfig
from zoo_gan.r3gan_networks import ResidualCritic, ResidualGenerator, groups

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10)
POINTS = DataInfo("ring", (2,), None)


def make(*words: str, data: DataInfo = DIGITS) -> R3GAN:
    config = resolve(["plugin=r3gan", "preset=tiny", *words])
    assert isinstance(config, R3GANConfig)
    torch.manual_seed(0)
    return R3GAN(config, data)


def all_pairs(scores: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """Return the critic's loss over every pair of a real and a generated point; scores are by point."""
    return relativistic(scores[real].repeat_interleave(len(fake)), scores[fake].repeat(len(real)))


@pytest.mark.parametrize("seed", range(3))
def test_the_best_critic_is_the_log_of_the_ratio(seed: int) -> None:
    """f = log p/q has no gradient over independent pairs, log q/p has one: catches the sides exchanged."""
    p, q = discrete(seed)
    real, fake = counts(p, 400), counts(q, 400)
    p, q = (torch.bincount(side, minlength=len(p)).double() / len(side) for side in (real, fake))
    best = (p / q).log().requires_grad_()
    (gradient,) = torch.autograd.grad(all_pairs(best, real, fake), best)
    assert float(gradient.abs().max()) < 1e-12
    best = best.detach()
    assert float(all_pairs(best, real, fake)) < float(all_pairs(-best, real, fake))


def test_equal_scores_cost_log_two_and_a_constant_costs_nothing() -> None:
    real, fake = torch.randn(2, 7, dtype=torch.float64)
    assert float(relativistic(real, real)) == pytest.approx(math.log(2))
    torch.testing.assert_close(relativistic(real + 3, fake + 3), relativistic(real, fake))
    assert float(relativistic(torch.tensor(800.0), torch.tensor(-800.0))) == 0
    assert float(relativistic(torch.tensor(-800.0), torch.tensor(800.0))) == 1600


def test_pairs_are_compared_one_by_one() -> None:
    """Catches scores compared with a mean, as in the relativistic average GAN."""
    real, fake = torch.tensor([0.0, 10.0]), torch.tensor([0.0, 10.0])
    assert float(relativistic(real, fake)) == pytest.approx(math.log(2))
    assert float(relativistic(real, fake.flip(0))) == pytest.approx(5, abs=1e-3)


def test_both_sides_pay_for_their_slope() -> None:
    """A critic w.x has slope |w| everywhere: gamma/2 |w|^2 twice; catches one side left out."""
    recipe = make("model.gamma=0.7")
    linear = nn.Linear(64, 1).double()

    class Linear(nn.Module):
        def forward(self, x: Tensor, cond: object = None) -> Tensor:
            return linear(x.flatten(1)).squeeze(1)

    recipe.critic = Linear()
    real, fake = torch.randn(2, 5, 1, 8, 8, dtype=torch.float64)
    expected = 0.7 * float(linear.weight.detach().square().sum())
    assert recipe.penalty(real, fake, None, context()).item() == pytest.approx(expected)


def test_the_penalty_is_at_real_and_at_generated_examples() -> None:
    """f = |x|^2/2 has slope x: gamma/2 (E|x|^2 + E|g|^2) of the two sides' own points."""
    recipe = make("model.gamma=2")

    class Square(nn.Module):
        def forward(self, x: Tensor, cond: object = None) -> Tensor:
            return x.flatten(1).square().sum(1) / 2

    recipe.critic = Square()
    real, fake = torch.randn(2, 5, 1, 8, 8, dtype=torch.float64)
    expected = float(real.square().sum() + fake.square().sum()) / 5
    assert recipe.penalty(real, fake, None, context()).item() == pytest.approx(expected)


@pytest.mark.parametrize("data", [DIGITS, POINTS])
def test_the_generator_is_compared_with_the_real_batch(data: DataInfo) -> None:
    """Its loss is that of the pairs with the sides exchanged, and falls where the real scores do."""
    recipe = make(data=data).double()
    x = torch.randn(6, *data.shape, dtype=torch.float64)
    scores = torch.randn(6, dtype=torch.float64)
    loss = recipe.generator_loss(scores, batch(x), None, context())
    torch.testing.assert_close(loss, relativistic(scores, recipe.critic(x)))
    torch.testing.assert_close(
        loss, torch.log1p((recipe.critic(x) - scores).exp()).mean()
    )  # written out once more


def test_networks_start_without_their_branches() -> None:
    """Fixup: every branch starts at zero, its first layers at the scale of the number of blocks."""
    recipe = make("model.blocks=3", "model.generator_width=16", "model.max_width=16", "model.expansion=4")
    assert isinstance(recipe.generator, ResidualGenerator)
    branches = [m.branch for m in recipe.generator.modules() if hasattr(m, "branch")]
    sides = 3  # 2, 4 and 8 pixels
    assert len(branches) == 3 * sides
    x = torch.randn(4, 16, 4, 4)
    assert all(not branch(x).any() for branch in branches)
    weights = torch.cat([branch[0].weight.flatten() for branch in branches])
    expected = math.sqrt(2 / 1.04) * 9**-0.25 / math.sqrt(16)
    assert float(weights.std()) == pytest.approx(expected, rel=0.03)


def test_a_score_depends_on_its_image_alone() -> None:
    """No normalization over the batch, in either network: the slope at one example exists."""
    recipe = make(data=DataInfo("color", (3, 12, 20), 256)).double()
    assert isinstance(recipe.critic, ResidualCritic)
    for parameter in recipe.parameters():
        nn.init.normal_(parameter, 0, 0.1)
    x = torch.randn(5, 3, 12, 20, dtype=torch.float64)
    torch.testing.assert_close(recipe.critic(x)[2:3], recipe.critic(x[2:3]))
    z = torch.randn(5, *recipe.latent_shape, dtype=torch.float64)
    made = recipe.generator(z)
    assert made.shape == x.shape
    torch.testing.assert_close(made[2:3], recipe.generator(z[2:3]))


def test_networks_of_dcgan_keep_the_slope_at_one_example() -> None:
    """model.net=dcgan: batch norm in the generator alone, which no penalty speaks of."""
    recipe = make("model.net=dcgan")
    norms = [
        sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) for net in (recipe.generator, recipe.critic)
    ]
    assert norms[0] > 0
    assert norms[1] == 0
    x = torch.randn(5, *DIGITS.shape)
    torch.testing.assert_close(recipe.critic(x)[2:3], recipe.critic(x[2:3]))
    assert recipe.generator(torch.randn(5, *recipe.latent_shape)).shape == x.shape


def test_groups_divide_the_channels() -> None:
    assert [groups(n, 16) for n in (16, 32, 48, 24, 8)] == [1, 2, 3, 3, 1]


def test_each_option_of_the_networks_changes_them() -> None:
    def sizes(*words: str) -> list[torch.Size]:
        return [parameter.shape for parameter in make(*words).parameters()]

    before = sizes()
    for option in ("generator_width=12", "critic_width=12", "max_width=12", "blocks=2", "expansion=3"):
        assert sizes(f"model.{option}") != before, option
    assert sizes("model.group_width=4") != before
