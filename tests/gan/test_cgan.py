"""cGAN: the critic is told the class in both of its terms, and the networks read it as a linear code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tests.making import context
from zoo_core.errors import UsageError
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import Seeds, generator
from zoo_core.types import Batch, Cond, DataInfo, SampleRequest
from zoo_gan.cgan import CGAN

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10, task="class")
RING = DataInfo("ring", (2,), None, classes=8, task="class")


def built(*words: str, data: DataInfo = DIGITS) -> CGAN:
    config: Any = resolve(["plugin=cgan", "preset=tiny", *words])
    torch.manual_seed(0)
    return CGAN(config, data)


def batch(n: int = 16, data: DataInfo = DIGITS) -> Batch:
    rng = generator(1, "batch")
    x = 2 * torch.rand(n, *data.shape, generator=rng) - 1
    return Batch(x, Cond(label=torch.arange(n) % data.classes), torch.arange(n))


def test_the_critic_is_told_the_class_of_real_and_of_generated_examples() -> None:
    """E24, D(g(z | y)) alone: catches a critic that evaluates either term without y, or the generator's."""
    recipe, b = built(), batch()
    told: list[Tensor] = []

    def listen(module: nn.Module, args: Any) -> None:
        assert args[1] is not None
        told.append(args[1].label)

    recipe.critic.register_forward_pre_hook(listen)
    recipe.critic_phase(b, context())
    recipe.generator_phase(b, context())
    assert len(told) == 3
    assert all(torch.equal(label, b.cond.label) for label in told)


@pytest.mark.parametrize("joint", ["concat", "projection"])
@pytest.mark.parametrize("data", [DIGITS, RING])
def test_other_classes_change_every_score_and_every_sample(joint: str, data: DataInfo) -> None:
    """Catches a condition that is taken and not read."""
    recipe = built(f"model.critic={joint}", data=data).eval()
    b = batch(data=data)
    other = Cond(label=(b.cond.label + 1) % data.classes)
    with torch.no_grad():
        assert bool((recipe.critic(b.x, b.cond) != recipe.critic(b.x, other)).all())
        z = torch.randn(16, 8, generator=generator(0, "z"))
        moved = (recipe.generator(z, b.cond) - recipe.generator(z, other)).flatten(1).abs().amax(1)
    assert bool((moved > 0).all())


def test_a_label_is_read_as_its_one_hot_code() -> None:
    """Mirza and Osindero feed one-hot vectors to linear layers: an embedding is such a layer."""
    for net in (built().generator, built().critic):
        label = torch.tensor([3, 0, 9, 3])
        by_matrix = F.one_hot(label, 10).float() @ net.embedding.table.weight
        torch.testing.assert_close(net.embedding(Cond(label=label)), by_matrix)


def test_one_class_for_all_leaves_an_unconditional_critic() -> None:
    """A constant y is a bias of the joint layer, or a shift of the head's weights: computed by hand."""
    b = batch()
    cond = Cond(label=torch.full((16,), 4))
    with torch.no_grad():
        concat = built("model.critic=concat").critic.eval()
        features, vector = concat.net.features(b.x), concat.embedding.table.weight[4]
        first, _, last = concat.net.head
        own, told = first.weight.split([features.shape[1], len(vector)], 1)
        hidden = F.leaky_relu(features @ own.T + (first.bias + told @ vector), 0.2)
        torch.testing.assert_close(concat(b.x, cond), (hidden @ last.weight.T + last.bias).squeeze(1))

        projection = built("model.critic=projection").critic.eval()
        features, vector = projection.net.features(b.x), projection.embedding.table.weight[4]
        weight = projection.net.head.weight[0] + projection.projection.weight @ vector
        torch.testing.assert_close(projection(b.x, cond), features @ weight + projection.net.head.bias)


def test_one_class_for_all_leaves_an_unconditional_generator() -> None:
    """A constant y adds a constant to the first layer, whatever the latent."""
    made = built().generator.eval()
    first = made.net.project[0]
    z, vector = torch.randn(5, 8, generator=generator(0, "z")), made.embedding.table.weight[2]
    own, told = first.weight.split([8, len(vector)], 1)
    with torch.no_grad():
        expected = made.net.net(
            made.net.project[1:](z @ own.T + told @ vector).unflatten(1, made.net._bottom)
        )
        torch.testing.assert_close(made(z, Cond(label=torch.full((5,), 2))), expected)


def test_spectral_norm_reaches_all_that_reads_the_class() -> None:
    """Catches a joint layer, an embedding or a projection that is left as steep as it likes."""
    for joint, count in (("concat", 5), ("projection", 5)):
        critic = built(f"model.critic={joint}", "model.spectral_norm=true", "model.critic_norm=none").critic
        layers = [m for m in critic.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding)]
        assert len(layers) == count
        assert all(parametrize.is_parametrized(layer, "weight") for layer in layers)


def test_it_says_what_it_needs() -> None:
    request = SampleRequest(Seeds(0, range(2)))
    with pytest.raises(UsageError, match="no labels"):
        built().sample(request)


@pytest.mark.parametrize("loss", ["nonsaturating", "hinge"])
def test_each_phase_moves_its_own_network(loss: str) -> None:
    recipe, b = built(f"model.loss={loss}"), batch()
    recipe.critic_phase(b, context()).loss.backward()
    assert all(p.grad is None for p in recipe.generator.parameters())
    assert all(p.grad is not None for p in recipe.critic.parameters())
    recipe.zero_grad(set_to_none=True)
    recipe.generator_phase(b, context()).loss.backward()
    assert all(p.grad is not None for p in recipe.generator.parameters())
