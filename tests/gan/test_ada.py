"""Adaptive augmentation: no leak at p = 0, how p is steered, and what the critic is shown."""

from __future__ import annotations

import pytest
import torch

from zoo_core.registry.resolution import resolve
from zoo_core.seeds import generator
from zoo_core.types import Batch, Cond, Context, DataInfo
from zoo_gan.adaptive_augmentation import EVERY, AdaptiveAugmentation
from zoo_gan.augmentation import AUGMENTATIONS, augment, flip, rotation
from zoo_gan.stylegan import StyleGAN, StyleGANConfig

KINDS = tuple(AUGMENTATIONS)
DIGITS = DataInfo("digits", (1, 8, 8), 17)


def images(n: int = 64) -> torch.Tensor:
    return torch.rand(n, 3, 8, 8, generator=generator(0, "images")) * 2 - 1


def steered(scores: list[torch.Tensor], images: int = 1000, target: float = 0.6) -> AdaptiveAugmentation:
    ada = AdaptiveAugmentation(KINDS, target, images)
    for real in scores:
        ada.steer(ada.tally(real))
    return ada


def test_at_p_0_no_image_is_changed() -> None:
    """Catches a leak: an augmentation that is made whatever p is."""
    x = images()
    assert torch.equal(AdaptiveAugmentation(KINDS, 0.6, 1000)(x, generator(0, "a")), x)


def test_the_share_of_changed_images_is_p() -> None:
    x = images(4000)
    for p in (0.25, 1.0):
        changed = (augment(x, ["translation"], generator(1, "a"), p) != x).flatten(1).any(1).float().mean()
        assert float(changed) == pytest.approx(p * 8 / 9, abs=0.03)  # one move in nine is none


def test_p_rises_where_the_critic_is_too_sure_and_falls_where_it_is_not() -> None:
    """Catches a reversed sign: p would then fall while the critic learns its images by heart."""
    sure, unsure = torch.full((10,), 2.0), torch.tensor([2.0, -2.0] * 5)
    up = steered([sure] * 2 * EVERY)
    assert float(up.p) == pytest.approx(2 * EVERY * 10 / 1000)
    for _ in range(EVERY):
        up.steer(up.tally(unsure))
    assert float(up.p) == pytest.approx(EVERY * 10 / 1000)


def test_r_is_the_share_of_signs_and_not_of_scores() -> None:
    """r = 0.8 with one enormous negative score: a mean of the scores would be negative (Eq. 1)."""
    real = torch.tensor([0.1] * 9 + [-1e6])
    assert float(steered([real] * EVERY).p) > 0


def test_p_moves_on_every_fourth_update_and_stays_a_probability() -> None:
    sure = torch.full((10,), 2.0)
    assert float(steered([sure] * (EVERY - 1)).p) == 0
    assert float(steered([sure] * EVERY, images=1).p) == 1
    assert float(steered([-sure] * EVERY).p) == 0


def test_mirrored_and_turned_images_are_those_of_torch() -> None:
    x = images(400)
    mirrored = flip(x, generator(0, "f"))
    same = (mirrored == x).flatten(1).all(1)
    assert torch.equal(mirrored[~same], x[~same].flip(3))
    assert float(same.float().mean()) == pytest.approx(0.5, abs=0.1)
    turned = rotation(x, generator(0, "r"))
    which = torch.stack([(turned == torch.rot90(x, k, (2, 3))).flatten(1).all(1) for k in range(4)])
    assert torch.equal(which.sum(0), torch.ones(400, dtype=torch.int64))
    assert float(which.float().mean(1).min()) > 0.18
    oblong = rotation(x[..., :6], generator(0, "r"))
    assert tuple(oblong.shape) == (400, 3, 8, 6)


def test_both_players_see_augmented_images_and_gradients_pass_through() -> None:
    """Catches an augmentation of real images alone, whose changes the generator would learn to make."""
    config = resolve(["plugin=stylegan", "preset=tiny"])
    assert isinstance(config, StyleGANConfig)
    recipe = StyleGAN(config, DIGITS)
    assert recipe.adaptive is not None
    recipe.adaptive.p.fill_(1.0)
    seen: list[int] = []
    recipe.adaptive.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    batch = Batch(torch.zeros(16, 1, 8, 8), Cond(), torch.arange(16))
    recipe.critic_phase(batch, Context(0, 0.0, 0, generator(0, "c")))
    assert seen == [16, 16]
    recipe.generator_phase(batch, Context(0, 0.0, 0, generator(0, "g"))).loss.backward()
    assert seen == [16, 16, 16]
    grad = recipe.generator.synthesis.constant.grad
    assert grad is not None
    assert float(grad.abs().max()) > 0
