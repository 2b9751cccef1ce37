"""Differentiable augmentation: what each kind leaves alone, its reach, its draws, its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import generator
from zoo_core.types import Batch, Cond, Context, DataInfo
from zoo_gan.augmentation import augment, color, cutout, translation
from zoo_gan.gan import GAN

KINDS = ("color", "translation", "cutout")


def rng(seed: int = 0) -> torch.Generator:
    return generator(seed, "test")


def test_translation_moves_by_whole_pixels_up_to_an_eighth() -> None:
    """Against torch.roll of a padded image; every shift of -2..2 both ways occurs, alike for channels."""
    x = torch.randn(600, 3, 16, 12)
    moved = translation(x, rng())
    padded = torch.nn.functional.pad(x, (4, 4, 4, 4))
    seen = torch.zeros(600, dtype=torch.int64)
    shifts = set()
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            other = padded.roll((dy, dx), (2, 3))[:, :, 4:-4, 4:-4]
            same = (other == moved).flatten(1).all(1)
            seen += same
            if same.any():
                shifts.add((dy, dx))
    assert bool((seen == 1).all())
    assert shifts == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}


def test_cutout_takes_a_hole_of_half_the_side() -> None:
    x = torch.ones(2000, 2, 16, 16)
    holes = cutout(x, rng()) == 0
    assert torch.equal(holes[:, 0], holes[:, 1])
    rows, columns = holes[:, 0].any(2).sum(1), holes[:, 0].any(1).sum(1)
    assert torch.equal(rows * columns, holes[:, 0].sum((1, 2)))  # a rectangle
    assert int(rows.max()) == int(columns.max()) == 8  # whole where it lies inside
    assert int(rows.min()) <= 5  # cut where its center is at the edge
    assert bool(holes[:, 0].any(0).all())


def test_color_changes_brightness_contrast_and_saturation_only() -> None:
    """Affine in each image, to its own gray: differences of pixels keep their order and their ratios."""
    x = torch.randn(500, 1, 4, 4, dtype=torch.float64)
    gray = color(x, rng())
    centered, other = (y - y.mean((1, 2, 3), keepdim=True) for y in (x, gray))
    factor = (other * centered).sum((1, 2, 3)) / centered.square().sum((1, 2, 3))
    torch.testing.assert_close(other, factor[:, None, None, None] * centered)
    assert 0.5 <= float(factor.min()) < 0.6
    assert 1.4 < float(factor.max()) <= 1.5
    lift = gray.mean((1, 2, 3)) - x.mean((1, 2, 3))
    assert -0.5 <= float(lift.min()) < -0.45
    assert 0.45 < float(lift.max()) <= 0.5
    rgb = torch.randn(500, 3, 4, 4, dtype=torch.float64)
    changed = color(rgb, rng())
    before, after = ((y - y.mean(1, keepdim=True)).flatten(1).norm(dim=1) for y in (rgb, changed))
    ratio = after / before
    assert float(ratio.min()) < 0.05  # all color gone
    assert 2 < float(ratio.max()) <= 3  # twice the color, half as much contrast again


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_has_draws_of_its_own(kind: Any) -> None:
    """Catches one draw for the whole batch, to which critic and generator adapt."""
    one = torch.randn(1, 3, 8, 8)
    changed = augment(one.expand(64, 3, 8, 8), [kind], rng())
    assert len(torch.unique(changed, dim=0)) > 8
    torch.testing.assert_close(changed, augment(one.expand(64, 3, 8, 8), [kind], rng()))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_through_to_the_image(kind: Any) -> None:
    x = torch.randn(32, 3, 8, 8, requires_grad=True)
    augment(x, [kind], rng()).square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).flatten(1).any(1).all())


def test_probability_and_order() -> None:
    x = torch.ones(4000, 1, 8, 8)
    assert augment(x, (), rng()) is x
    assert torch.equal(augment(x, KINDS, rng(), p=0.0), x)
    changed = (augment(x, ["cutout"], rng(), p=torch.tensor(0.3)) != x).flatten(1).any(1).double()
    assert float(changed.mean()) == pytest.approx(0.3, abs=4.5 * (0.21 / 4000) ** 0.5)


def test_the_critic_never_sees_a_image_as_it_is(monkeypatch: Any) -> None:
    """Real and generated in the critic's phase, generated in the generator's: catches real ones alone, which
    teaches the generator the augmentation (Zhao et al., section 3.1)."""
    config: Any = resolve(["plugin=gan", "preset=tiny", "model.augment=[cutout]"])
    recipe = GAN(config, DataInfo("digits", (1, 8, 8), 17, classes=10))
    seen: list[Tensor] = []
    monkeypatch.setattr("zoo_gan.game.augment", lambda x, kinds, rng: seen.append(x) or 0 * x)
    shown: list[Tensor] = []
    recipe.critic.register_forward_pre_hook(lambda module, given: shown.append(given[0]))
    batch = Batch(torch.randn(8, 1, 8, 8), Cond(), torch.arange(8))
    recipe.critic_phase(batch, Context(0, 0.0, 0, rng()))
    assert len(seen) == len(shown) == 2
    recipe.generator_phase(batch, Context(0, 0.0, 0, rng()))
    assert len(seen) == len(shown) == 3
    assert not any(bool(x.detach().any()) for x in shown)


def test_points_are_refused() -> None:
    config: Any = resolve(["plugin=gan", "data=ring", "preset=tiny", "model.augment=[cutout]"])
    with pytest.raises(UsageError, match=r"model\.augment"):
        GAN(config, DataInfo("ring", (2,), None))
