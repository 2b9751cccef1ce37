"""Text-GAN: the matching-aware loss, mismatches that are captions of others, points between two captions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.making import context
from zoo_core.data.conditioning import mismatched
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import generator
from zoo_core.types import Batch, Cond, DataInfo
from zoo_gan.game import Game
from zoo_gan.text_gan import TextGAN, matching_aware

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10, vocabulary=17, caption_length=4, task="text")


def built(*words: str) -> TextGAN:
    config: Any = resolve(["plugin=text-gan", "preset=tiny", *words])
    torch.manual_seed(0)
    return TextGAN(config, DIGITS)


def captions(n: int, kinds: int) -> Tensor:
    """Return n captions of a few kinds, many of them shared."""
    made = torch.randint(1, 17, (kinds, 4), generator=generator(1, "captions"))
    return made[torch.randint(kinds, (n,), generator=generator(2, "captions"))]


def batch(tokens: Tensor) -> Batch:
    x = 2 * torch.rand(len(tokens), 1, 8, 8, generator=generator(1, "x")) - 1
    return Batch(
        x, Cond(label=torch.zeros(len(tokens), dtype=torch.int64), tokens=tokens), torch.arange(len(x))
    )


def test_all_scores_one_half_give_the_closed_value() -> None:
    """Algorithm 1: log 1/2 + 1/2 (log 1/2 + log 1/2) = -1.386; catches a missing half, which gives -2.079."""
    zero = torch.zeros(7)
    assert -float(matching_aware(zero, zero, zero)) == pytest.approx(-1.386294, abs=1e-6)


def test_the_loss_is_the_papers_in_probabilities() -> None:
    right, wrong, fake = torch.randn(3, 50, dtype=torch.float64, generator=generator(0, "scores"))
    s_r, s_w, s_f = right.sigmoid(), wrong.sigmoid(), fake.sigmoid()
    value = (s_r.log() + ((1 - s_w).log() + (1 - s_f).log()) / 2).mean()
    torch.testing.assert_close(matching_aware(right, wrong, fake), -value)
    far = torch.full((3,), 100.0)
    assert math.isfinite(float(matching_aware(-far, far, far)))


def test_a_mismatch_is_never_the_same_caption() -> None:
    """Two images share a caption: catches rows rolled by one, and any draw by index."""
    tokens = captions(40, kinds=3)
    rng = generator(0, "mismatch")
    for _ in range(50):
        rows, found = mismatched(tokens, rng)
        assert bool(found.all())
        assert not bool((tokens[rows] == tokens).all(1).any())


def test_a_mismatch_is_drawn_evenly_from_all_others() -> None:
    tokens = torch.tensor([[1, 2], [1, 2], [1, 3], [2, 2]])
    rng = generator(0, "mismatch")
    drawn = torch.stack([mismatched(tokens, rng)[0] for _ in range(3000)])
    share = torch.stack([(drawn == k).double().mean(0) for k in range(4)], 1)
    expected = torch.tensor([[0, 0, 1 / 2, 1 / 2], [0, 0, 1 / 2, 1 / 2], [1 / 3] * 4, [1 / 3] * 4]).double()
    expected[2, 2] = expected[3, 3] = 0
    assert float((share - expected).abs().max()) < 4.5 * (0.25 / 3000) ** 0.5


def test_the_critic_is_shown_three_things_and_never_a_match_as_a_mismatch() -> None:
    """Catches a mismatched caption of the same text, and generated images where real ones belong."""
    recipe, b = built(), batch(captions(24, kinds=2))
    seen: list[tuple[Tensor, Tensor]] = []
    given = recipe.critic.given

    def listen(x: Tensor, vector: Tensor) -> Tensor:
        seen.append((x.detach(), vector.detach()))
        return given(x, vector)

    recipe.critic.given = listen  # type: ignore[method-assign]
    recipe.critic_phase(b, context())
    (x1, right), (x2, of_fake), (x3, wrong) = seen
    assert torch.equal(x1, b.x)
    assert torch.equal(x3, b.x)
    assert not torch.equal(x2, b.x)
    assert torch.equal(right, of_fake)
    assert bool(((right - wrong).abs().amax(1) > 1e-4).all())


def test_a_batch_of_one_caption_leaves_the_plain_game() -> None:
    """Catches a batch without a mismatch that teaches the critic to refuse matches."""
    recipe, b = built().eval(), batch(captions(12, kinds=1))
    with torch.no_grad():
        loss = recipe.critic_phase(b, context()).loss
        fake = recipe.generated(12, b.cond, context())
        right, generated = recipe.critic(b.x, b.cond), recipe.critic(fake, b.cond)
    torch.testing.assert_close(loss, (F.softplus(-right) + F.softplus(generated)).mean())


def test_points_between_captions_are_given_to_both_networks() -> None:
    """GAN-INT, Eq. 5: beta t1 + (1 - beta) t2, of each network's own embeddings of the same two captions."""
    recipe, b = built("model.interpolate=0.25").eval(), batch(captions(24, kinds=9))
    seen: dict[str, list[Tensor]] = {"generator": [], "critic": []}
    for name, net in (("generator", recipe.generator), ("critic", recipe.critic)):

        def listen(x: Tensor, vector: Tensor, given: Any = net.given, name: str = name) -> Tensor:
            seen[name].append(vector.detach())
            return given(x, vector)

        net.given = listen
    recipe.generator_phase(b, context())
    second = []
    for vectors in seen.values():
        own, between = vectors
        other = (between - 0.25 * own) / 0.75
        distance = torch.cdist(other, own)
        assert float(distance.amin(1).max()) < 1e-4
        second.append(b.cond.tokens[distance.argmin(1)])
    assert torch.equal(*second)
    assert not torch.equal(second[0], b.cond.tokens)


def test_beta_one_is_the_game_of_captions_alone() -> None:
    b = batch(captions(24, kinds=9))
    recipe = built("model.interpolate=1").eval()
    both = [recipe.generator_phase(b, context()).loss, Game.generator_phase(recipe, b, context()).loss]
    torch.testing.assert_close(*both)
    assert built("model.interpolate=0.5").eval().generator_phase(b, context()).loss > both[0]


def test_both_text_encoders_are_trained_each_with_its_network() -> None:
    recipe, b = built(), batch(captions(24, kinds=9))
    recipe.critic_phase(b, context()).loss.backward()
    assert all(p.grad is None for p in recipe.generator.parameters())
    assert all(p.grad is not None for p in recipe.critic.embedding.parameters())
    recipe.zero_grad(set_to_none=True)
    recipe.generator_phase(b, context()).loss.backward()
    assert all(p.grad is not None for p in recipe.generator.embedding.parameters())


def test_words_count_and_padding_does_not() -> None:
    """Catches an encoder that averages padding in, or one that reads a bag of words."""
    encoder = built().generator.embedding.eval()
    with torch.no_grad():
        short, padded, other, turned = (
            encoder(Cond(tokens=torch.tensor([t]))) for t in ([3, 5], [3, 5, 0, 0], [3, 6], [5, 3])
        )
    torch.testing.assert_close(short, padded)
    assert float((short - other).abs().max()) > 1e-3
    assert float((short - turned).abs().max()) > 1e-3
